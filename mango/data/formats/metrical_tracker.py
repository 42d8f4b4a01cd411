"""metrical-tracker (Zielonka et al., "Towards Metrical Reconstruction of Human Faces", ECCV 2022): checkpoint/00000.frame of torch.save
with flame {exp 100, shape 300, jaw 6, eyes 12, eyelids 2}, jaw and eyes as 6D, and cameras; the head stands still and the camera turns.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mango.data.formats.beside import own_name
from mango.data.formats.frame_records import check_counted, frame_files, record_of, stacked
from mango.data.formats.guarded import needed, numbers
from mango.data.formats.recordings import Assumption, Entry, Options, PersonRecording, Recording, assumed, converted, flame_motion
from mango.data.formats.rotations import from_6d, head_seen_by_camera
from mango.data.formats.sounds import sound_beside
from mango.data.formats.torch_files import is_torch_file

TOO_LITTLE = 0.01  # radians of jaw that tell nothing


def recognise(path: Path) -> str | None:
    files = _files(path)
    if not files or not is_torch_file(files[0]):
        return None
    frame = record_of(files[0])
    flame = frame.get("flame") if isinstance(frame, Mapping) else None
    return f"{len(files)} frames with flame and camera" if isinstance(flame, Mapping) and {"exp", "jaw", "eyes"} <= flame.keys() else None


def entries(path: Path, options: Options) -> list[Entry]:
    name = path.parent.name if path.name == "checkpoint" else own_name(path)
    return [Entry(name, (name,), (path,), partial(_recording, path, name, options))]


def _files(path: Path) -> list[Path]:
    folder = path / "checkpoint" if (path / "checkpoint").is_dir() else path
    return frame_files(folder) if folder.is_dir() else [folder]


def _recording(path: Path, name: str, options: Options) -> Recording:
    files = _files(path)
    check_counted(path, [file.stem for file in files])
    frames = [needed(file, record_of(file), "flame") for file in files]
    flames = [needed(path, frame["flame"], "exp", "shape", "jaw", "eyes") for frame in frames]
    six = stacked(path, flames, ("jaw",), 6)
    jaw, jaw_words = _jaw(six)
    rows = jaw_words.words.startswith("6D by rows")
    eyes = stacked(path, flames, ("eyes",), 12)
    eyes_pose = np.concatenate([from_6d(eyes[:, side], "rows" if rows else "columns") for side in (slice(0, 6), slice(6, 12))], axis=1)
    eyelids = stacked(path, flames, ("eyelids",), 2) if "eyelids" in flames[0] else None
    beliefs = [jaw_words, assumed("eyes are 6D like the jaw, left eye first")]
    turns = [_camera(path, frame) for frame in frames]
    parts = {"jaw_pose": jaw, "eyes_pose": eyes_pose}
    if all(turn is not None for turn in turns):
        parts["neck_pose"] = head_seen_by_camera(np.stack(turns))
        beliefs.append(
            converted("the head's turn is taken from the opencv camera (the tracker keeps the head still): neck_pose, rotation zero")
        )
    else:
        beliefs.append(assumed("no opencv camera in the frames: the head does not turn"))
    if eyelids is not None:
        beliefs.append(converted("eyelids are left out: they move the tracker's own offsets, so blinks are lost"))
    if options.fps is None:
        beliefs.append(assumed("25 frames a second (frames do not say; --fps states it)"))
    expr, shape = stacked(path, flames, ("exp",), None), stacked(path, flames, ("shape",), None).mean(0)
    motion = flame_motion(expr, shape, eyelids=eyelids, generation=options.flame_version, **parts)
    person = PersonRecording(name, motion, sound_beside(path))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    return Recording(name, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)


def _jaw(six: Float[np.ndarray, "time 6"]) -> tuple[Float[np.ndarray, "time 3"], Assumption]:
    """6D does not say whether it holds rows or columns; a jaw opens downwards, so its sign does."""
    rows, columns = from_6d(six, "rows"), from_6d(six, "columns")
    by_rows, by_columns = float(rows[:, 0].mean()), float(columns[:, 0].mean())
    if max(abs(by_rows), abs(by_columns)) < TOO_LITTLE:
        return rows, assumed(f"6D by rows, as PyTorch3D has it (the jaw moves too little to tell: mean {by_rows:.4f} rad)")
    if by_rows > 0:
        return rows, Assumption(
            "certain", f"6D by rows: so read the jaw opens by {by_rows:.3f} rad in the mean, by columns {by_columns:.3f}"
        )
    return columns, Assumption(
        "certain", f"6D by columns: so read the jaw opens by {by_columns:.3f} rad in the mean, by rows {by_rows:.3f}"
    )


def _camera(path: Path, frame: Mapping) -> Float[np.ndarray, "3 3"] | None:
    camera = frame.get("opencv")
    if not isinstance(camera, Mapping) or "R" not in camera:
        return None
    turn = numbers(path, "opencv R", np.asarray(camera["R"]).reshape(-1, 3, 3)[:1], (1, 3, 3))[0]
    return turn
