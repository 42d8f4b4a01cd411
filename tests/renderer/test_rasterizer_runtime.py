"""How the CPU backend behaves as a citizen: builds, threads, forks, modes, memory, everybody's floating point; and clear errors."""

import enum
import fcntl
import gc
import itertools
import logging
import math
import os
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from gaussian_scenes import ball, converted, drawn

import renderer
from renderer.rasterize import BACKENDS, check_shapes, resolve


@pytest.fixture
def cpu():
    reason = BACKENDS["cpu"].obstacle()
    if reason is not None:
        pytest.skip(f"backend cpu: {reason}")
    from renderer.backends import cpu

    return cpu


def fresh_python(code, **environment):
    """A new process; returns it once finished. What it raises is in stderr."""
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


def test_same_bits_on_any_number_of_threads(cpu):
    """Fault it notices: gradients added up in the order in which threads finish."""
    scene = ball(2500, cameras=2, width=90, height=70, seed=1)
    results = []
    for count in (1, 2, 5, 1):
        torch.set_num_threads(count)
        results.append(drawn(scene, "cpu", rasterize_mode="antialiased"))
    for other in results[1:]:
        for name, value in results[0].items():
            assert torch.equal(value, other[name]), name


def test_ops_obey_torchs_rules(cpu):
    """`opcheck`: schema, fake kernel, autograd registration, and the gradient under compilation's tracing."""
    scene = converted(ball(30, cameras=2, width=20, height=18), torch.float32)
    arguments = [scene[k] for k in ("means", "quats", "scales", "opacities", "viewmats", "Ks")]
    options = (20, 18, 0.3, 0.01, 1e10, 0.0, True)
    leaves = [t.clone().requires_grad_(k in (0, 1, 2, 4)) for k, t in enumerate(arguments)]
    torch.library.opcheck(cpu.project_op, (*leaves, *options))
    means2d, depths, conics, _, radii = (t.flatten(0, 1) for t in cpu.project_op(*arguments, *options))
    channels = scene["colors"].repeat_interleave(2, 0)
    opacities = scene["opacities"].repeat_interleave(2, 0)
    inputs = [t.clone().requires_grad_() for t in (means2d, conics, channels, opacities)]
    for background, keep in itertools.product((None, scene["backgrounds"].flatten(0, 1).clone().requires_grad_()), (False, True)):
        torch.library.opcheck(cpu.blend_op, (*inputs, radii, depths, background, 20, 18, keep))


def test_loading_leaves_everybodys_denormals_alone(cpu):
    """Fault it notices: linking with -ffast-math, which sets flush-to-zero for the whole process (planted; it turns red)."""
    code = (
        "import torch, renderer.backends.compilation as c; tiny = torch.tensor([1e-39]); c.library(); "
        "from renderer.rasterize import BACKENDS; assert BACKENDS['cpu'].obstacle() is None; "
        "assert (tiny * 1).item() != 0 and float('1e-320') * 1.0 != 0, 'denormals are flushed'"
    )
    done = fresh_python(code)
    assert done.returncode == 0, done.stderr


def test_two_processes_may_build_at_once(cpu, tmp_path):
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "small.cpp").write_text('extern "C" int answer() { return 42; }')  # the real ones take longer and build the same way
    code = (
        f"import pathlib, renderer.backends.compilation as c; c.SOURCES = pathlib.Path({str(sources)!r}); assert c.library().answer() == 42"
    )
    environment = {**os.environ, "RENDERER_CACHE": str(tmp_path / "cache")}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    left = sorted(p.name for p in (tmp_path / "cache").iterdir())
    assert len(left) == 1 and left[0].endswith(".so"), left


def test_without_a_compiler_it_says_so(tmp_path):
    """No silent fallback: asking for cpu is an error in words, and auto's second choice is logged as a warning with the reason."""
    code = (
        "import logging, torch, renderer; from renderer.rasterize import resolve\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "assert resolve('cpu', torch.float32) == 'reference'\n"
        "m = torch.zeros(1, 3); e = torch.eye\n"
        "renderer.rasterize(m, torch.ones(1, 4), m, m[:, 0], m, e(4)[None], e(3)[None], 8, 8, backend='cpu')"
    )
    done = fresh_python(code, PATH=str(tmp_path), RENDERER_CACHE=str(tmp_path), CXX="")
    assert "WARNING:renderer:renderer: backend reference (cpu cannot run: no C++ compiler found" in done.stderr
    assert "ValueError: renderer backend 'cpu' cannot run here: no C++ compiler found" in done.stderr


