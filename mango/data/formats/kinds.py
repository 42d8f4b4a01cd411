"""What people also have and what is no recording: heads, avatars, splats, meshes, cameras, labels. Said by what is in the file, with the
command that takes it where there is one.
"""

import json
import math
import re
import shlex
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mango.data.formats.arkit_columns import FEWEST, RATES, shapes_among
from mango.data.formats.beside import is_our_motion
from mango.data.formats.films import film_of
from mango.data.formats.frame_records import record_of
from mango.data.formats.guarded import LARGEST_TEXT, content_of, json_of, npy_of, npz_of
from mango.data.formats.pictures import picture_of
from mango.data.formats.sounds import FILMS, SUFFIXES, Sound, loudness_of, sound_of
from mango.data.formats.torch_files import is_torch_file
from mango.data.motion_files import sidecar
from mango.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST_LISTED = 12
FLAME_VERTICES, FLAME_COLUMNS = 5023, 400
NOT_MANGO = "nothing of mango takes it"


def quoted(path: Path) -> str:
    """As a shell takes it."""
    return shlex.quote(str(path))


@dataclass(frozen=True)
class Kind:
    """What a file is, facts about it, and what to do with it."""

    what: str
    facts: tuple[str, ...] = ()
    command: str = NOT_MANGO

    def lines(self) -> list[str]:
        return [self.what, *self.facts, f"next: {self.command}"]


def describe(path: Path) -> Kind:
    """What a file or folder is. Never fails: what cannot be read is said so."""
    try:
        return of_this_project(path) or (_of_folder(path) if path.is_dir() else _of_file(path))
    except InputError as error:
        return Kind("cannot be read", (f"expected {error.expected}, found {error.found}",), error.remedy)
    except Exception as error:  # a damaged file of a stranger may fail anywhere
        return Kind("cannot be read", (" ".join(f"{type(error).__name__}: {error}".split())[:160],), "copy the file again")


def left_over(path: Path, read: Sequence[Path]) -> list[str]:
    """Of a folder whose recordings are known: the files that are no part of them. Sounds and films are another matter: ``unread``."""
    if not path.is_dir():
        return []
    lines = []
    for file in _files(path):
        if file in read or file.suffix.lower() in (*FILMS, *SUFFIXES):
            continue
        kind = describe(file)
        if not kind.what.startswith("text"):
            lines += [f"{file.name}: {kind.what}", *(f"  {fact}" for fact in kind.facts)]
    return lines[:MOST_LISTED]


def of_this_project(path: Path) -> Kind | None:
    """Our own sets, runs and motion, which hold files that look like other people's recordings."""
    if path.is_file():
        if not is_our_motion(path):
            return None
        said = json_of(sidecar(path))
        facts = (f"{said.get('frames')} frames at {said['fps']} fps, of head {str(said['head'])[:12]}",)
        return Kind("motion of one person, of this project", facts, f"mango export --format livelink-csv {quoted(path)} OUT")
    if (path / "dataset.json").is_file():
        described = json_of(path / "dataset.json")
        splits = described.get("splits", {}) if isinstance(described, dict) else {}
        counts = ", ".join(f"{name} {len(ids)}" for name, ids in splits.items() if isinstance(ids, list))
        return Kind("a dialogue set of this project", (f"dialogues: {counts}",), f"mango data validate {quoted(path)}")
    if (path / "checkpoints").is_dir() and (path / "config.yaml").is_file():
        command = f"mango generate --checkpoint {quoted(path)} --own VOICE --partner VOICE --out OUT"
        return Kind("a training run of this project", (), command)
    if (path / "a.motion.npz").is_file() and (path / "b.motion.npz").is_file():
        command = f"mango render --motion {quoted(path)} --avatar A --avatar B --out VIDEO.mp4"
        return Kind("motion of two people, as `mango generate` writes it", (), command)
    return None


