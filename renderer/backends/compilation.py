"""Builds the C++ sources once per machine, source, compiler and CPU, with $CXX or the system's compiler, and loads the library.

Nothing but the C ABI crosses: no torch headers, no OpenMP, so any C++17 compiler will do and it takes seconds.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

log = logging.getLogger("renderer")
SOURCES = Path(__file__).parent.parent / "csrc"
COMPILERS = ("c++", "g++", "clang++")
# Overflow must stay visible (it is tested for), hence no -ffinite-math-only.
COMPILE = ("-std=c++17", "-fPIC", "-O3", "-ffast-math", "-fno-finite-math-only", "-pthread")
# Never -ffast-math here: a shared object linked with it sets flush-to-zero for the whole process when it is loaded.
LINK = ("-shared", "-pthread")
_lock = threading.Lock()


class BuildError(RuntimeError):
    """The library cannot be had; the message says why and what to do."""


def library() -> ctypes.CDLL:
    """The loaded library, built if need be. Raises `BuildError`, the same one on every call."""
    with _lock:
        loaded, error = _load()
    if error is not None:
        raise BuildError(error)
    return loaded


@lru_cache
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return ctypes.CDLL(str(built(cache_folder()))), None
    except (BuildError, OSError) as error:
        return None, str(error)


def cache_folder() -> Path:
    """$RENDERER_CACHE, else the user's cache folder, else (read-only home) one of the user's own under the temporary folder."""
    chosen = os.environ.get("RENDERER_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "mango-heads" / "renderer"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    # Somebody else must not be able to plant a library: a folder that is not ours is not used.
    folder = Path(tempfile.gettempdir()) / f"mango-heads-renderer-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise BuildError(f"{folder} belongs to somebody else; set RENDERER_CACHE to a folder of your own")
    return folder


def built(folder: Path) -> Path:
    """The library in ``folder``. Two processes may build at once: each links under its own name, renaming is atomic."""
    folder = folder.resolve()  # what is named without a folder is looked for among the system's libraries
    try:
        command = compiler()
    except BuildError:
        compiled = sorted(folder.glob(f"renderer-{digest()}-*.so"))  # on this kind of machine, while there was a compiler
        if compiled and not os.environ.get("CXX"):
            return compiled[0]
        raise
    target = folder / f"renderer-{digest()}-{digest_of_compiler(command)}.so"
    if target.exists():
        return target
    log.info("renderer: compiling the CPU kernels into %s (a few seconds, once)", target)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as workplace:
        objects = {source: str(Path(workplace) / f"{source.stem}.o") for source in sorted(SOURCES.glob("*.cpp"))}
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(lambda source: run(*command, *COMPILE, native(), "-c", str(source), "-o", objects[source]), objects))
        linked = Path(workplace) / target.name
        run(*command, *LINK, *objects.values(), "-o", str(linked))
        os.replace(linked, target)
    return target


def compiler() -> list[str]:
    """The words of $CXX, which may hold options ("ccache g++"), else the first of `COMPILERS` that is there. Raises `BuildError`."""
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise BuildError(f"no C++ compiler found: $CXX is no command ({error}); correct it, or unset it to look for others") from error
    found = next(filter(None, map(shutil.which, chosen[:1] or COMPILERS)), None)
    if found is not None:
        return [found, *chosen[1:]]
    if chosen:
        raise BuildError(f"no C++ compiler found: $CXX names {chosen[0]}, which is not there; correct it, or unset it to look for others")
    raise BuildError(f"no C++ compiler found (looked for {', '.join(COMPILERS)}); install one, for instance g++")


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[:8])
        raise BuildError(f"{' '.join(command)} failed with code {done.returncode}: {tail}")


def digest_of_compiler(command: list[str]) -> str:
    version = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    return hashlib.sha256("\0".join([version, *command[1:]]).encode()).hexdigest()[:8]


def digest() -> str:
    """Of everything else the machine code depends on."""
    known = hashlib.sha256("\0".join([*COMPILE, native(), *LINK, cpu()]).encode())
    for source in sorted(SOURCES.iterdir()):
        known.update(source.name.encode() + b"\0" + source.read_bytes())
    return known.hexdigest()[:20]


def native() -> str:
    return "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"


def cpu() -> str:
    """What the processor can do: home folders are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = {line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))}
    return platform.machine() + "".join(sorted(kept))