def test_what_was_compiled_is_used_where_no_compiler_is(cpu, tmp_path):
    """Seen red: slim containers drew with the reference, a thousand times slower. In a cache named without a folder, too."""
    sources, cache = tmp_path / "csrc", tmp_path / "cache"
    sources.mkdir()
    (sources / "small.cpp").write_text('extern "C" int answer() { return 42; }')
    code = f"import pathlib, renderer.backends.compilation as c; c.SOURCES = pathlib.Path({str(sources)!r}); "
    code += "c.library(); print(c.built(c.cache_folder()))"
    first = fresh_python(code, RENDERER_CACHE=str(cache), CXX="")
    assert fresh_python(code, PATH="/nowhere", RENDERER_CACHE=str(cache), CXX="").stdout == first.stdout != ""
    moved = f"import os; os.chdir({str(cache)!r}); {code}"
    assert fresh_python(moved, PATH="/nowhere", RENDERER_CACHE=".", CXX="").stdout == first.stdout


def test_a_compiler_that_is_no_command_is_told(tmp_path):
    """Seen red: shlex's own words, in a traceback."""
    code = "from renderer.backends import cpu; print(cpu.obstacle())"
    assert "$CXX is no command (No closing quotation)" in fresh_python(code, RENDERER_CACHE=str(tmp_path), CXX='g++ "').stdout


def test_autocast_changes_no_picture(cpu):
    """Seen red: harmonics in bfloat16 went to the kernel as float32, and the process died."""
    scene = {
        "means": torch.tensor([[[0.0, 0.0, 1.0]]]),
        "quats": torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]),
        "scales": torch.full((1, 1, 3), 0.1),
        "opacities": torch.full((1, 1), 0.8),
        "colors": torch.rand(1, 1, 16, 3, generator=torch.Generator().manual_seed(0)),
        "viewmats": torch.eye(4)[None, None],
        "Ks": torch.tensor([[[[20.0, 0.0, 8.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]]]]),
    }
    for backend in ("cpu", "reference"):
        plain = renderer.rasterize(**scene, width=16, height=16, sh_degree=3, backend=backend)
        with torch.autocast("cpu", torch.bfloat16):
            cast = renderer.rasterize(**scene, width=16, height=16, sh_degree=3, backend=backend)
        assert torch.equal(cast[0], plain[0]) and torch.equal(cast[1], plain[1])


def test_a_failing_build_is_explained(tmp_path):
    """A compiler that refuses: its own words reach the user, and no half-built library stays."""
    compiler = tmp_path / "bin" / "c++"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nif [ \"$1\" = --version ]; then echo fake; else echo 'error: no such luck' >&2; exit 3; fi\n")
    compiler.chmod(0o755)
    code = "from renderer.rasterize import BACKENDS; print(BACKENDS['cpu'].obstacle())"
    done = fresh_python(code, PATH=f"{compiler.parent}:{os.environ['PATH']}", RENDERER_CACHE=str(tmp_path / "cache"), CXX="")
    assert "failed with code 3: error: no such luck" in done.stdout
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_compiler_is_the_one_that_cxx_names(cpu, tmp_path):
    """With its options, and no other one if it is not there. Fault planted: $CXX passed over, as it was."""
    compiler, sources, cache = tmp_path / "chosen", tmp_path / "csrc", tmp_path / "cache"
    compiler.write_text('#!/bin/sh\n[ "$1" = --chosen ] || exit 7\nshift\nexec c++ "$@"\n')
    compiler.chmod(0o755)
    sources.mkdir()
    (sources / "small.cpp").write_text('extern "C" int answer() { return 42; }')
    code = f"import pathlib, renderer.backends.compilation as c; c.SOURCES = pathlib.Path({str(sources)!r}); print(c.library().answer())"

    def build(cxx):
        return fresh_python(code, CXX=cxx, RENDERER_CACHE=str(cache))

    assert f"{compiler} -std=c++17" in (done := build(str(compiler)).stderr) and "failed with code 7" in done
    assert build(f"{compiler} --chosen").stdout == "42\n"
    assert "BuildError: no C++ compiler found: $CXX names nowhere-to-be-found, which is not there" in build("nowhere-to-be-found").stderr


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_means2d_carries_a_gradient(cpu, backend):
    """Density control needs it; so the blending must read its means from meta (fault planted: reading its own copy)."""
    scene = converted(ball(40), torch.float32)
    means = scene.pop("means").requires_grad_()
    colors, _, meta = renderer.rasterize(means, **scene, backend=backend)
    meta["means2d"].retain_grad()
    colors.square().sum().backward()
    assert meta["means2d"].grad.shape == (2, 1, 40, 2) and meta["means2d"].grad.abs().sum() > 0 and means.grad.abs().sum() > 0


