"""DECA and EMOCA (Feng et al. 2021; Danecek et al. 2022): codes by name, shape 100, exp 50, pose 6 = global 3, jaw 3, cam 3, light 27, tex
50; EMOCA calls them shapecode, expcode, posecode. One frame a file, or stacked.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

from mango.data.formats.beside import own_name
from mango.data.formats.frame_records import first_record, records_of, stacked, width_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, converted, flame_motion
from mango.data.formats.sounds import sound_beside

NAMES = {"shape": ("shape", "shapecode"), "exp": ("exp", "expcode"), "pose": ("pose", "posecode")}
MARKS = ("cam", "tex", "texcode", "light", "lightcode", "detail", "detailcode")


def recognise(path: Path) -> str | None:
    record = first_record(path)
    if record is None or not any(mark in record for mark in MARKS):
        return None
    if (width_of(record, *NAMES["exp"]), width_of(record, *NAMES["pose"])) != (50, 6):
        return None
    return "codes shape, exp 50, pose 6 and " + ", ".join(mark for mark in MARKS if mark in record)


def entries(path: Path, options: Options) -> list[Entry]:
    name = own_name(path)
    return [Entry(name, (name,), (path,), partial(_recording, path, name, options))]


def _recording(path: Path, name: str, options: Options) -> Recording:
    records = records_of(path)
    expr, pose = stacked(path, records, NAMES["exp"], 50), stacked(path, records, NAMES["pose"], 6)
    shape = stacked(path, records, NAMES["shape"], None).mean(0)
    generation = options.flame_version or "2020"
    motion = flame_motion(expr, shape, neck_pose=pose[:, :3], jaw_pose=pose[:, 3:], generation=generation)
    beliefs = [
        assumed("FLAME 2020 (DECA's and EMOCA's own programs)"),
        converted("pose 0:3 (global) is neck_pose, rotation is zero; pose 3:6 is jaw_pose; shape is the mean over the clip"),
    ]
    if options.fps is None:
        beliefs.append(assumed("25 frames a second (codes do not say; --fps states it)"))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    person = PersonRecording(name, motion, sound_beside(path))
    return Recording(name, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)
