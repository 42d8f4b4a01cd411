"""How fast the rasterizer is, in units of the same machine's own matrix products measured in the same run.

    python -m benchmarks.rasterizer [--out FILE.json] [--scenes 20k@512 ...]

The correctness tests run first; no figure is printed when they fail. Then, for every scene and number of threads: the kernel alone
(pairs a second and its share of single-thread sgemm), the whole call, its peak memory; the growth of time with the number of
intersections; and a million Gaussians.

A pair is one pixel of a tile row that a Gaussian's extent touches. It counts 33 floating-point operations forward and 60 backward.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import renderer
from benchmarks.command import check_correct, run
from benchmarks.measuring import best_seconds, peak_bytes, sgemm_flops, threads_set
from benchmarks.scenes import Scene, background, cloud_scene, lam_scene
from mango.data.json_files import read_json, write_json
from mango.errors import InputError
from mango.provenance import provenance
from renderer.rasterize import BACKENDS

FORWARD_FLOPS, BACKWARD_FLOPS = 33, 60
CORRECTNESS = ("tests/renderer/test_rasterizer_accuracy.py", "tests/renderer/test_rasterizer_runtime.py")
CLOUDS = ((5_000, 128), (10_000, 256), (20_000, 512), (100_000, 1024))
GROWTH = (5_000, 15_000, 50_000, 150_000, 500_000)
MILLION = (1_000_000, 1024)
console = Console(width=150)


@dataclass(frozen=True)
class Options:
    """Times, shares and memory of every backend that can run here."""

    out: Path = Path("runs/benchmarks/rasterizer.json")
    scenes: tuple[str, ...] = ()  # names as in the table; all when empty


@dataclass
class Report:
    """Everything measured, and what was asked of it."""

    facts: dict = field(default_factory=provenance)
    rows: list[dict] = field(default_factory=list)
    targets: list[dict] = field(default_factory=list)

    def judge(self, what: str, found: float, limit: float, *, at_least: bool = False) -> None:
        met = found >= limit if at_least else found <= limit
        self.targets.append({"what": what, "found": found, "limit": limit, "at_least": at_least, "met": met})


def main(options: Options) -> int:
    scenes = [cloud_scene(*cloud) for cloud in CLOUDS] + [scene for scene in (lam_scene(),) if scene]
    unknown = sorted(set(options.scenes) - {scene.name for scene in scenes})
    if unknown:
        remedy = f"there are {', '.join(scene.name for scene in scenes)}"
        raise InputError("--scenes", expected="scenes that can be drawn here", found=", ".join(unknown), remedy=remedy)
    if options.scenes and options.out.is_file() and {row["scene"] for row in read_json(options.out)["rows"]} - set(options.scenes):
        found = "figures of other scenes, too, which would be lost"
        raise InputError(options.out, expected="no file, or one of these scenes", found=found, remedy="give another --out")
    check_correct(*CORRECTNESS)
    report = Report()
    scenes = [scene for scene in scenes if not options.scenes or scene.name in options.scenes]
    report.facts["sgemm"] = {str(n): sgemm_flops(n) for n in thread_counts()}
    console.print(f"{report.facts['processor']}; sgemm {sgemm_words(report.facts['sgemm'])}")
    for scene in scenes:
        report.rows += measured_on_cpu(scene)
        report.rows += measured_elsewhere(scene)
    if not options.scenes:
        report.facts["growth"] = growth()
        report.facts["million"] = million()
    judge(report)
    console.print(table(report.rows))
    print_growth(report.facts)
    print_targets(report)
    write_json(options.out, {**report.facts, "rows": report.rows, "targets": report.targets})
    console.print(f"written: {options.out}")
    return 0


def thread_counts() -> list[int]:
    return sorted({1, 2, torch.get_num_threads()} & set(range(1, torch.get_num_threads() + 1)))


# One scene -----------------------------------------------------------------------------------------------------------------


def measured_on_cpu(scene: Scene) -> list[dict]:
    """One row per number of threads. All of them are measured in turn, beside sgemm."""
    from renderer.backends.cpu import Stages

    threads, forward, backward = thread_counts(), {}, {}
    flops = sgemm_flops()
    works: list[Callable[[], object]] = []
    kernels = {n: KernelAlone(scene, n) for n in threads}
    for n in threads:
        works += [on_threads(n, drawing(scene, "cpu")), on_threads(n, drawing_and_gradient(scene, "cpu"))]
        forward[n], backward[n] = [], []

        def kernel(n: int = n) -> None:
            forward[n].append(kernels[n].forward())
            backward[n].append(kernels[n].backward())

        works.append(on_threads(n, kernel))
    seconds = best_seconds(*works)
    flops = max(flops, sgemm_flops())
    rows = []
    for k, n in enumerate(threads):
        draw_seconds, whole_seconds = seconds[3 * k : 3 * k + 2]
        fastest: list[Stages] = [min(stages, key=lambda s: s.kernel) for stages in (forward[n], backward[n])]
        with threads_set(n):
            memory = peak_bytes(drawing_and_gradient(scene, "cpu"))
        rows.append(
            {
                "scene": scene.name,
                "backend": "cpu",
                "threads": n,
                "sgemm_flops": flops,
                "pairs": fastest[0].pairs,
                "intersections": fastest[0].records,
                "forward_kernel_s": fastest[0].kernel,
                "backward_kernel_s": fastest[1].kernel,
                "forward_pairs_per_s": fastest[0].pairs / fastest[0].kernel,
                "backward_pairs_per_s": fastest[1].pairs / fastest[1].kernel,
                "forward_share": FORWARD_FLOPS * fastest[0].pairs / fastest[0].kernel / flops,
                "backward_share": BACKWARD_FLOPS * fastest[1].pairs / fastest[1].kernel / flops,
                "forward_s": draw_seconds,
                "forward_and_backward_s": whole_seconds,
                "gflop_equivalents": whole_seconds * flops / 1e9,
                "peak_bytes": memory,
            }
        )
    return rows


def measured_elsewhere(scene: Scene) -> list[dict]:
    """Whole calls of the other backends that can run. The reference keeps every pair of pixel and Gaussian: small scenes only."""
    rows = []
    for name, backend in BACKENDS.items():
        if name == "cpu" or backend.obstacle() is not None or (name == "reference" and scene.count * scene.size**2 > 1e8):
            continue
        if name == "gsplat":
            continue  # on the device: benchmarks.gpu
        forward, both = best_seconds(drawing(scene, name), drawing_and_gradient(scene, name), tries=2, least=0.0)
        rows.append({"scene": scene.name, "backend": name, "threads": torch.get_num_threads(), "forward_s": forward,
                     "forward_and_backward_s": both})  # fmt: skip
    return rows


def on_threads(threads: int, work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with threads_set(threads):
            work()

    return run


def arguments(scene: Scene) -> dict:
    g, camera = scene.gaussians, scene.camera
    tensors = {"means": g.means, "quats": g.quats, "scales": g.scales, "opacities": g.opacities, "colors": g.colors}
    views = {"viewmats": camera.camera_from_world[None], "Ks": camera.intrinsics[None], "backgrounds": background()}
    return {**tensors, **views, "width": camera.width, "height": camera.height}


def drawing(scene: Scene, backend: str) -> Callable[[], object]:
    known = arguments(scene)

    def work() -> None:
        with torch.no_grad():
            renderer.rasterize(**known, backend=backend)

    return work


def drawing_and_gradient(scene: Scene, backend: str) -> Callable[[], object]:
    """Forward and backward to every attribute, from a gradient that is there already (losses are not the rasterizer's)."""
    known = arguments(scene)
    leaves = {name: known[name].clone().requires_grad_() for name in ("means", "quats", "scales", "opacities", "colors")}
    toward = torch.rand(1, scene.size, scene.size, 3, generator=torch.Generator().manual_seed(1))

    def work() -> None:
        colors, _, _ = renderer.rasterize(**{**known, **leaves}, backend=backend)
        torch.autograd.grad(colors, list(leaves.values()), toward)

    return work


class KernelAlone:
    """The compiled blending of one projected scene, called without torch's machinery, with its own clocks."""

    def __init__(self, scene: Scene, threads: int):
        from renderer.backends import cpu

        g, camera, size = scene.gaussians, scene.camera, scene.size
        options = {"eps2d": 0.3, "near_plane": 0.01, "far_plane": 1e10, "radius_clip": 0.0, "antialiased": False}
        views = (camera.camera_from_world[None, None], camera.intrinsics[None, None])
        seen = cpu.project(*(t[None] for t in (g.means, g.quats, g.scales, g.opacities)), *views, size, size, **options)
        self.call, self.Stages, self.Images = cpu.call, cpu.Stages, cpu.Images
        self.sizes = (1, scene.count, g.colors.shape[-1], size, size, threads)
        self.inputs = [t.contiguous() for t in (seen.means2d[0], seen.conics[0], g.colors, g.opacities, seen.radii[0], seen.depths[0])]
        self.drawn = torch.empty(1, size, size, g.colors.shape[-1]), torch.empty(1, size, size, 1)
        self.toward = torch.rand_like(self.drawn[0]), torch.rand_like(self.drawn[1])
        self.gradients = [torch.empty_like(t) for t in (*self.inputs[:4], background())]

    def forward(self):
        stages = self.Stages()
        self.call("blend_forward", self.Images(*self.sizes, ctypes.pointer(stages)), *self.inputs, background(), *self.drawn)
        return stages

    def backward(self):
        stages, images = self.Stages(), self.drawn + self.toward
        self.call("blend_backward", self.Images(*self.sizes, ctypes.pointer(stages)), *self.inputs, *images, *self.gradients)
        return stages


# Growth --------------------------------------------------------------------------------------------------------------------


def growth() -> dict:
    """Time of the whole call, forward and backward, against the number of intersections: a straight line through the origin side."""
    points = []
    for count in GROWTH:
        scene = cloud_scene(count, 512)
        stages = KernelAlone(scene, torch.get_num_threads()).forward()
        (seconds,) = best_seconds(drawing_and_gradient(scene, "cpu"), tries=5)
        points.append({"gaussians": count, "intersections": stages.records, "pairs": stages.pairs, "seconds": seconds})
    records, seconds = (torch.tensor([float(p[k]) for p in points], dtype=torch.float64) for k in ("intersections", "seconds"))
    x, y = records.log() - records.log().mean(), seconds.log() - seconds.log().mean()
    exponent = float((x * y).sum() / (x * x).sum())
    left = y - exponent * x
    return {"points": points, "exponent": exponent, "r_squared": 1 - float((left * left).sum() / (y * y).sum())}


def million() -> dict:
    scene = cloud_scene(*MILLION)
    memory = peak_bytes(drawing(scene, "cpu"))
    (seconds,) = best_seconds(drawing(scene, "cpu"), tries=3, least=0.0)
    return {"scene": scene.name, "forward_s": seconds, "peak_bytes": memory}


# Words ---------------------------------------------------------------------------------------------------------------------


def judge(report: Report) -> None:
    rows = {(row["scene"], row["threads"]): row for row in report.rows if row["backend"] == "cpu"}
    for (scene, threads), row in rows.items():
        if threads == 1:
            report.judge(f"{scene}: forward kernel, share of sgemm", row["forward_share"], 0.40, at_least=True)
            report.judge(f"{scene}: backward kernel, share of sgemm", row["backward_share"], 0.35, at_least=True)
    one, two = rows.get(("20k@512", 1)), rows.get(("20k@512", 2))
    if ("10k@256", 1) in rows:
        report.judge("10k@256, 1 thread: whole call, GFLOP-equivalents", rows["10k@256", 1]["gflop_equivalents"], 1.2)
    if one and two:
        report.judge("20k@512, 2 threads: whole call, GFLOP-equivalents", two["gflop_equivalents"], 3.0)
        gain = one["forward_and_backward_s"] / two["forward_and_backward_s"]
        report.judge("20k@512: one thread over two, whole call", gain, 1.8, at_least=True)
    for row in (one, two):
        if row:
            where = f"20k@512, {row['threads']} thread(s): whole call over kernel"
            both = row["forward_kernel_s"] + row["backward_kernel_s"]
            report.judge(f"{where}, forward", row["forward_s"] / row["forward_kernel_s"], 2.0)
            report.judge(f"{where}, forward and backward", row["forward_and_backward_s"] / both, 2.0)
    if "million" in report.facts:
        report.judge("1M@1024: forward, seconds", report.facts["million"]["forward_s"], 2.0)
        if report.facts["million"]["peak_bytes"] is not None:
            report.judge("1M@1024: peak memory, GB", report.facts["million"]["peak_bytes"] / 1e9, 2.0)
        report.judge("5k to 500k: exponent of time against intersections", report.facts["growth"]["exponent"], 1.1)


def sgemm_words(sgemm: dict[str, float]) -> str:
    gains = "; ".join(f"{n} threads {rate / sgemm['1']:.2f} x" for n, rate in sgemm.items() if n != "1")
    return f"{sgemm['1'] / 1e9:.0f} GFLOP/s on one thread" + (f" ({gains})" if gains else "")


def table(rows: list[dict]) -> Table:
    shown = Table(title="milliseconds; Mpairs = million pairs a second; share = of single-thread sgemm; GF-eq = time x sgemm rate")
    for name in ("scene", "backend", "threads", "pairs", "fwd kernel", "Mpairs", "share", "bwd kernel", "Mpairs", "share", "fwd call",
                 "fwd+bwd call", "GF-eq", "peak MB"):  # fmt: skip
        shown.add_column(name, justify="left" if name in ("scene", "backend") else "right")

    def number(row: dict, name: str, scale: float, digits: int) -> str:
        return "" if row.get(name) is None else f"{row[name] * scale:.{digits}f}"

    for row in rows:
        shown.add_row(
            row["scene"],
            row["backend"],
            str(row["threads"]),
            number(row, "pairs", 1e-6, 2) + ("M" if "pairs" in row else ""),
            number(row, "forward_kernel_s", 1e3, 2),
            number(row, "forward_pairs_per_s", 1e-6, 0),
            number(row, "forward_share", 1, 2),
            number(row, "backward_kernel_s", 1e3, 2),
            number(row, "backward_pairs_per_s", 1e-6, 0),
            number(row, "backward_share", 1, 2),
            number(row, "forward_s", 1e3, 2),
            number(row, "forward_and_backward_s", 1e3, 2),
            number(row, "gflop_equivalents", 1, 2),
            number(row, "peak_bytes", 1e-6, 1),
        )
    return shown


def print_growth(facts: dict) -> None:
    if "growth" not in facts:
        return
    fit, most = facts["growth"], facts["million"]
    for p in fit["points"]:
        console.print(f"{p['gaussians']:>9,} Gaussians, {p['intersections']:>9,} intersections: {p['seconds'] * 1e3:8.1f} ms")
    console.print(f"time grows as intersections^{fit['exponent']:.2f} (R^2 of the logarithms {fit['r_squared']:.4f})")
    memory = "memory not measured" if most["peak_bytes"] is None else f"{most['peak_bytes'] / 1e6:.0f} MB"
    console.print(f"{most['scene']}: forward {most['forward_s']:.2f} s, {memory}")


def print_targets(report: Report) -> None:
    for target in report.targets:
        verdict = "[green]met[/]    " if target["met"] else "[red]not met[/]"
        sign = ">=" if target["at_least"] else "<="
        console.print(f"{verdict} {target['what']}: {target['found']:.2f} ({sign} {target['limit']:g})", highlight=False)


if __name__ == "__main__":
    run(main, Options)