def _of_folder(path: Path) -> Kind:
    from mango.data.formats.registry import recognised

    sets = sorted(folder for folder in path.iterdir() if (folder / "dataset.json").is_file())
    if sets:
        named = ", ".join(folder.name for folder in sets[:MOST_LISTED]) + (", ..." if len(sets) > MOST_LISTED else "")
        command = f"mango data merge OUT {' '.join(map(quoted, sets))}" if len(sets) > 1 else f"mango data inspect {quoted(sets[0])}"
        return Kind("a folder of dialogue sets of this project", (f"{len(sets)}: {named}",), command)
    facts, commands = [], []
    pictures = [file for file in _files(path) if file.suffix.lower() in PICTURES]
    for file in _files(path):
        if file in pictures:
            continue
        found = recognised(file)
        if found:
            facts.append(f"{file.name}: {found[0].summary.split(':')[0]} ({found[1]})")
            commands.append((0, f"mango data inspect {quoted(file)}"))
        else:
            kind = describe(file)
            facts.append(f"{file.name}: {kind.what}")
            commands.append((1 if kind.command.startswith("mango") else 3 if kind.command.startswith(NOT_MANGO) else 2, kind.command))
    command = min(commands, key=lambda command: command[0], default=(3, NOT_MANGO))[1]
    facts += [f"{len(pictures)} pictures, the first of {_picture_size(pictures[0])}"] if pictures else []
    folders = [item.name for item in sorted(path.iterdir()) if item.is_dir() and not item.name.startswith(".")]
    facts += [f"folders: {', '.join(folders[:MOST_LISTED])}{', ...' if len(folders) > MOST_LISTED else ''}"] if folders else []
    shown = facts[:MOST_LISTED] + ([f"... and {len(facts) - MOST_LISTED} more"] if len(facts) > MOST_LISTED else [])
    what = "a folder of no known format as a whole; its files are" if facts else "an empty folder"
    return Kind(what, tuple(shown), command)


def _files(path: Path) -> list[Path]:
    return sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith("."))


