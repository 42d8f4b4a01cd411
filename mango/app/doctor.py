"""`mango doctor`: what is installed, what can run here, and for what cannot, why, in words."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

DISTRIBUTION = "mango-heads"
HEADS_FOLDER = "MANGO_HEADS"  # environment variable: a folder with the user's own head files
CPU_FLAGS = ("avx512f", "avx512_bf16", "avx2", "fma", "avx", "sse4_2", "asimd", "sve")  # what the compiled renderer can make use of
EXTRAS = {
    "cuda": "LPIPS and other learnt image metrics",
    "speech": "eSpeak NG voices for synthetic dialogues (the built-in formant synthesiser needs nothing)",
    "app": "viewer and web page",
    "lmdb": "reading the databases of UniLS, ARTalk and DiffPoseTalk (mango data import)",
    "data": "shards and large preparation jobs",
    "vad": "other detectors of speech (mango data features --detector)",
    "ray": "preparation on several machines (mango data import --ray)",
    "dev": "tests and linting",
    "head": "building the head file again (maintainers)",
}
ADVICE_SPACE_GB = 5

State = Literal[
    "ok",  # works
    "absent",  # optional and not there
    "problem",  # something of the default does not work
]
MARK = {"ok": "[green]ok[/]", "absent": "[dim]--[/]", "problem": "[bold red]!![/]"}


@dataclass(frozen=True)
class Finding:
    section: str
    name: str
    state: State
    words: str


def main() -> int:
    """Print all findings; exit code 1 when something of the default installation does not work."""
    findings = list(examine())
    show(findings)
    problems = [finding for finding in findings if finding.state == "problem"]
    return 1 if problems else 0


def examine() -> Iterator[Finding]:
    yield from machine()
    yield from packages()
    yield from render_backends()
    yield from head_files()
    yield from face_networks()


def show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for section in dict.fromkeys(finding.section for finding in findings):
        table = Table(title=section, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            if finding.section == section:
                table.add_row(MARK[finding.state], escape(finding.name), escape(finding.words))
        console.print(table)
        console.print()


# Machine


def machine() -> Iterator[Finding]:
    section = "Machine"
    supported = sys.version_info >= (3, 11)
    remedy = "" if supported else "; MANGO needs 3.11 or later"
    yield Finding(section, "Python", "ok" if supported else "problem", f"{platform.python_version()} ({sys.executable}){remedy}")
    yield Finding(section, "system", "ok", f"{platform.system()} {platform.machine()}, {_cores()} cores, {_memory()}")
    flags = _cpu_flags()
    yield Finding(section, "instruction sets", "ok", ", ".join(flags) if flags else "unknown on this system")
    yield _compiler(section)
    yield _space(section, Path.cwd())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB memory"
    except (ValueError, OSError, AttributeError):
        return "memory unknown"


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    if not cpuinfo.exists():
        return []
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    present = set(match[1].split()) if match else set()
    return [flag for flag in CPU_FLAGS if flag in present]


def _compiler(section: str) -> Finding:
    """The one that the renderer would take."""
    from renderer.backends.compilation import BuildError, compiler

    try:
        command = compiler()
    except BuildError as error:
        return Finding(section, "C++ compiler", "problem", f"{error}; without one rendering on the CPU is very slow")
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout.splitlines()
    return Finding(section, "C++ compiler", "ok", f"{version[0] if version else 'unknown version'} ({' '.join(command)})")


def _space(section: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    few = free < ADVICE_SPACE_GB
    advice = f"; the demo wants {ADVICE_SPACE_GB} GB" if few else ""
    return Finding(section, "free disk", "problem" if few else "ok", f"{free:.1f} GB at {folder}{advice}")


# Packages


def packages() -> Iterator[Finding]:
    """What the installed distribution asks for, by extra; the list is the distribution's own."""
    try:
        required = metadata.requires(DISTRIBUTION) or []
        yield Finding("Packages", DISTRIBUTION, "ok", metadata.version(DISTRIBUTION))
    except metadata.PackageNotFoundError:
        remedy = "not installed; run `python3 bootstrap.py test` or `pip install -e .` in the checkout"
        yield Finding("Packages", DISTRIBUTION, "problem", remedy)
        return
    extras: dict[str, list[str]] = {}
    for requirement in required:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if extra:
            extras.setdefault(extra[1], []).append(name)
        else:
            version = _version(name)
            yield Finding("Packages", name, "ok" if version else "problem", version or f"missing; pip install '{requirement}'")
    for extra, names in extras.items():
        yield _extra(extra, names)
    found = _version("pytorch3d")
    yield Finding("Extras", "pytorch3d", "ok" if found else "absent", f"{found or 'absent'}; nothing in MANGO needs it")


