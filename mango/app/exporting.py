"""`mango export`: one clip of this project in other people's formats, and what is lost on the way."""

from collections.abc import Callable
from pathlib import Path

import torch

from mango.data.atomic import atomic_file
from mango.data.formats import dualtalk, head_csv, lam_json, livelink_csv, obj_sequence, vhap
from mango.data.formats.recordings import ArkitMotion, Assumption, FlameMotion, Generation, assumed, converted
from mango.errors import InputError
from mango.head.arkit import ARKIT_NAMES, arkit_from_motion
from mango.head.model import Head
from mango.types import MotionClip

Writer = Callable[[Path, Head, MotionClip], list[Assumption]]


def export_motion(motion: Path, out: Path, *, format: str, head: str, overwrite: bool) -> None:
    """Write one clip and print what was lost. An older file stays unless ``overwrite``."""
    from mango.data.motion_files import load_motion, sidecar
    from mango.head.model import load_head

    if out.exists() and not overwrite:
        remedy = "choose another name, or pass --overwrite"
        raise InputError(out, expected="nothing yet", found="a folder" if out.is_dir() else "a file", remedy=remedy)
    if out.resolve() in (motion.resolve(), sidecar(motion).resolve()):
        raise InputError(out, expected="another file than the motion's own", found="one of them", remedy="choose another name")
    _, suffix, write = WRITERS[format]
    if suffix and out.suffix.lower() != suffix:
        raise InputError(out, expected=f"a name that ends in {suffix}", found=repr(out.name), remedy="rename the output")
    if motion.is_dir():
        remedy = "name one person's file, for example a.motion.npz in it"
        raise InputError(motion, expected="a motion file NAME.npz", found="a folder", remedy=remedy)
    loaded = load_head(head)
    for word in write(out, loaded, load_motion(motion, head=loaded)):
        print(word)
    print(f"wrote {out}")


def _in_flames_terms(head: Head, clip: MotionClip) -> FlameMotion:
    if head.joint_expressions:
        raise InputError(
            f"head {head.name}",
            expected="motion of a FLAME head for this format",
            found="the built-in head, whose expressions FLAME has not",
            remedy="export livelink-csv, lam-json, glb or obj instead, or generate with a model of a FLAME head",
        )
    return _parts(clip)


def _parts(clip: MotionClip) -> FlameMotion:
    names = ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")
    return FlameMotion(**{name: getattr(clip, name).numpy() for name in names}, shape=clip.shape.numpy(), present=frozenset(names))


def _in_arkits_terms(head: Head, clip: MotionClip, *, eyes_roll: bool) -> tuple[ArkitMotion, list[Assumption]]:
    """Weights by name; a head without ARKit's expressions is refused by `arkit_from_motion`. ``eyes_roll``: the format has it."""
    weights = arkit_from_motion(head, clip.expr, clip.jaw_pose, clip.eyes_pose)
    whose, rolling = ("the jaw", [clip.jaw_pose[:, 2:]]) if eyes_roll else ("jaw and eyes", [clip.jaw_pose[:, 2:], clip.eyes_pose[:, 2::3]])
    rolls = torch.cat(rolling, dim=1).abs().amax()
    lost = [f"{name} (up to {float(part.abs().amax()):.3g})" for name, part in _not_in_arkit(clip).items() if float(part.abs().amax()) > 0]
    if float(rolls) > 0:
        lost.append(f"rolls of {whose} (up to {float(rolls):.3g} rad)")
    closed = float((-clip.jaw_pose[:, 0]).clamp(min=0).amax())
    if closed > 0:
        lost.append(f"a jaw closed beyond rest (up to {closed:.3g} rad)")
    words = [converted(f"lost: {', '.join(lost)}")] if lost else []
    return ArkitMotion(weights.numpy(), frozenset(ARKIT_NAMES), clip.neck_pose.numpy()), words


def _not_in_arkit(clip: MotionClip) -> dict[str, torch.Tensor]:
    return {"shape": clip.shape, "rotation": clip.rotation, "translation": clip.translation}


def _read_as(generation: Generation, head: Head) -> Assumption:
    """Whether the program that reads the file will see the same faces."""
    if head.generation in (None, generation):
        of = "" if head.generation else ", and so is this head, which does not say"
        return assumed(f"the program that reads this is on FLAME {generation}{of}")
    return assumed(f"the program that reads this is on FLAME {generation}, where FLAME {head.generation}'s coefficients are OTHER FACES")


def _of_rate(clip: MotionClip) -> Assumption:
    return assumed(f"the program that reads this plays {clip.fps:g} frames a second: the format does not say")


def _vhap(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    return [*vhap.write(out, _in_flames_terms(head, clip)), _read_as("2023", head), _of_rate(clip)]


def _dualtalk(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    return [*dualtalk.write(out, _in_flames_terms(head, clip)), _read_as("2020", head), _of_rate(clip)]


def _livelink(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    motion, words = _in_arkits_terms(head, clip, eyes_roll=True)
    return words + livelink_csv.write(out, motion, clip.fps, clip.eyes_pose.numpy())


def _lam(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    motion, words = _in_arkits_terms(head, clip, eyes_roll=False)
    return words + lam_json.write(out, motion, clip.fps)


def _glb(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    from mango.app.glb_export import glb_of_clip, largest_lost_weight

    content = glb_of_clip(head, clip)
    with atomic_file(out) as part:
        part.write_bytes(content)
    lost = largest_lost_weight(head)
    gone = [f"skin weights beyond four joints a vertex (up to {lost:.3f})"] if lost > 1e-6 else []
    gone += ["texture coordinates (obj has them)"] if len(head.uv_faces) else []
    words = f"lost: {', '.join(gone)}" if gone else "nothing lost"
    return [converted(f"{words}; pose correctives are morph targets that the animation drives")]


def _obj(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    return [*obj_sequence.write(out, head, clip, overwrite=True), _of_rate(clip)]


def _head_csv(out: Path, head: Head, clip: MotionClip) -> list[Assumption]:
    return head_csv.write(out, _parts(clip), clip.fps)


WRITERS: dict[str, tuple[str, str, Writer]] = {  # name -> what it is, how its name ends, writer
    "vhap": ("npz that GaussianAvatars' viewer plays", ".npz", _vhap),
    "dualtalk": ("DualTalk's prediction (T, 56)", ".npy", _dualtalk),
    "livelink-csv": ("ARKit weights as Live Link Face writes them", ".csv", _livelink),
    "lam-json": ("ARKit weights as LAM and OpenAvatarChat read them", ".json", _lam),
    "glb": ("mesh with morph targets, skin and animation", ".glb", _glb),
    "obj": ("a folder of OBJ files, one a frame", "", _obj),
    "head-csv": ("head pose, degrees and metres", ".csv", _head_csv),
}
