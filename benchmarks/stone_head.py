"""A stone head from photographs: cameras, Gaussians and density control on real pictures, judged by photographs that were held out.

    python -m benchmarks.stone_head [--views 13] [--size 192] [--steps 600] [--to docs/results.md] [--sheet held_out.png]

Gaussians start where matched points of the training photographs meet (benchmarks/photographs.py) and learn colours that are the same from
all sides. Each photograph is held out once, of a fit to all others. Exposure and white balance of every training photograph are learnt
with the Gaussians, those of a held-out one are taken for the mean. Beside the numbers stand those of the mean of the training photographs.

"On the head" counts the pixels that look through a ball around it; the rest is a table, and a room that no two photographs share. "Its
light fitted" multiplies each colour by what brings it nearest to the photograph there, so that shape is judged and not exposure. The few
settings below were tried on these photographs at 128 pixels: the numbers say that cameras and fitting work, and no more.
"""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize

from benchmarks.command import run
from benchmarks.measuring import threads_set
from benchmarks.page import commit_and_machine, typed, write_between
from benchmarks.photographs import Agreement, Photographs, agreements, degrees_to_nearest, features, read_photographs
from mango.config import check_ranges
from mango.data.json_files import write_json
from mango.errors import InputError
from mango.losses.ssim import ssim
from mango.seeds import torch_generator
from renderer import Camera, Gaussians, draw
from renderer.density import DensityConfig, DensityControl

HEAD = ((0.06, 0.0, 0.03), 0.36)  # middle and radius of the ball, in units of the cameras' mean distance; laid over the photographs by eye
RATES = {"means": 1e-3, "quats": 2e-3, "log_scales": 1e-2, "opacity_logits": 5e-2, "colors": 1e-2}  # Adam's, a step
SLOWER = 0.05  # of the rate of means, at the end
LIGHT_RATE = 5e-3
DROPPED = 0.5  # at the end, of the Gaussians in each step
SSIM_WEIGHT = 0.2  # Kerbl et al. 2023, eq. 7


@dataclass(frozen=True)
class Options:
    sample: Path | None = None  # folder of the photographs; without, buddha_head_multiview under $MANGO_SAMPLE_DATA
    views: int = 13  # photographs used, the first of the sample
    size: int = 192  # pixels, width
    steps: int = 600  # of each fit, one photograph a step
    most: int = 20_000  # Gaussians
    seed: int = 0
    out: Path | None = None  # numbers as JSON
    to: Path | None = None  # also write the table here, as Markdown
    sheet: Path | None = None  # held-out photographs beside what was drawn


@dataclass(frozen=True)
class HeldOut:
    """One photograph that was not learnt from: PSNR in dB."""

    name: str
    degrees: float  # to the nearest training photograph, seen from the head
    drawn: float
    mean_picture: float
    drawn_head: float
    mean_picture_head: float
    drawn_lit: float  # on the head, in the light of the photograph
    mean_picture_lit: float


@dataclass
class Fit:
    """Gaussians with a background, and what each training photograph's light is (logarithms of gains, mean zero)."""

    gaussians: dict[str, Parameter]
    background: Parameter
    light: Parameter

    def scene(self) -> Gaussians:
        tensors = self.gaussians
        opacities = tensors["opacity_logits"].sigmoid()
        return Gaussians(tensors["means"], tensors["quats"], tensors["log_scales"].exp(), opacities, tensors["colors"])

    @torch.no_grad()
    def drawn(self, camera: Camera) -> Float[Tensor, "views rows cols 3"]:
        """In the mean light."""
        return draw(self.scene(), camera, self.background).colors.clamp(0, 1)


def main(options: Options) -> int:
    check_ranges(options, views="[3, inf)", size="[16, inf)", steps="[1, inf)", most="[1, inf)")
    with threads_set(1):  # operations on so little wait longer for a second thread than they take
        return measured(options)


def measured(options: Options) -> int:
    folder = options.sample or Path(os.environ.get("MANGO_SAMPLE_DATA", "")) / "buddha_head_multiview"
    begun, (photographs, agreed) = time.perf_counter(), opened(folder, options.views, options.size)
    rows, pictures, counts = [], [], []
    for view in range(len(photographs)):
        kept = [other for other in range(len(photographs)) if other != view]
        fit = fitted(photographs.chosen(kept), points_of(agreed, kept), options.steps, options.most, options.seed)
        drawn = fit.drawn(photographs.chosen([view]).camera)[0]
        rows.append(judged(photographs, kept, view, drawn))
        pictures.append(torch.cat([photographs.pictures[view], drawn], dim=1))
        counts.append(len(fit.gaussians["means"]))
        print(f"{rows[-1].name}: {rows[-1].drawn_head:.2f} dB on the head, mean picture {rows[-1].mean_picture_head:.2f}", flush=True)
    missed = median(torch.cat([pair.missed_px for pair in agreed]).tolist())
    facts = {"seconds": time.perf_counter() - begun, "points": sum(len(pair.points) for pair in agreed), "missed_px": missed}
    facts |= {"gaussians": mean(counts)}
    text = markdown(options, photographs, rows, facts)
    print(f"\n{text}")
    if options.out is not None:
        write_json(options.out, {**facts, "photographs": [vars(row) for row in rows]})
    if options.sheet is not None:
        save_sheet(options.sheet, pictures)
    if options.to is not None:
        write_between(options.to, "benchmarks.stone_head", text)
    return 0