def _extra(extra: str, names: list[str]) -> Finding:
    versions = {name: _version(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    purpose = EXTRAS.get(extra, "")
    if missing:
        install = f"pip install '{DISTRIBUTION}[{extra}]'"
        have = f"; present: {shown}" if shown else ""
        return Finding("Extras", extra, "absent", f"absent: {', '.join(missing)} ({install}){have}. {purpose}")
    broken = _broken_torchvision() if "torchvision" in names else None
    return Finding("Extras", extra, "problem" if broken else "ok", f"{broken or shown}. {purpose}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _broken_torchvision() -> str | None:
    """A torchvision built for CUDA beside a CPU torch imports with an error, and takes transformers and lpips with it."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:
        return f"torchvision does not load beside this torch ({type(error).__name__}: {error}); install both from the same index"
    return None


# Rendering and heads


def render_backends() -> Iterator[Finding]:
    """Where there is a card gsplat is no extra: what is on the card is drawn by gsplat or not at all."""
    import torch

    from renderer.rasterize import BACKENDS

    card = torch.cuda.is_available()
    for name, backend in BACKENDS.items():
        try:
            reason = backend.obstacle()
        except Exception as error:  # a backend that cannot even be asked is one that cannot run
            reason = f"{type(error).__name__}: {error}"
        state = "ok" if reason is None else "absent" if name == "gsplat" and not card else "problem"
        remedy = "; or run on the CPU, with CUDA_VISIBLE_DEVICES= before the command" if name == "gsplat" and card else ""
        yield Finding("Render backends", name, state, "can run" if reason is None else f"cannot run: {reason}{remedy}")


def head_files() -> Iterator[Finding]:
    """The built-in head, and every head file in the folder that $MANGO_HEADS names."""
    yield _head("builtin", "builtin")
    folder = os.environ.get(HEADS_FOLDER)
    if not folder:
        words = f"set {HEADS_FOLDER} to a folder with your own FLAME files (.pkl, .npz) to have them listed"
        yield Finding("Heads", f"${HEADS_FOLDER}", "absent", words)
        return
    files = sorted(file for file in Path(folder).glob("*") if file.suffix in (".npz", ".pkl"))
    if not files:
        words = f"{folder} has no .npz or .pkl file" if Path(folder).is_dir() else f"{folder} is not a folder"
        yield Finding("Heads", f"${HEADS_FOLDER}", "absent", words)
    for file in files:
        yield _head(file.name, file)


def _head(name: str, source: str | Path) -> Finding:
    from mango.head.model import load_head

    try:
        head = load_head(source)
    except Exception as error:
        state = "problem" if source == "builtin" else "absent"
        return Finding("Heads", name, state, f"cannot be used: {error}")
    words = (
        f"{head.template.shape[0]:,} vertices, {head.expressions} expressions, {head.identities} identity directions, {head.digest[:12]}"
    )
    return Finding("Heads", name, "ok", words)


# Films


def face_networks() -> Iterator[Finding]:
    """Those that `mango track` finds faces with; its own detector, which needs nothing, sees less."""
    from mango.errors import InputError
    from mango.tracking.face_models import FaceModels, any_here

    section, name = "Films", "face networks"
    if not any_here():
        words = "absent (mango assets get mediapipe). Without them `mango track` finds faces itself: no gaze, mattes without hair"
        yield Finding(section, name, "absent", words)
        return
    try:
        yield Finding(section, name, "ok", f"MediaPipe's, in {FaceModels().folder}")
    except InputError as error:
        yield Finding(section, name, "problem", str(error))