def test_inference_mode(cpu):
    scene = converted(ball(40), torch.float32)
    with torch.inference_mode():
        inside = renderer.rasterize(**scene, backend="cpu")[0]
    assert inside.is_inference() and torch.equal(inside, renderer.rasterize(**scene, backend="cpu")[0])


class Pictures(torch.utils.data.Dataset):
    """Drawn where they are read."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        scene = converted(ball(50, batch=(), seed=i), torch.float32)
        means = scene.pop("means").requires_grad_()
        colors = renderer.rasterize(means, **scene, backend="cpu")[0]
        colors.sum().backward()
        return colors.detach(), means.grad


def test_forked_workers(cpu):
    """Fault it notices: threads or locks that a fork leaves behind broken (the parent has used several threads before)."""
    torch.set_num_threads(3)
    here = [Pictures()[i] for i in range(4)]
    loader = torch.utils.data.DataLoader(Pictures(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    for mine, theirs in zip(here, loader, strict=True):
        assert torch.equal(mine[0], theirs[0]) and torch.equal(mine[1], theirs[1])


def test_several_python_threads(cpu):
    expected, found = [Pictures()[i] for i in range(4)], {}
    running = [threading.Thread(target=lambda i=i: found.__setitem__(i, Pictures()[i])) for i in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for i in range(4):
        assert torch.equal(expected[i][0], found[i][0]) and torch.equal(expected[i][1], found[i][1])


def test_pictures_are_freed_at_once(cpu):
    """Fault it notices: an op that holds its own output in a reference cycle; the pile once reached 22 GB before the collector ran."""
    scene = converted(ball(40), torch.float32)
    means = scene.pop("means").requires_grad_()
    gc.collect()
    gc.disable()
    try:
        colors, alphas, meta = renderer.rasterize(means, **scene, backend="cpu")
        gone = [weakref.ref(t.untyped_storage()) for t in (colors, alphas, meta["conics"])]
        del colors, alphas, meta
        assert all(reference() is None for reference in gone)
    finally:
        gc.enable()


def gradient_of(colors, means, **options):
    return torch.autograd.grad(colors.square().sum(), means, **options)[0]


@pytest.mark.parametrize("threads", [1, 3])
def test_drawings_that_wait_for_their_gradients(cpu, threads):
    """The backward pass uses the bins of its own forward pass, as often as it is asked to.

    Faults planted: one place for the bins of all calls; bins changed by the backward pass that used them.
    """
    torch.set_num_threads(threads)
    scenes = [converted(ball(60, cameras=2, width=width, seed=width), torch.float32) for width in (50, 50, 34)]
    leaves = [scene.pop("means").requires_grad_() for scene in scenes]

    def colors(k):
        return renderer.rasterize(leaves[k], **scenes[k], backend="cpu")[0]

    expected = [gradient_of(colors(k), leaves[k]) for k in range(3)]
    waiting = [colors(k) for k in range(3)]
    for k in (1, 0, 2, 0, 1, 2):
        assert torch.equal(gradient_of(waiting[k], leaves[k], retain_graph=True), expected[k])


def test_bins_can_move(cpu):
    """As they do in graphs that are kept on disk or on another device. Fault planted: the backward pass reads where they were written."""
    scene = converted(ball(40), torch.float32)
    means = scene.pop("means").requires_grad_()
    expected = gradient_of(renderer.rasterize(means, **scene, backend="cpu")[0], means)

    left_behind = []

    def moved(tensor):
        copy = tensor.clone()
        if tensor.dtype == torch.uint8:
            tensor.numpy().fill(0)
            left_behind.append(tensor)
        return copy

    with torch.autograd.graph.saved_tensors_hooks(moved, lambda copy: copy):
        colors = renderer.rasterize(means, **scene, backend="cpu")[0]
    assert torch.equal(gradient_of(colors, means), expected)


def test_bins_live_as_long_as_their_graph(cpu):
    """Faults planted: another reference to them in the graph; kept by the graph as its own output."""
    scene = converted(ball(40), torch.float32)
    means, bins = scene.pop("means").requires_grad_(), []

    def seen(tensor):
        if tensor.dtype == torch.uint8:
            bins.append(weakref.ref(tensor.untyped_storage()))
        return tensor

    gc.collect()
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
            used, left = (renderer.rasterize(means, **scene, backend="cpu")[0] for _ in range(2))
        assert [reference() is not None for reference in bins] == [True, True]
        gradient_of(used, means)
        assert [reference() is not None for reference in bins] == [False, True]
        del left
        assert bins[1]() is None
    finally:
        gc.enable()


def test_no_bins_are_kept_without_a_gradient(cpu, monkeypatch):
    """Faults planted: bins kept whatever is asked of the drawing; for constants; under `no_grad`."""
    scene, called, call = converted(ball(40), torch.float32), [], cpu.call
    monkeypatch.setattr(cpu, "call", lambda function, *rest: (called.append(function), call(function, *rest))[1])
    renderer.rasterize(**scene, backend="cpu")
    learnt = {**scene, "backgrounds": scene["backgrounds"].requires_grad_()}
    with torch.no_grad():
        renderer.rasterize(**learnt, backend="cpu")
    assert called == ["project_forward", "blend_forward"] * 2
    renderer.rasterize(**learnt, backend="cpu")
    assert "measure_bins" in called


@pytest.mark.parametrize("channels", [3, 5])
def test_a_gradient_that_is_not_a_number_stays_in_its_tile(cpu, channels):
    """Fault planted: one channel of a tile's working memory not cleared; it shows where a picture ends within the next tile."""
    scene = converted(ball(60, batch=(), channels=channels, width=24, height=24), torch.float32)
    learnt = [scene[name].requires_grad_() for name in ("means", "colors")]
    drawing, _, meta = renderer.rasterize(**scene, backend="cpu")
    toward = torch.ones_like(drawing)
    toward[:, :16, :16] = math.nan
    elsewhere = (meta["means2d"] - meta["radii"] > 16).any(-1)[0] & (meta["radii"] > 0).all(-1)[0]
    for gradient in torch.autograd.grad(drawing, learnt, toward):
        assert elsewhere.any() and gradient[elsewhere].isfinite().all() and gradient.isnan().any()


