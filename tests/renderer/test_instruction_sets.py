"""The CPU kernels built for other instruction sets than this machine's best are right too: the accuracy tests again, on each.

The width of a vector, its comparisons, sums over lanes and exp2 differ by set (renderer/csrc/simd.h).
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from renderer.rasterize import BACKENDS

HERE = Path(__file__).parent
CHOSEN = "test_cpu_backend_matches_the_reference or (test_degenerate_scenes and classic) or test_same_as_every_triangle or test_compiled"
# flags, what this CPU must have for them, and the registers that code built with them does not touch
SETS = {
    "SSE2": (["-march=x86-64"], {"sse2"}, "ymm"),
    "AVX2": (["-march=x86-64-v3"], {"avx2", "fma", "bmi2", "f16c"}, "zmm"),
    # the sources' own code for CPUs of which they know nothing: vectors of four, lowered by the compiler
    "no intrinsics": (["-march=x86-64", "-U__SSE2__"], {"sse2"}, "ymm"),
}
BUILD_AND_TEST = f"""
import sys, pytest, torch
from renderer.backends import compilation
torch.set_num_threads(1)
first, *others = sys.argv[1:]
compilation.native, compilation.COMPILE = lambda: first, (*compilation.COMPILE, *others)
compilation.library()
sys.exit(pytest.main(["-x", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider", "-k", {CHOSEN!r},
                      {str(HERE / "test_rasterizer_accuracy.py")!r}, {str(HERE / "test_mesh.py")!r},
                      {str(HERE / "test_binding_compiled.py")!r}]))
"""


@pytest.mark.parametrize("name", SETS)
def test_accuracy_on(name, tmp_path):
    """Planted in the sources and seen red, each on its own set only: a bit of SSE's comparison mask lost, a step of the sum over AVX2's
    eight lanes left out, exp2 without intrinsics that rounds negative numbers wrongly.
    """
    flags, needed, foreign = SETS[name]
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip(f"{name} belongs to x86-64, and this is {platform.machine()}")
    missing = needed - set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    if missing:
        pytest.skip(f"this CPU has no {', '.join(sorted(missing))}")
    reason = BACKENDS["cpu"].obstacle()
    if reason is not None:
        pytest.skip(f"backend cpu: {reason}")
    command = [sys.executable, "-c", BUILD_AND_TEST, *flags, "-O1"]  # built in two thirds of the time
    done = subprocess.run(
        command, cwd=HERE.parent.parent, env={**os.environ, "RENDERER_CACHE": str(tmp_path)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout, done.stdout
    (built,) = tmp_path.glob("*.so")
    if shutil.which("objdump"):  # the flags did arrive
        code = subprocess.run(["objdump", "-d", str(built)], capture_output=True, text=True).stdout
        assert "xmm" in code and foreign not in code and ("ymm" in code) == (name == "AVX2")
