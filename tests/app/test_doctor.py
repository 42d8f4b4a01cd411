"""The doctor says in words what cannot run, and a broken part does not stop it from examining the rest."""

import hashlib
import sys
from importlib import import_module
from types import SimpleNamespace

from mango.app import doctor
from mango.tracking import face_models


def named(findings):
    return {finding.name: finding for finding in findings}


def test_backends_that_cannot_run_say_why(monkeypatch):
    """Notices a backend left out, or a probe whose own failure ends the examination."""

    def broken():
        raise OSError("no such library")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    backends = {"reference": lambda: None, "cpu": lambda: "no C++ compiler", "gsplat": broken}
    monkeypatch.setattr(
        import_module("renderer.rasterize"), "BACKENDS", {name: SimpleNamespace(obstacle=probe) for name, probe in backends.items()}
    )
    found = named(doctor.render_backends())
    assert (found["reference"].state, found["cpu"].state, found["gsplat"].state) == ("ok", "problem", "absent")
    assert "no C++ compiler" in found["cpu"].words and "no such library" in found["gsplat"].words


def test_a_card_that_cannot_draw_is_a_problem(monkeypatch):
    """Fault planted: gsplat is always an extra, so that all was well until stage two."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(
        import_module("renderer.rasterize").Backend, "obstacle", lambda self: "no CUDA toolkit" if self.module.endswith("gsplat") else None
    )
    found = named(doctor.render_backends())["gsplat"]
    assert found.state == "problem" and "no CUDA toolkit" in found.words and "CUDA_VISIBLE_DEVICES=" in found.words


def test_head_files_of_the_users_folder(monkeypatch, tmp_path):
    (tmp_path / "flame.npz").write_bytes(b"not a head")
    monkeypatch.setenv(doctor.HEADS_FOLDER, str(tmp_path))
    found = named(doctor.head_files())
    assert found["builtin"].state == "ok" and "vertices" in found["builtin"].words
    assert found["flame.npz"].state == "absent" and "cannot be used" in found["flame.npz"].words
    monkeypatch.setenv(doctor.HEADS_FOLDER, str(tmp_path / "none"))
    assert "not a folder" in named(doctor.head_files())[f"${doctor.HEADS_FOLDER}"].words


def test_a_missing_compiler_is_a_problem(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert named(doctor.machine())["C++ compiler"].state == "problem"


def test_the_compiler_is_the_renderers(monkeypatch):
    """Fault planted: names of its own, so that it was content with what the renderer does not take."""
    monkeypatch.setenv("CXX", "nowhere-to-be-found -O1")
    found = named(doctor.machine())["C++ compiler"]
    assert found.state == "problem" and "$CXX names nowhere-to-be-found, which is not there" in found.words
    monkeypatch.setattr(import_module("renderer.backends.compilation"), "compiler", lambda: [sys.executable, "-X", "utf8"])
    found = named(doctor.machine())["C++ compiler"]
    assert found.state == "ok" and f"Python {sys.version.split()[0]} ({sys.executable} -X utf8)" in found.words


def test_a_missing_core_package_is_a_problem_and_a_missing_extra_is_not(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["nowhere-to-be-found>=1", 'never-heard-of; extra == "speech"'])
    found = named(doctor.packages())
    assert found["nowhere-to-be-found"].state == "problem" and "pip install" in found["nowhere-to-be-found"].words
    assert found["speech"].state == "absent" and "never-heard-of" in found["speech"].words


def test_face_networks_absent_whole_and_damaged(monkeypatch, tmp_path):
    """Notices damaged networks that pass for whole, and absent ones that are a problem or are not told of."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    absent = named(doctor.face_networks())["face networks"]
    assert absent.state == "absent" and "mango assets get mediapipe" in absent.words
    folder = tmp_path / "mango" / "mediapipe"
    folder.mkdir(parents=True)
    content = {name: name.encode() for name in face_models.FILES}
    digests = {name: (name, hashlib.sha256(data).hexdigest()) for name, data in content.items()}
    monkeypatch.setattr(face_models, "FILES", digests)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    assert named(doctor.face_networks())["face networks"] == doctor.Finding("Films", "face networks", "ok", f"MediaPipe's, in {folder}")
    (folder / next(iter(content))).write_bytes(b"cut short")
    damaged = named(doctor.face_networks())["face networks"]
    assert damaged.state == "problem" and next(iter(content)) in damaged.words and "mango assets get" in damaged.words


def test_cpu_flags(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx2 fma sse4_2\n")
    assert doctor._cpu_flags(tmp_path / "cpuinfo") == ["avx2", "fma", "sse4_2"]
