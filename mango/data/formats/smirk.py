"""SMIRK (Retsinas et al., CVPR 2024): per picture pose_params 3 (global), jaw_params 3, expression_params 50, shape_params 300,
eyelid_params 2 (times vertex offsets of its own, no part of FLAME) and cam 3. One frame a file, or stacked.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

from mango.data.formats.beside import own_name
from mango.data.formats.frame_records import first_record, records_of, stacked, width_of
from mango.data.formats.recordings import Entry, Options, PersonRecording, Recording, assumed, converted, flame_motion
from mango.data.formats.sounds import sound_beside

NAMES = {"expression_params": 50, "pose_params": 3, "jaw_params": 3}


def recognise(path: Path) -> str | None:
    record = first_record(path)
    if record is None or any(width_of(record, name) != width for name, width in NAMES.items()):
        return None
    return "expression_params, pose_params and jaw_params" + (" with eyelids" if "eyelid_params" in record else "")


def entries(path: Path, options: Options) -> list[Entry]:
    name = own_name(path)
    return [Entry(name, (name,), (path,), partial(_recording, path, name, options))]


def _recording(path: Path, name: str, options: Options) -> Recording:
    records = records_of(path)
    expr, head, jaw = (stacked(path, records, (name,), width) for name, width in NAMES.items())
    shape = stacked(path, records, ("shape_params",), None).mean(0)
    eyelids = stacked(path, records, ("eyelid_params",), 2) if "eyelid_params" in records[0] else None
    motion = flame_motion(expr, shape, neck_pose=head, jaw_pose=jaw, eyelids=eyelids, generation=options.flame_version or "2020")
    beliefs = [
        assumed("FLAME 2020 (SMIRK's own programs)"),
        converted("pose_params (global) is neck_pose, rotation is zero; shape is the mean over the clip"),
    ]
    if eyelids is not None:
        beliefs.append(converted("eyelid_params are left out: they move SMIRK's own offsets, so blinks are lost"))
    if options.fps is None:
        beliefs.append(assumed("25 frames a second (parameters do not say; --fps states it)"))
    rate = Fraction(options.fps or 25).limit_denominator(1001)
    person = PersonRecording(name, motion, sound_beside(path))
    return Recording(name, (person,), rate, tuple(beliefs), fps_is_stated=options.fps is not None)
