"""A clip as a folder of OBJ files, one a frame: vertices in metres, faces counted from 1, texture coordinates where the head has them."""

import re
from pathlib import Path

import torch

from mango.data.atomic import atomic_folder
from mango.data.formats.recordings import Assumption, converted
from mango.errors import InputError
from mango.head.model import Head
from mango.types import MotionClip

AT_ONCE = 32  # frames in memory
OURS = re.compile(r"\d{5,}\.obj")


def write(folder: Path, head: Head, clip: MotionClip, *, overwrite: bool = False) -> list[Assumption]:
    """Whole or not at all; what is lost, in words. Errors: InputError for an older ``folder`` that is not of such files alone."""
    if overwrite and folder.exists():
        others = [folder.name] if folder.is_file() else sorted(item.name for item in folder.iterdir() if not OURS.fullmatch(item.name))
        if others:
            remedy = "choose a folder of its own: this one would be replaced"
            raise InputError(folder, expected="an earlier export, NNNNN.obj alone", found=", ".join(others[:3]), remedy=remedy)
    tail = _faces(head)
    with atomic_folder(folder, replace=overwrite) as partial, torch.no_grad():
        for start in range(0, len(clip), AT_ONCE):
            for k, vertices in enumerate(head.vertices(clip.frames(slice(start, start + AT_ONCE))), start=start):
                points = "".join(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in vertices.tolist())
                (partial / f"{k:05d}.obj").write_text(points + tail, encoding="ascii")
    return [converted("lost: everything but the surface; coordinates to a tenth of a micrometre")]


def _faces(head: Head) -> str:
    faces = (head.faces + 1).tolist()
    if not len(head.uv_faces):
        return "".join(f"f {a} {b} {c}\n" for a, b, c in faces)
    uvs = "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in head.uvs.tolist())
    corners = zip(faces, (head.uv_faces + 1).tolist(), strict=True)
    return uvs + "".join("f " + " ".join(f"{v}/{t}" for v, t in zip(face, texture, strict=True)) + "\n" for face, texture in corners)
