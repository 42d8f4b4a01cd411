"""A picture of a source to look at before it is believed: frames of each person (the head in grey, and the source's own pictures), and the
opening of the jaw against the loudness of the voice below them. Avatars and picture folders are shown too.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from mango.data.atomic import atomic_file
from mango.data.formats.conventions import mouth_opening
from mango.data.formats.conversion import clip_of, owner_of, title
from mango.data.formats.recordings import FlameMotion, PersonRecording, Recording, flame_motion
from mango.data.formats.sounds import loudness_of, voice_of
from mango.errors import InputError
from mango.head.flame import Generation
from mango.head.model import Head, load_head
from mango.types import FRAME_RATE

SIZE, COLUMNS = 160, 8  # pixels of a picture, pictures of a row
STRIP = 90  # pixels of height of the curves
INK, GREY, RED, BLUE = (40, 40, 40), (150, 150, 150), (40, 60, 200), (190, 110, 30)  # BGR
PICTURES = (".jpg", ".jpeg", ".png")


def write_sheet(out: Path, source: Path, recordings: Sequence[Recording], head: str, generation: Generation | None = None) -> None:
    """The PNG. ``generation`` is what is stated of a FLAME head's. Errors: InputError for a source that has nothing to show."""
    import cv2

    if out.suffix.lower() != ".png":
        raise InputError(out, expected="a name that ends in .png", found=repr(out.name), remedy="rename the output")
    rows = [row for recording in recordings for row in _recording(recording, load_head(head, generation=generation))] or _others(source)
    if not rows:
        remedy = "recordings, avatars (.zip), meshes (.obj) and folders of pictures can be drawn"
        raise InputError(source, expected="something to draw", found="nothing that can be seen", remedy=remedy)
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    _, content = cv2.imencode(".png", sheet)
    with atomic_file(out) as part:
        part.write_bytes(content.tobytes())


def _recording(recording: Recording, head: Head) -> list[np.ndarray]:
    rows = [_words(title(recording), large=True)]
    for person in recording.people:
        frames = len(person.motion) if person.motion is not None else person.film.frames if person.film is not None else 0
        chosen = np.linspace(0, max(0, frames - 1), min(COLUMNS, max(frames, 1))).round().astype(int).tolist()
        rows.append(_words(f"{person.name}" + (f": frames {', '.join(str(frame) for frame in chosen)}" if frames else ": sound alone")))
        if person.film is not None:
            rows.append(np.concatenate(_film_pictures(person, chosen), axis=1))
        if person.motion is not None:
            heads, words = _heads(person, recording, head, chosen)
            rows += [np.concatenate(heads, axis=1), *([_words(words)] if words else [])]
        rows.append(_curves(person, recording, frames))
    return rows


