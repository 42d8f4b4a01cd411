"""Two motions and two avatars in, one video with sound out: person a on the left and in the left channel.

clip --avatar--> Gaussians --camera--> pictures, a few frames at a time
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.audio.reading import read_audio
from mango.data.motion_files import load_motion
from mango.data.video import write_video
from mango.errors import InputError
from mango.head.model import load_head
from mango.inference.avatars import Avatar, load_avatar
from mango.training.runtime import Runtime, RuntimeConfig
from mango.types import PERSONS, SAMPLE_RATE, MotionClip
from renderer import draw
from renderer.cameras import portrait_camera
from renderer.types import Camera

BACKGROUND = (0.90, 0.91, 0.92)  # neutral, a little cool, so that skin and white shirts both stand out
CHUNK = 10  # frames in memory at a time
Progress = Callable[[int, int], None]  # (frames finished, frames in all)


def render_motion_folder(
    motion: Path, avatars: Sequence[Path], out: Path, *, size: int = 256, head: str | Path = "builtin", progress: Progress | None = None
) -> None:
    """A video of a folder that `mango generate` wrote: {a,b}.motion.npz and, when present, {a,b}.wav."""
    if len(avatars) != 2:
        remedy = "give --avatar twice: first person a's, then person b's"
        raise InputError("--avatar", expected="two avatars", found=str(len(avatars)), remedy=remedy)
    motion = Path(motion)
    if not motion.is_dir():
        found = "a file" if motion.exists() else "no such folder"
        raise InputError(
            motion, expected="a folder with a.motion.npz and b.motion.npz", found=found, remedy="make one with `mango generate`"
        )
    loaded = load_head(head)
    clips = {person: load_motion(motion / f"{person}.motion.npz", head=loaded) for person in PERSONS}
    drawn = {person: load_avatar(path, loaded) for person, path in zip(PERSONS, avatars, strict=True)}
    render_dialogue(clips, drawn, _voices(motion), out, size=size, progress=progress)


def render_dialogue(
    clips: Mapping[str, MotionClip],
    avatars: Mapping[str, Avatar],
    voices: Float[Tensor, "person samples"] | None,
    out: Path,
    *,
    size: int = 256,
    progress: Progress | None = None,
) -> None:
    """Write ``out``: two pictures of ``size`` x ``size`` pixels side by side, H.264 with AAC stereo (a left, b right).

    Written whole or not at all. Memory does not grow with the length of the clips.
    """
    if not 32 <= size <= 2048 or size % 2:
        remedy = "give an even number from 32 to 2048 (video codecs halve the colours)"
        raise InputError("size", expected="an even number of pixels", found=str(size), remedy=remedy)
    lengths = {person: len(clips[person]) for person in PERSONS}
    if lengths["a"] != lengths["b"]:
        longer = max(lengths, key=lengths.get)
        found = f"a of {lengths['a']} and b of {lengths['b']}: {longer} is longer by {abs(lengths['a'] - lengths['b'])}"
        raise InputError("motion clips", expected="the same number of frames", found=found, remedy="generate both from one recording")
    frames = dialogue_frames(clips, avatars, size)
    if progress:
        frames = _counted(frames, lengths["a"], progress)
    write_video(out, frames, fps=float(clips["a"].fps), audio=voices, audio_rate=SAMPLE_RATE, key_frame_every=None)


def dialogue_frames(clips: Mapping[str, MotionClip], avatars: Mapping[str, Avatar], size: int) -> Iterator[UInt8[Tensor, "rows cols 3"]]:
    """The frames of the video, both people side by side, one at a time."""
    streams = [person_frames(clips[person], avatars[person], portrait_camera(size)) for person in PERSONS]
    for pictures in zip(*streams, strict=True):
        yield torch.cat([bytes_of(picture) for picture in pictures], dim=1)


def person_frames(
    clip: MotionClip, avatar: Avatar, camera: Camera, background: Sequence[float] = BACKGROUND
) -> Iterator[Float[Tensor, "rows cols 3"]]:
    """Pictures in [0, 1] of one person at the origin, in the avatar's shape: placement in the clip is left out."""
    device = Runtime(RuntimeConfig()).device
    camera = Camera(camera.camera_from_world.to(device), camera.intrinsics.to(device), camera.width, camera.height)
    avatar, behind = avatar.to(device), torch.tensor(background, device=device)
    for first in range(0, len(clip), CHUNK):
        with torch.no_grad():
            colors = draw(avatar.gaussians(clip.frames(slice(first, first + CHUNK))), camera, behind).colors
        yield from colors.clamp(0, 1).cpu()


def bytes_of(picture: Float[Tensor, "*rows cols 3"]) -> UInt8[Tensor, "*rows cols 3"]:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _voices(folder: Path) -> Float[Tensor, "person samples"] | None:
    """Both voices beside the motion, or None where there is no sound; one alone is an error."""
    files = [folder / f"{person}.wav" for person in PERSONS]
    present = [file for file in files if file.exists()]
    if not present:
        return None
    if len(present) == 1:
        (missing,) = set(files) - set(present)
        raise InputError(missing, expected="the other person's voice", found="none", remedy=f"copy it here, or remove {present[0].name}")
    voices = [read_audio(file) for file in files]
    if len(voices[0]) != len(voices[1]):
        found = f"{len(voices[0])} and {len(voices[1])} samples"
        raise InputError(folder, expected="voices of one length", found=found, remedy="generate both from one recording")
    return torch.stack(voices)


def _counted(frames: Iterator[Tensor], total: int, progress: Progress) -> Iterator[Tensor]:
    for number, frame in enumerate(frames, start=1):
        yield frame
        progress(number, total)