def test_strided_inputs(cpu):
    """Fault it notices: raw pointers into tensors that are views of something else."""
    scene = converted(ball(40), torch.float32)
    crooked = {k: v.transpose(-1, -2).contiguous().transpose(-1, -2) if k in ("means", "colors", "Ks") else v for k, v in scene.items()}
    assert not crooked["means"].is_contiguous()
    assert torch.equal(renderer.rasterize(**crooked, backend="cpu")[0], renderer.rasterize(**scene, backend="cpu")[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"covars": torch.zeros(2, 40, 3, 3)}, "covars .* does not support yet"),
        ({"absgrad": True}, "absgrad .* does not support yet"),
        ({"camera_model": "fisheye"}, "camera_model: expected 'pinhole', found 'fisheye'"),
        ({"tile_size": 8}, "tile_size: expected 16, found 8"),
        ({"sh_degree": 4}, "sh_degree: expected"),
        ({"colors": torch.zeros(2, 40, 33)}, "1 to 32 channels, found 33"),
        ({"colors": torch.zeros(2, 41, 3)}, r"colors: expected shape \[2, 40, 3\] or \[2, 1, 40, 3\], found \[2, 41, 3\]"),
        ({"scales": torch.zeros(2, 40, 3, dtype=torch.float64)}, "scales: expected torch.float32 on cpu like means, found torch.float64"),
        ({"width": 0}, "at least one pixel"),
        ({"means": torch.zeros(2, 40, 3, dtype=torch.bfloat16)}, "means: expected float32 or float64, found torch.bfloat16"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        renderer.rasterize(**{**converted(ball(40), torch.float32), **options}, backend="reference")


def test_double_precision_belongs_to_the_reference(cpu):
    with pytest.raises(ValueError, match=r"expected float32 tensors on the CPU, found torch\.float64"):
        renderer.rasterize(**ball(5), backend="cpu")
    assert resolve("cpu", torch.float64) == "reference" and resolve("cpu", torch.float32) == "cpu"


def test_other_devices_than_cpu_and_cuda_have_the_reference():
    assert resolve("mps", torch.float32) == "reference"


def test_gsplats_own_words_for_what_is_plain(cpu):
    """Seen red: its density control missed keys, and its default rolling shutter was refused."""

    class RollingShutterType(enum.Enum):
        ROLLING_TOP_TO_BOTTOM, GLOBAL = range(2)

    scene = converted(ball(5), torch.float32)
    *_, meta = renderer.rasterize(**scene, rolling_shutter=RollingShutterType.GLOBAL, backend="cpu")
    assert all(meta[name] is None for name in ("batch_ids", "camera_ids", "gaussian_ids"))
    with pytest.raises(ValueError, match="rolling_shutter is an option"):
        renderer.rasterize(**scene, rolling_shutter=RollingShutterType.ROLLING_TOP_TO_BOTTOM, backend="cpu")


def test_shapes_are_checked_without_the_tests_hook():
    from renderer.pipeline import Request

    scene = converted(ball(5), torch.float32)
    rest = {"near_plane": 0.01, "far_plane": 1e10, "radius_clip": 0.0, "eps2d": 0.3, "sh_degree": None, "render_mode": "RGB"}
    rest |= {"rasterize_mode": "classic", "packed": None, "segmented": False, "channel_chunk": 32}
    with pytest.raises(ValueError, match=r"quats: expected shape \[2, 5, 4\], found \[2, 5, 3\]"):
        check_shapes(Request(**{**rest, **scene, "quats": scene["scales"]}))


def test_auto_is_logged_once(cpu, caplog):
    resolve.cache_clear()
    scene = converted(ball(5), torch.float32)
    with caplog.at_level(logging.INFO, logger="renderer"):
        for _ in range(2):
            renderer.rasterize(**scene)
    assert [r.getMessage() for r in caplog.records].count("renderer: backend cpu") == 1


def test_gsplat_says_why_it_cannot_run():
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is present")
    reason = BACKENDS["gsplat"].obstacle()
    assert "CUDA" in reason or "not installed" in reason
    with pytest.raises(ValueError, match="renderer backend 'gsplat' cannot run here"):
        renderer.rasterize(**converted(ball(5), torch.float32), backend="gsplat")


def test_ignored_arguments_warn():
    scene = converted(ball(5), torch.float32)
    with pytest.warns(UserWarning, match="packed=True has no meaning on the reference backend"):
        renderer.rasterize(**scene, packed=True, backend="reference")


def test_no_lock_is_no_reason_not_to_draw(tmp_path, monkeypatch):
    """Seen red: in a cache folder of another user, CUDA drew nothing."""
    from renderer.backends import gsplat

    (tmp_path / "file").touch()
    monkeypatch.setenv("RENDERER_CACHE", str(tmp_path / "file" / "below"))
    with gsplat.alone():
        pass
    monkeypatch.setenv("RENDERER_CACHE", str(tmp_path))
    with gsplat.alone(), pytest.raises(BlockingIOError), open(next(tmp_path.glob("gsplat-*.lock")), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