def _of_file(path: Path) -> Kind:
    start = content_of(path, 0, start=512)
    if not start:
        return Kind("an empty file")
    if start[:4] == b"ply\n" or start[:5] == b"ply\r\n":
        return _ply(path)
    if start[:4] == b"glTF":
        return _glb(path)
    if start[:6] == b"\x93NUMPY":
        return _npy(path)
    if start[4:8] == b"ftyp":
        film = film_of(path)
        sound = "with sound" if film.sound else "without sound"
        what = f"a film of {film.frames} frames of {film.size[1]}x{film.size[0]} at {float(film.fps):.5g} fps, {sound}"
        return Kind(what, (), f"mango data import --format plain {quoted(path)} OUT")
    if start[:4] == b"RIFF" or path.suffix.lower() in SUFFIXES:
        sound = sound_of(path)
        return Kind(f"sound of {sound.seconds:.2f} s at {sound.rate} Hz", (), f"mango data import --format plain {quoted(path)} OUT")
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        return _zip(path)
    if start[:3] == b"\xff\xd8\xff" or start[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind(f"a picture of {_picture_size(path)}")
    if start[:1] in (b"\x80", b"(", b"c") and path.suffix.lower() in (".pkl", ".pickle", ".npz", ".bin"):
        held = record_of(path)
        return _arrays(path, held) if isinstance(held, Mapping) else Kind(f"a pickle of a {type(held).__name__}")
    if start[8:9] == b"{" and b'"' in start:
        return _safetensors(path)
    return _text(path, start)


def _ply(path: Path) -> Kind:
    head = content_of(path, 0, start=2**16).split(b"end_header")[0].decode("latin-1").split("\n")
    elements = [line.split() for line in head if line.startswith("element")]
    counts = {name: int(count) for _, name, count in (words for words in elements if len(words) == 3)}
    names = [line.split()[-1] for line in head if line.startswith("property")]
    facts = (f"{', '.join(f'{count} {name}' for name, count in counts.items())}; {len(names)} properties",)
    if {"opacity", "scale_0", "rot_0", "f_dc_0"} <= set(names):
        if "binding_0" in names:
            remedy = f"mango render --avatar {quoted(path)} --head YOUR_FLAME_FILE, with its flame_param.npz beside it (docs/heads.md)"
            return Kind("a GaussianAvatars avatar (splats bound to FLAME's triangles)", facts, remedy)
        degree = math.isqrt(1 + sum(name.startswith("f_rest") for name in names) // 3) - 1
        facts += (f"spherical harmonics of degree {degree}" + ("" if "nx" in names else ", without normals (gsplat's way)"),)
        return Kind("Gaussian splats", facts, "open it with renderer.io.load_ply; `mango render` takes avatars, not still splats")
    return Kind("a mesh or point cloud (ply)", facts)


def _glb(path: Path) -> Kind:
    content = content_of(path, 2**30)
    (length,) = struct.unpack_from("<I", content, 12)
    document = json.loads(content[20 : 20 + length])
    meshes = document.get("meshes", [])
    morphs = [mesh.get("extras", {}).get("targetNames", []) for mesh in meshes]
    names = max(morphs, key=len, default=[])
    targets = max((len(part.get("targets", [])) for mesh in meshes for part in mesh.get("primitives", [])), default=0)
    shapes = len(shapes_among(names)) if len(set(names)) == len(names) else 0
    facts = [f"{len(meshes)} meshes, {len(document.get('skins', []))} skins, {len(document.get('animations', []))} animations"]
    needs = document.get("extensionsRequired", [])
    facts += [f"compressed: needs {', '.join(needs)}"] if needs else []
    facts += [f"{targets} morph targets" + (f", {shapes} of ARKit's 52 by name" if shapes else "")] if targets else []
    accessors = document.get("accessors", [])
    for mesh in meshes:
        for part in mesh.get("primitives", []):
            place = part.get("attributes", {}).get("POSITION")
            if isinstance(place, int) and place < len(accessors):
                facts.append(f"{mesh.get('name', 'mesh')}: {accessors[place].get('count')} vertices")
    what = "a head with ARKit morphs (glb)" if shapes >= FEWEST else "a mesh (glb)"
    return Kind(
        what, tuple(facts[:8]), f"{NOT_MANGO}: it has no Gaussians; weights that drive it go out by mango export --format livelink-csv"
    )


def _npy(path: Path) -> Kind:
    array = npy_of(path)
    facts = [f"{array.dtype} of shape {array.shape}"]
    if array.dtype.kind in "fiu" and array.size:
        facts[0] += f", from {array.min():.4g} to {array.max():.4g}"
    if array.ndim == 2 and array.dtype.kind == "f" and len(array) > 10:
        facts += _unnamed_columns(path, array)
        what = f"{array.shape[0]} frames of {array.shape[1]} columns without names: neither FLAME's nor ARKit's widths"
        command = (
            "name the columns: save names, weights and fps as npz (docs/formats.md); the sound alone: mango data import --format plain"
        )
        return Kind(what, tuple(facts), command)
    if array.ndim == 3 and array.shape[2] == 3:
        return Kind(f"vertices over {len(array)} frames ({array.shape[1]} vertices)", tuple(facts))
    return Kind("an array", tuple(facts))


def _unnamed_columns(path: Path, array: np.ndarray) -> list[str]:
    """Which rate fits the sound that belongs to it, and which column follows its loudness."""
    sound = _sound_by_name(path)
    if sound is None:
        return []
    fitting = [float(rate) for rate in RATES if abs(len(array) / float(rate) - sound.seconds) < 0.06]
    rate = min(fitting, key=lambda rate: abs(len(array) / rate - sound.seconds), default=None)
    numbers = f"{len(array)} frames over {sound.seconds:.2f} s of {sound.path.name}"
    if rate is None:
        return [f"{numbers}: {len(array) / sound.seconds:.2f} a second, no known rate"]
    loud = loudness_of(sound, len(array), rate)
    moving = np.flatnonzero(array.std(0) > 0.01)
    if loud.std() == 0 or not len(moving):
        return [f"{numbers}: {rate:.5g} a second"]
    follows = {int(k): float(np.corrcoef(array[:, k], loud)[0, 1]) for k in moving}
    best = max(follows, key=follows.get)
    return [
        f"{numbers}: {rate:.5g} a second",
        f"column {best} follows its loudness most (correlation {follows[best]:.2f}), as a jaw opening does",
    ]


def _sound_by_name(path: Path) -> Sound | None:
    """The sound in the folder whose name is the longest part of this file's name."""
    sounds = [file for file in _files(path.parent) if file.suffix.lower() in SUFFIXES and file.stem in path.stem]
    return sound_of(max(sounds, key=lambda file: len(file.stem))) if sounds else None


def _zip(path: Path) -> Kind:
    if is_torch_file(path):
        held = record_of(path)
        inside = ", ".join(str(name) for name in list(held)[:8]) if isinstance(held, Mapping) else type(held).__name__
        return Kind("a torch file", (f"holds {inside}",))
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if not name.startswith("__MACOSX") and not name.endswith("/")]
        ends = {name.rsplit("/", 1)[-1] for name in members}
        if {"skin.glb", "offset.ply"} <= ends:
            facts = (f"holds {', '.join(sorted(name for name in ends if not name.startswith('.')))}",)
            return Kind(
                "a LAM head avatar (Gaussians on a mesh with ARKit morphs)",
                facts,
                f"mango render --avatar {quoted(path)} --avatar OTHER --motion MOTION --out VIDEO.mp4",
            )
    if all(name.endswith(".npy") for name in members) and members:
        return _arrays(path, npz_of(path))
    kinds = Counter(name.rsplit(".", 1)[-1] for name in members)
    return Kind(
        "a zip archive", (", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)),), "unpack it and inspect the folder"
    )


def _arrays(path: Path, arrays: Mapping) -> Kind:
    """Arrays by name that are no motion."""
    shown = ", ".join(f"{name} {np.shape(array)}" for name, array in list(arrays.items())[:8])
    facts = (shown + (", ..." if len(arrays) > 8 else ""),)
    names = set(arrays)
    if {"template", "shape_directions", "joint_regressor"} <= names:
        return Kind("a head file of this project", facts, f"any command's --head {quoted(path)}")
    if "v_template" in names and np.ndim(arrays["v_template"]) == 2:
        return _flame(path, arrays, facts)
    if {"neutral", "identity_deltas", "expression_deltas"} <= names:
        people, expressions = len(arrays["identity_deltas"]), len(arrays["expression_deltas"])
        what = f"ICT-FaceKit: {len(arrays['neutral'])} vertices, {people} identities, {expressions} expressions"
        size = float(np.ptp(np.asarray(arrays["neutral"])[:, 1]))
        facts += (f"{size:.1f} units high: centimetres",) if size > 5 else ()
        return Kind(what, facts, f"mango head convert --format ict {quoted(path)} OUT.npz; commands then take it as --head")
    if {"names", "deltas"} <= names and np.ndim(arrays["deltas"]) == 3:
        shapes = shapes_among([str(name) for name in np.ravel(arrays["names"])])
        _, vertices, _ = np.shape(arrays["deltas"])
        of = "FLAME's 5023 vertices" if vertices == FLAME_VERTICES else f"{vertices} vertices"
        largest = float(np.abs(arrays["deltas"]).max()) * 1000
        what = f"vertex offsets of {len(arrays['names'])} expressions ({len(shapes)} of ARKit's 52 by name) on {of}"
        return Kind(
            what,
            (*facts, f"offsets up to {largest:.0f} mm where units are metres"),
            "a basis to carry ARKit weights to FLAME vertices; no motion in it",
        )
    if {"viewmats", "Ks"} <= names:
        points = next((len(arrays[name]) for name in ("means3d", "means", "points") if name in arrays), 0)
        return Kind(
            f"a scene: {points} points and {len(arrays['viewmats'])} cameras (gsplat's test data)",
            facts,
            "for fitting splats with renderer; no head in it",
        )
    if "camera_from_world" in names and "landmarks" in names:
        return Kind("a track of this project (cameras, landmarks)", facts, "it belongs beside a film in a dialogue set")
    return Kind("arrays of no known format", facts)


def _flame(path: Path, arrays: Mapping, facts: tuple[str, ...]) -> Kind:
    """A FLAME head, whole or in part. Its generation is not in the file."""
    vertices = len(arrays["v_template"])
    columns = np.shape(arrays.get("shapedirs", np.zeros((0, 0, 0))))[-1]
    height = float(np.ptp(np.asarray(arrays["v_template"])[:, 1]))
    facts += (f"{vertices} vertices, {height * 100:.1f} cm high where units are metres",)
    if columns >= FLAME_COLUMNS - 50 and {"posedirs", "weights", "J_regressor", "f", "kintree_table"} <= set(arrays):
        return Kind(f"a FLAME head: 300 identities, {columns - 300} expressions", facts, f"any command's --head {quoted(path)}")
    partial = [name for name in arrays if "shapedirs" in name]
    has = f"identity directions {partial[0]} {np.shape(arrays[partial[0]])[-1]}" if partial else "no shape directions"
    return Kind(
        f"a FLAME head in part ({has}, no expressions)", facts, "no command can use it: --head wants the whole file (300 + 100 columns)"
    )


def _safetensors(path: Path) -> Kind:
    (length,) = struct.unpack("<Q", content_of(path, 0, start=8))
    if length > 2**26 or length > path.stat().st_size:
        return _text(path, content_of(path, 0, start=512))
    held = json.loads(content_of(path, 0, start=8 + length)[8:])
    names = [name for name in held if name != "__metadata__"]
    facts = (f"{len(names)} tensors: {', '.join(names[:6])}",)
    said = json.loads(held.get("__metadata__", {}).get("mango", "{}"))
    facts += (f"of {said['person']}",) if "person" in said else ()
    if said.get("kind") == "mango avatar":
        command = f"mango render --avatar {quoted(path)} --avatar OTHER --motion MOTION --out VIDEO.mp4"
        return Kind("an avatar of this project (safetensors)", facts, command)
    if said.get("kind") == "mango adapter":
        command = f"mango generate --adapter {quoted(path)} --adapter none --checkpoint RUN --own VOICE --partner VOICE --out OUT"
        return Kind("an adapter of this project: how one person moves (safetensors)", facts, command)
    return Kind("weights (safetensors)", facts)


def _text(path: Path, start: bytes) -> Kind:
    try:
        first = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:
            return Kind("a file of no known kind", (f"begins with {start[:12]!r}",))
        first = start[: error.start].decode("utf-8")
    if first.lstrip()[:1] in ("{", "["):
        return _json(path)
    if re.match(r"\s*(#.*\n|mtllib.*\n|o .*\n|\s)*v\s+[-\d]", first):
        return _obj(path)
    if re.match(r"SPEAKER\s+\S+\s+\d+\s+[\d.]+\s+[\d.]+", first):
        return _rttm(path)
    return Kind(f"text ({path.stat().st_size} bytes): {' '.join(first.split())[:60]}")


def _json(path: Path) -> Kind:
    held = json_of(path)
    if isinstance(held, list):
        return Kind(f"a JSON list of {len(held)} entries")
    keys = ", ".join(str(key) for key in list(held)[:6])
    matrices = [name for name in held if str(name).startswith("P_") or name in ("frames", "cameras")]
    if "P_3x4" in held and isinstance(held["P_3x4"], dict):
        size = held.get("image_size")
        facts = (f"projection matrices 3x4 of {len(held['P_3x4'])} pictures, image size {size}",)
        return Kind("cameras of photographs", facts, "for fitting splats with renderer; no motion in it")
    if "frames" in held and isinstance(held["frames"], list) and held["frames"] and "transform_matrix" in held["frames"][0]:
        return Kind(
            f"cameras of {len(held['frames'])} pictures (transforms.json, OpenGL axes)", (keys,), "inspect the folder that it lies in"
        )
    if held and all(isinstance(v, dict) and v and all(_spans(times) for times in v.values()) for v in held.values()):
        spans = sum(len(times) for value in held.values() for times in value.values())
        sides = sorted({side for value in held.values() for side in value})
        return Kind(
            f"who speaks when: {spans} turns of {', '.join(sides)} in {len(held)} recordings, seconds",
            (),
            "labels to compare with; not needed to import",
        )
    return Kind("a JSON object", (f"keys {keys}{', ...' if len(held) > 6 else ''}",) + ((f"with {matrices}",) if matrices else ()))


def _spans(times: object) -> bool:
    return isinstance(times, list) and all(isinstance(span, list) and len(span) == 2 for span in times)


def _obj(path: Path) -> Kind:
    lines = content_of(path, LARGEST_TEXT).decode("utf-8", "replace").splitlines()
    counts = Counter(line.split(maxsplit=1)[0] for line in lines if line.strip())
    facts = (f"{counts['v']} vertices, {counts['f']} faces, {counts['vt']} texture points",)
    return Kind("a mesh (obj)", facts)


def _rttm(path: Path) -> Kind:
    rows = [line.split() for line in content_of(path, LARGEST_TEXT).decode("utf-8").splitlines() if line.startswith("SPEAKER")]
    people = sorted({row[7] for row in rows})
    total = sum(float(row[4]) for row in rows)
    what = f"who speaks when (RTTM): {len(rows)} turns of {len(people)} people, {total:.1f} s of speech"
    return Kind(what, (f"people {', '.join(people[:8])}",), "labels to compare with; not needed to import")


def _picture_size(path: Path) -> str:
    try:
        rows, cols = picture_of(path).shape[:2]
    except InputError:
        return "unreadable size"
    return f"{cols}x{rows}"
