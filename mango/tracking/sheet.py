"""A picture of what was tracked, to look at before anybody trains on it: frames, the fitted face over them, and the curves that matter."""

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.data.atomic import atomic_file
from mango.data.video import VideoFrames
from mango.head.model import Head
from mango.types import FRAME_RATE, PERSONS, Dialogue, Side

COLUMNS, SIZE = 8, 180  # frames of a row, pixels of each
STRIP, MARGIN = 64, 6  # pixels of height of a curve
MESH, NOT_TRUSTED, INK = (90, 200, 60), (60, 60, 220), (60, 60, 60)  # BGR
SIGNED, HEADER = b"Software\0mango track", 33  # a PNG's text, and the bytes that come before it
CURVES = {"lip opening, mm": (200, 120, 30), "eye opening, mm": (30, 140, 60), "turn of the head, degrees": (120, 60, 160)}


def write_sheet(out: Path, dialogue: Dialogue, head: Head, learnt_from: int) -> None:
    """The PNG, of the whole film. Its frames from ``learnt_from`` on are held out: a line stands there."""
    import cv2

    rows = [row for side in PERSONS if dialogue.side(side).motion is not None for row in _rows(dialogue.side(side), head, learnt_from)]
    _, content = cv2.imencode(".png", np.concatenate(rows))
    with atomic_file(out) as partial:
        partial.write_bytes(_signed(content.tobytes()))


def is_sheet(path: Path) -> bool:
    """Whether it was written by `write_sheet`, and may be written anew."""
    return path.is_file() and path.open("rb").read(2 * HEADER + len(SIGNED))[HEADER + 8 :].startswith(SIGNED)


def _signed(png: bytes) -> bytes:
    chunk = b"tEXt" + SIGNED
    return png[:HEADER] + struct.pack(">I", len(SIGNED)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[HEADER:]


def _rows(side: Side, head: Head, learnt_from: int) -> list[UInt8[np.ndarray, "rows cols 3"]]:
    import cv2

    film, frames = VideoFrames(side.video), len(side.motion)
    chosen = np.linspace(0, frames - 1, COLUMNS).round().astype(int).tolist()
    pictures = film.frames(chosen).numpy()[..., ::-1]
    mattes = VideoFrames(side.mask_video).mattes(chosen).numpy()
    places = _pixels(side, head, chosen)
    of_face = np.isin(head.faces.numpy(), head.region("face").numpy()).all(1)
    plain, drawn, cut = [], [], []
    for number, picture, matte, points in zip(chosen, pictures, mattes, places, strict=True):
        small = cv2.resize(np.ascontiguousarray(picture), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        scaled = points * SIZE / picture.shape[0]
        over = small.copy()
        cv2.polylines(over, list(scaled[head.faces.numpy()[of_face]].round().astype(np.int32)), True, MESH, 1, cv2.LINE_AA)
        over = cv2.addWeighted(over, 0.6, small, 0.4, 0)
        if not bool(side.track.keep[number]):
            cv2.rectangle(over, (1, 1), (SIZE - 2, SIZE - 2), NOT_TRUSTED, 3)
        alpha = cv2.resize(matte, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., None] / 255
        plain.append(small)
        drawn.append(over)
        cut.append((alpha * small + (1 - alpha) * 255).astype(np.uint8))
    seconds = ", ".join(f"{number / FRAME_RATE:.1f}" for number in chosen)
    kept = 100 * float(side.track.keep.float().mean())
    held_out = f"; held out from {learnt_from / FRAME_RATE:.1f} s on" if learnt_from < frames else ""
    title = _words(f"{side.person}: at {seconds} s; {kept:.0f} % of {frames} frames trusted (red frame: not){held_out}")
    return [title, *(np.concatenate(row, axis=1) for row in (plain, drawn, cut)), *_curves(side, head, learnt_from)]


def _pixels(side: Side, head: Head, chosen: list[int]) -> Float[np.ndarray, "chosen verts 2"]:
    camera = side.track.camera_from_world[0]
    with torch.inference_mode():
        found = []
        for number in chosen:
            points = head.vertices(side.motion.frames(slice(number, number + 1)))[0] @ camera[:3, :3].T + camera[:3, 3]
            pixels = points @ side.track.intrinsics.T
            found.append((pixels[:, :2] / pixels[:, 2:]).numpy())
    return np.stack(found)


def _curves(side: Side, head: Head, learnt_from: int) -> list[UInt8[np.ndarray, "rows cols 3"]]:
    clip = side.motion
    with torch.inference_mode():
        parts = [head.vertices(clip.frames(slice(k, k + 50))) for k in range(0, len(clip), 50)]
        lips = torch.cat([1000 * head.lip_opening(part) for part in parts])
        eyes = torch.cat([1000 * head.eye_opening(part) for part in parts])
    turn = torch.rad2deg(clip.neck_pose.norm(dim=-1))
    curves = zip(CURVES.items(), (lips, eyes, turn), strict=True)
    return [_strip(name, curve, colour, side.track.keep, learnt_from) for (name, colour), curve in curves]


def _strip(
    name: str, curve: Float[Tensor, "time"], colour: tuple[int, int, int], keep: Tensor, learnt_from: int
) -> UInt8[np.ndarray, "rows cols 3"]:
    import cv2

    width = COLUMNS * SIZE
    strip = np.full((STRIP, width, 3), 255, np.uint8)
    across = np.linspace(0, width - 1, len(curve))
    for bad in np.flatnonzero(~keep.numpy()):
        strip[:, int(across[bad])] = (225, 225, 255)
    strip[:, across[learnt_from:][:1].astype(int)] = INK
    low, high = float(curve.min()), max(float(curve.max()), float(curve.min()) + 1e-6)
    down = STRIP - MARGIN - (curve.numpy() - low) / (high - low) * (STRIP - 2 * MARGIN)
    cv2.polylines(strip, [np.stack([across, down], axis=1).round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    cv2.putText(strip, f"{name}: {low:.1f} to {high:.1f}", (MARGIN, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    return strip


def _words(text: str) -> UInt8[np.ndarray, "rows cols 3"]:
    import cv2

    line = np.full((24, COLUMNS * SIZE, 3), 255, np.uint8)
    cv2.putText(line, text, (MARGIN, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return line