def opened(folder: Path, views: int, width: int) -> tuple[Photographs, list[Agreement]]:
    """The first photographs, small, and what those of full size agree on."""
    if not (folder / "cameras.json").is_file():
        remedy = "set MANGO_SAMPLE_DATA, or give --sample the folder"
        raise InputError(folder, expected="photographs with cameras.json", found="none", remedy=remedy)
    whole = read_photographs(folder)
    if not 3 <= views <= len(whole):
        raise InputError("--views", expected=f"3 to {len(whole)} photographs", found=str(views), remedy="choose another number")
    whole, small = (photographs.chosen(range(views)) for photographs in (whole, read_photographs(folder, width)))
    return small, agreements(whole.camera, features(whole))


def points_of(agreed: list[Agreement], views: Sequence[int]) -> Float[Tensor, "points 3"]:
    """What two of these photographs agree on."""
    return torch.cat([pair.points for pair in agreed if set(pair.views) <= set(views)])


def fitted(training: Photographs, points: Float[Tensor, "points 3"], steps: int, most: int, seed: int) -> Fit:
    """Learnt from these photographs and points alone, one photograph a step."""
    random = torch_generator("stone head", seed)
    fit = started(training, points, random)
    rates = [{"params": [tensor], "lr": RATES[name]} for name, tensor in fit.gaussians.items()]
    light = [{"params": [fit.background], "lr": RATES["colors"]}, {"params": [fit.light], "lr": LIGHT_RATE}]
    optimizer = torch.optim.Adam([*rates, *light], eps=1e-15)
    every = max(steps // 30, 10)
    control = DensityControl(
        DensityConfig(
            start=steps // 10, stop=int(0.7 * steps), every=every, reset_every=0, grow_gradient=1e-3, split_scale=0.02, prune_scale=0.5,
            most=most, seed=seed,
        )
    )  # fmt: skip
    order: list[int] = []
    for step in range(1, steps + 1):
        order = order or torch.randperm(len(training), generator=random).tolist()
        view, progress = order.pop(), step / steps
        optimizer.param_groups[0]["lr"] = RATES["means"] * SLOWER**progress
        scene = fit.scene()
        rendering = draw(thinned(scene, DROPPED * progress, random), training.chosen([view]).camera, fit.background)
        rendering.means2d.retain_grad()
        lit = rendering.colors[0] * (fit.light[view] - fit.light.mean(0)).exp()
        photograph = training.pictures[view]
        loss = (1 - SSIM_WEIGHT) * (lit - photograph).abs().mean() + SSIM_WEIGHT * (1 - ssim(lit, photograph).mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        control.observe(scene.scales, rendering.means2d.grad, rendering.radii, training.camera.width, training.camera.height)
        control.step(step, fit.gaussians, optimizer)
    return fit


def started(training: Photographs, points: Float[Tensor, "points 3"], random: torch.Generator) -> Fit:
    """A Gaussian a point, as large as the way to its neighbours, in the mean of the colours that the photographs have there."""
    points = points[points.norm(dim=1) < 1.5]
    if len(points) < 10:
        remedy = "use more photographs, or check their cameras"
        raise InputError("photographs", expected="at least 10 points that two of them agree on", found=str(len(points)), remedy=remedy)
    spacing = torch.cdist(points, points).topk(4, largest=False).values[:, 1:].mean(1).clamp(1e-3, 0.1)
    tensors = {
        "means": points,
        "quats": torch.randn(len(points), 4, generator=random),
        "log_scales": spacing.log()[:, None].repeat(1, 3),
        "opacity_logits": torch.full((len(points),), -1.0),
        "colors": mean_colours(training, points),
    }
    gaussians = {name: Parameter(tensor.clone()) for name, tensor in tensors.items()}
    return Fit(gaussians, Parameter(training.pictures.mean((0, 1, 2))), Parameter(torch.zeros(len(training), 3)))


def mean_colours(training: Photographs, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Over the photographs that have a point in the picture, hidden or not."""
    camera, sums, counts = training.camera, torch.zeros(len(points), 3), torch.zeros(len(points), 1)
    for picture, pose, intrinsics in zip(training.pictures, camera.camera_from_world, camera.intrinsics, strict=True):
        seen = (points @ pose[:3, :3].T + pose[:3, 3]) @ intrinsics.T
        col, row = (seen[:, :2] / seen[:, 2:]).floor().long().unbind(1)
        inside = (seen[:, 2] > 0) & (col >= 0) & (col < camera.width) & (row >= 0) & (row < camera.height)
        sums[inside] += picture[row[inside], col[inside]]
        counts[inside] += 1
    return sums / counts.clamp_min(1)


def thinned(scene: Gaussians, share: float, random: torch.Generator) -> Gaussians:
    """Without a random share of the Gaussians, the others so much more opaque: few photographs are else learnt by heart by Gaussians that
    only one of them sees (Park et al., "DropGaussian", CVPR 2025).
    """
    kept = torch.rand(len(scene.opacities), generator=random) >= share
    return replace(scene, opacities=(scene.opacities * kept / (1 - share)).clamp(max=1.0))


def judged(photographs: Photographs, kept: Sequence[int], view: int, drawn: Float[Tensor, "rows cols 3"]) -> HeldOut:
    """``drawn``: what the view looks like, learnt from those that were kept."""
    average, truth = photographs.pictures[list(kept)].mean(0), photographs.pictures[view]
    head = looking_at_the_head(photographs.chosen([view]).camera)
    whole, there = ([decibels(picture, truth, where) for picture in (drawn, average)] for where in (torch.ones_like(head), head))
    lit = [decibels(in_the_light_of(picture, truth, head), truth, head) for picture in (drawn, average)]
    return HeldOut(photographs.names[view], degrees_to_nearest(photographs.camera, view, kept), *whole, *there, *lit)


def decibels(picture: Float[Tensor, "rows cols 3"], truth: Float[Tensor, "rows cols 3"], where: Bool[Tensor, "rows cols"]) -> float:
    """PSNR of some pixels."""
    return -10 * math.log10(float((picture - truth)[where].square().mean()))


def in_the_light_of(
    picture: Float[Tensor, "rows cols 3"], truth: Float[Tensor, "rows cols 3"], where: Bool[Tensor, "rows cols"]
) -> Float[Tensor, "rows cols 3"]:
    """Each colour times the factor that brings it nearest to the truth, by least squares of some pixels."""
    shown = picture[where]
    return picture * (shown * truth[where]).sum(0) / shown.square().sum(0)


def looking_at_the_head(camera: Camera) -> Bool[Tensor, "rows cols"]:
    """Pixels whose rays pass through the ball around it. ``camera``: of one view."""
    (pose,), (intrinsics,) = camera.camera_from_world, camera.intrinsics
    row, col = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    rays = normalize(torch.stack([col, row, torch.ones_like(row)], dim=-1) @ torch.linalg.inv(intrinsics).T, dim=-1)
    middle = pose[:3, :3] @ torch.tensor(HEAD[0]) + pose[:3, 3]
    return middle.square().sum() - (rays @ middle).square() < HEAD[1] ** 2


def markdown(options: Options, photographs: Photographs, rows: list[HeldOut], facts: dict[str, float]) -> str:
    names = ("drawn", "mean_picture", "drawn_head", "mean_picture_head", "drawn_lit", "mean_picture_lit")
    cells = lambda numbers: " | ".join(f"{number:.2f}" for number in numbers)  # noqa: E731
    means = {name: mean(getattr(row, name) for row in rows) for name in names}
    better = [sum(getattr(row, drawn) > getattr(row, average) for row in rows) for drawn, average in (names[2:4], names[4:])]
    met = all(means[drawn] > means[average] for drawn, average in (names[:2], names[2:4], names[4:]))
    camera = photographs.camera
    return "\n".join(
        [
            "## A stone head from photographs",
            "",
            f"`{typed('benchmarks.stone_head', options)}`, {commit_and_machine()}.",
            "",
            f"{len(rows)} photographs of {camera.width} x {camera.height}, each held out of a fit to the others; {facts['seconds']:.0f} s, "
            f"one thread. At full size they agree on {facts['points']} points, to {facts['missed_px']:.2f} px in the median; fits end "
            f"with {facts['gaussians']:.0f} Gaussians. PSNR in dB; the exposure of a held-out photograph is taken for the mean.",
            "",
            "| held out | degrees to the nearest | drawn | mean picture | on the head: drawn | mean picture | its light fitted: drawn "
            "| mean picture |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *(f"| {row.name} | {row.degrees:.0f} | {cells(getattr(row, name) for name in names)} |" for row in rows),
            f"| mean | | {cells(means.values())} |",
            "",
            f"Asked: better than the mean picture in the mean, each way{'' if met else ' **not met**'}. On the head it is better for "
            f"{better[0]} of {len(rows)}, with light fitted for {better[1]}.",
        ]
    )


def save_sheet(path: Path, pictures: list[Float[Tensor, "rows cols 3"]]) -> None:
    """Pairs in two columns: photograph, drawn."""
    import cv2

    pictures = pictures + [torch.zeros_like(pictures[0])] * (len(pictures) % 2)
    sheet = torch.cat([torch.cat(pictures[k : k + 2], dim=1) for k in range(0, len(pictures), 2)])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (sheet.clamp(0, 1) * 255).round().byte().numpy()[..., ::-1])


if __name__ == "__main__":
    run(main, Options)