def _heads(person: PersonRecording, recording: Recording, head: Head, chosen: list[int]) -> tuple[list[np.ndarray], str]:
    """The motion's own head in grey at frames of the source, and what the pictures leave out."""
    motion, words = person.motion, ""
    try:
        head = owner_of(recording.id, motion, head, None)
    except InputError:
        if not isinstance(motion, FlameMotion):
            raise
        parts = {name: getattr(motion, name) for name in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")}
        motion = flame_motion(np.zeros((len(motion), head.expressions)), np.zeros(1), generation="2020", **parts)
        words = "poses alone, on the built-in head: its expressions are not FLAME's (--head YOUR_FLAME_FILE --flame-version draws all)"
    as_it_is = replace(recording, fps=Fraction(FRAME_RATE))  # the source's own frames, none between them
    clip, _ = clip_of(motion, as_it_is, head, len(motion))
    person_at = head.with_shape(clip.shape)
    with torch.no_grad():
        parts = [part[chosen] for part in (clip.expr, clip.neck_pose, clip.jaw_pose, clip.eyes_pose)]
        vertices = person_at.vertices(*parts)
    return [_mesh_picture(points, head.faces) for points in vertices], words


def _mesh_picture(vertices: torch.Tensor, faces: torch.Tensor) -> np.ndarray:
    """Grey on white, the mesh filling a portrait."""
    from renderer.cameras import portrait_camera
    from renderer.mesh import rasterize_mesh, shaded

    camera = portrait_camera(SIZE, field_of_view_degrees=19)
    picture = shaded(rasterize_mesh(vertices, faces, camera), vertices, faces, camera)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _film_pictures(person: PersonRecording, chosen: list[int]) -> list[np.ndarray]:
    """The source's frames, at the moments of the heads below them."""
    from mango.data.formats.films import pictures_at

    film = person.film
    share = film.frames / len(person.motion) if person.motion is not None else 1.0
    moments = [min(film.frames - 1, int(k * share)) / film.fps for k in chosen]
    return [_square(picture.numpy()[..., ::-1]) for picture in pictures_at(film, moments)]


def _square(picture: np.ndarray) -> np.ndarray:
    """Fitted into a square, on white."""
    import cv2

    rows, cols = picture.shape[:2]
    scale = SIZE / max(rows, cols)
    small = cv2.resize(
        np.ascontiguousarray(picture), (max(1, round(cols * scale)), max(1, round(rows * scale))), interpolation=cv2.INTER_AREA
    )
    square = np.full((SIZE, SIZE, 3), 255, np.uint8)
    top, left = (SIZE - small.shape[0]) // 2, (SIZE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def _curves(person: PersonRecording, recording: Recording, frames: int) -> np.ndarray:
    """Opening of the jaw in red and loudness in blue, over the whole length."""
    import cv2

    width = SIZE * COLUMNS
    strip = np.full((STRIP, width, 3), 255, np.uint8)
    said = []
    if person.sound is not None:
        count = frames or max(1, len(voice_of(person.sound)) // 640)
        rate = float(recording.fps) if frames else float(FRAME_RATE)
        _draw(strip, np.clip(loudness_of(person.sound, count, rate), -60, 0), BLUE)
        said.append(("loudness", BLUE))
    if person.motion is not None:
        _draw(strip, mouth_opening(person.motion), RED)
        said.append(("jaw opening", RED))
    for place, (word, colour) in enumerate(said):
        cv2.putText(strip, word, (6 + 110 * place, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    cv2.rectangle(strip, (0, 0), (width - 1, STRIP - 1), GREY)
    return strip


def _draw(strip: np.ndarray, values: np.ndarray, colour: tuple[int, int, int]) -> None:
    import cv2

    low, high = float(values.min()), float(values.max())
    across = np.linspace(0, strip.shape[1] - 1, len(values))
    down = STRIP - 6 - (values - low) / max(high - low, 1e-9) * (STRIP - 26)
    points = np.stack([across, down], 1).round().astype(np.int32)
    cv2.polylines(strip, [points[:, None]], False, colour, 1, cv2.LINE_AA)


def _words(text: str, large: bool = False) -> np.ndarray:
    import cv2

    line = np.full((26 if large else 20, SIZE * COLUMNS, 3), 255, np.uint8)
    plain = text.encode("ascii", "replace").decode()  # the font has no other letters
    cv2.putText(line, plain, (4, 18 if large else 14), cv2.FONT_HERSHEY_SIMPLEX, 0.6 if large else 0.42, INK, 1, cv2.LINE_AA)
    return line


def _others(source: Path) -> list[np.ndarray]:
    """What is no recording: avatars, meshes and pictures, one or a folder of them."""
    files = sorted(file for file in source.iterdir() if file.is_file()) if source.is_dir() else [source]
    rows = []
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    for start in range(0, min(len(pictures), 2 * COLUMNS), COLUMNS):
        some = pictures[start : start + COLUMNS]
        rows += [_words(", ".join(file.name for file in some)), np.concatenate([_read_picture(file) for file in some], axis=1)]
    for file in files:
        draw = {".zip": _lam_picture, ".obj": _obj_picture}.get(file.suffix.lower())
        if draw is not None:
            rows += [_words(file.name), draw(file)]
    width = max((row.shape[1] for row in rows if len(row) >= SIZE), default=0)
    return [row[:, :width] for row in rows]


def _read_picture(path: Path) -> np.ndarray:
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(path, expected="a picture", found="something that cannot be read", remedy="copy it again")
    return _square(picture)


def _lam_picture(path: Path) -> np.ndarray:
    """At rest, mouth open, smiling and blinking."""
    from mango.inference.avatars import load_avatar
    from mango.inference.backgrounds import PLAIN, background_of
    from mango.inference.rendering import bytes_of
    from renderer import draw
    from renderer.cameras import portrait_camera

    avatar = load_avatar(path, load_head())
    names = avatar.lam.mesh.morph_names
    poses = [(), ("jawOpen",), ("mouthSmileLeft", "mouthSmileRight"), ("eyeBlinkLeft", "eyeBlinkRight")]
    weights = torch.tensor([[1.0 if name in pose else 0.0 for name in names] for pose in poses])
    with torch.no_grad():
        pictures = draw(avatar.lam.gaussians(weights, names), portrait_camera(SIZE), background_of(PLAIN).colors[0, 0]).colors
    return np.concatenate([picture.numpy()[..., ::-1] for picture in bytes_of(pictures)], axis=1)


def _obj_picture(path: Path) -> np.ndarray:
    """A mesh, brought to the size and place of a head."""
    from mango.data.formats.guarded import LARGEST_TEXT, content_of, refusing

    with refusing(path, "a mesh"):
        lines = content_of(path, LARGEST_TEXT).decode("utf-8", "replace").splitlines()
        points = torch.tensor([[float(word) for word in line.split()[1:4]] for line in lines if line.startswith("v ")])
        polygons = [[int(corner.split("/")[0]) - 1 for corner in line.split()[1:]] for line in lines if line.startswith("f ")]
        faces = torch.tensor([[polygon[0], *polygon[k : k + 2]] for polygon in polygons for k in range(1, len(polygon) - 1)])
        low, high = points.amin(0), points.amax(0)
        return _mesh_picture((points - (low + high) / 2) * (0.26 / float((high - low).max())), faces)
