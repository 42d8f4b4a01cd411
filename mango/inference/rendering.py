"""Two motions and two avatars in, one film with sound out.

clip --(another frame rate)--> avatar --Gaussians--> a layer per shot --+-- over each other, farther ones first
                                                   names, sound strips --+--> over the background, or transparent
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import roma
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mango.audio.activity import speaking_indicator
from mango.audio.reading import FINEST_RATE, read_audio, sound_rate
from mango.data.formats.retargeted import retargeted_clip
from mango.data.motion_files import load_motion
from mango.data.video_writing import TRANSPARENT, comment_of, keeps_alpha, write_video
from mango.errors import InputError
from mango.head.conventions import axis_angle_to_matrix
from mango.head.model import Head, load_head
from mango.inference.avatars import Avatar, load_avatar
from mango.inference.backgrounds import PLAIN, Background, background_of
from mango.inference.captions import SoundStrips, check_letters, over, write_names
from mango.inference.recordings import ARRIVING
from mango.inference.retiming import at_rate, frames_at_rate
from mango.inference.views import PORTRAIT_M, Shot, View, ViewName, view_of
from mango.training.avatars import check_drawing
from mango.training.runtime import default_device
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, MotionClip
from renderer import draw
from renderer.cameras import portrait_camera
from renderer.head import blur_of
from renderer.types import Camera

CHUNK, CHUNK_PIXELS = 10, 2_600_000  # frames drawn at a time, and fewer of large ones
TURNED_DEGREES = 2.0  # of a head's turn in the world that nobody would miss
LOOKS, FAINT, WISP_M = 12, 0.1, 0.01  # frames that say how high hair reaches; alphas that nobody sees; what hides less of a row is no hair
LOOK_PX, LOOK_DEGREES = 256, 50.0  # of those pictures: they hold hair as high as 42 cm above the origin
MADE_BY = "mango render"  # films say so, and are replaced by the next ones; other people's are not
SLACK_SECONDS = 0.12  # by which sound may be longer or shorter than motion: what codecs add
Progress = Callable[[int, int], None]  # (frames finished, frames in all)
SoundName = Literal["stereo", "mixed", "a", "b", "none"]


@dataclass(frozen=True)
class RenderConfig:
    """What the film shows and how it sounds."""

    view: ViewName = "side-by-side"
    person: str | None = None  # whom `single` shows: a, unless it is said
    size: int = 256  # pixels: of one person's picture, or the height of the two-shot
    fps: float | None = None  # None: the motion's
    background: str = PLAIN  # a colour, a picture file, or "transparent"
    names: tuple[str, str] | None = None  # of a and b, written below their chins, solid while they speak
    sound: SoundName | None = None  # a left and b right (stereo); both mixed; one alone; none. None: stereo, where there is sound
    font: Path | None = None  # of the names; None: Pillow's, which has plain letters

    def __post_init__(self):
        if not 32 <= self.size <= 2048 or self.size % 2:
            remedy = "give an even number from 32 to 2048 (video codecs halve the colours)"
            raise InputError("size", expected="an even number of pixels", found=str(self.size), remedy=remedy)
        if self.fps is not None and not 1 <= self.fps <= 240:
            raise InputError("fps", expected="1 to 240 frames a second", found=f"{self.fps:g}", remedy="common are 25, 30, 50 and 60")
        if self.person not in (None, *PERSONS):
            raise InputError("person", expected="a or b", found=self.person, remedy="a is who was --own when the motion was generated")
        if self.person is not None and self.view != "single":
            remedy = "give --view single, or leave --person away"
            raise InputError("person", expected="--view single, which shows one person", found=f"--view {self.view}", remedy=remedy)
        if self.names is not None:
            check_letters(self.names, self.font)
        elif self.font is not None:
            raise InputError("font", expected="names to write in it", found="none", remedy="give --names, or leave --font away")

    @property
    def shown(self) -> tuple[str, ...]:
        """Who is seen."""
        return (self.person or PERSONS[0],) if self.view == "single" else PERSONS


@dataclass(frozen=True)
class RenderSpeed:
    """Seconds of work for a second of film; below 1 is faster than the film plays."""

    drawing: float
    drawing_and_encoding: float


def render_motion_folder(
    motion: Path,
    avatars: Sequence[Path],
    out: Path,
    config: RenderConfig = RenderConfig(),
    *,
    head: str | Path = "builtin",
    source_head: str | Path | None = None,
    progress: Progress | None = None,
    told: Callable[[str], None] = lambda words: None,
) -> RenderSpeed:
    """A film of a folder that `mango generate` wrote: {a,b}.motion.npz and, when present, {a,b}.wav. Of one person alone, their motion.

    ``head`` is the avatars'. Motion of another, ``source_head``, is retargeted to it. ``told``: called with what was lost on the way.
    """
    check_film(out, config)
    if len(avatars) not in (2, len(config.shown)):
        remedy = "give --avatar twice: first person a's, then person b's" + ("; or the shown person's" if len(config.shown) == 1 else "")
        raise InputError("--avatar", expected="two avatars", found=str(len(avatars)), remedy=remedy)
    motion = Path(motion)
    if (motion / ARRIVING).exists():
        remedy = "run the same `mango generate` again: it was interrupted while its files arrived"
        raise InputError(motion, expected="motion of one generation", found=f"files on their way in {ARRIVING}", remedy=remedy)
    _check_motion(motion, config.shown)
    loaded = load_head(head)
    of_whom = PERSONS if len(avatars) == 2 else config.shown
    drawn = {person: load_avatar(path, loaded) for person, path in zip(of_whom, avatars, strict=True) if person in config.shown}
    for remark in dict.fromkeys(remark for avatar in drawn.values() for remark in avatar.remarks):
        told(remark)
    source = loaded if source_head is None else load_head(source_head)
    sounding = _voices(motion)
    clips = {person: _moved(motion / f"{person}.motion.npz", source, loaded, told) for person in config.shown}
    voices, sound = sounding or (None, None)
    speed = render_dialogue(clips, drawn, voices, out, config, sound=sound, progress=progress)
    if voices is None and config.sound is None:
        told(f"{motion}: no a.wav and b.wav beside the motion: the film is silent")
    return speed


def _check_motion(folder: Path, shown: Sequence[str]) -> None:
    """Whether there is motion of all who are to be shown."""
    there = [person for person in PERSONS if (folder / f"{person}.motion.npz").exists()]
    if set(shown) <= set(there):
        return
    if there:
        remedy = f"show who is there: --view single --person {there[0]}; or import both people as one dialogue"
        raise InputError(folder, expected=f"motion of {' and '.join(shown)}", found=f"{there[0]}.motion.npz alone", remedy=remedy)
    within = sorted(item for item in (folder / "dialogues").glob("*") if item.is_dir())
    found = "a dialogue set" if within else "neither" if folder.is_dir() else "a file" if folder.exists() else "no such folder"
    remedy = "make one with `mango generate`; motion of other projects with `mango data import`: then OUT/dialogues/ID will do"
    if within:
        remedy = f"name one of its dialogues, as {within[0]}"
    raise InputError(folder, expected="a folder with a.motion.npz and b.motion.npz", found=found, remedy=remedy)


def _moved(path: Path, source: Head, target: Head, told: Callable[[str], None]) -> MotionClip:
    """A clip of the source's motion, in the target's terms."""
    of = load_motion(path).head
    if of != source.digest:
        remedy = "give --source-head the head that the motion was made with: it is retargeted to --head, the avatars' own"
        raise InputError(path, expected=f"motion of head {source.digest[:12]} ({source.name})", found=f"of {of[:12]}", remedy=remedy)
    clip = load_motion(path, head=source)
    turns = axis_angle_to_matrix(clip.rotation)
    turned = torch.rad2deg(roma.rotmat_geodesic_distance(turns, turns[:1].expand_as(turns)).max())
    if turned > TURNED_DEGREES:
        told(f"{path}: the film leaves out how the head turns in the world (rotation, by up to {turned:.0f} degrees): neck_pose is drawn")
    if source.digest == target.digest:
        return clip
    clip, how = retargeted_clip(clip, source, target)
    told(f"{path}: {how.words}")
    return clip


def check_film(out: Path, config: RenderConfig) -> Background:
    """What is behind the people; before anything is drawn, whether that can be kept and ``out`` be written."""
    background = background_of(config.background)
    if not keeps_alpha(out) and background is None:
        raise InputError(out, expected="a film that keeps transparency", found=out.suffix, remedy=f"choose {TRANSPARENT} or a folder")
    empty = out.is_dir() and not out.suffix and not any(out.iterdir())
    if out.exists() and not empty and comment_of(out) != MADE_BY:
        found = "a folder with other files" if out.is_dir() else "a file of another origin"
        remedy = "choose another --out, or remove it first"
        raise InputError(out, expected="nothing yet, or a film of `mango render`, which is replaced", found=found, remedy=remedy)
    return background


def render_dialogue(
    clips: Mapping[str, MotionClip],
    avatars: Mapping[str, Avatar],
    voices: Float[Tensor, "person samples"] | None,
    out: Path,
    config: RenderConfig = RenderConfig(),
    *,
    sound: tuple[Float[Tensor, "person some_samples"], int] | None = None,
    progress: Progress | None = None,
) -> RenderSpeed:
    """Write ``out`` (see `mango.data.video_writing` for what its name may end in), whole or not at all.

    ``voices`` (16 kHz) say who speaks, and are heard unless ``sound`` is given: the same voices and their rate. Clips and avatars of
    those who are shown are needed. Memory does not grow with the length of the clips, but for their sound.
    """
    background = check_film(out, config)
    fps = config.fps or float(clips[config.shown[0]].fps)
    check_lengths(clips, voices, fps)
    heard, rate = sound or (voices, SAMPLE_RATE)
    heard = _mixed(heard, config.sound)
    check_drawing(default_device())
    clips = {person: at_rate(clip, fps) for person, clip in clips.items()}
    frames = Timed(film_frames(clips, avatars, voices, config, background))
    began = time.perf_counter()
    length = len(clips[config.shown[0]])
    counted = _counted(frames, length, progress) if progress else frames
    write_video(out, counted, fps=fps, audio=heard, audio_rate=rate, key_frame_every=None, comment=MADE_BY)
    seconds = length / fps
    return RenderSpeed(frames.seconds / seconds, (time.perf_counter() - began) / seconds)


def check_lengths(clips: Mapping[str, MotionClip], voices: Float[Tensor, "person samples"] | None, fps: float) -> None:
    """Motion of all for as many frames of the film, and sound for as long."""
    seconds = {person: len(clip) / clip.fps for person, clip in clips.items()}
    frames = {person: frames_at_rate(clip, fps) for person, clip in clips.items()}
    if len(set(frames.values())) > 1:
        longer = max(frames, key=frames.get)
        found = f"a of {frames['a']} and b of {frames['b']}: {longer} is longer by {abs(frames['a'] - frames['b'])}"
        expected = f"the same number of frames, at {fps:g} a second"
        raise InputError("motion clips", expected=expected, found=found, remedy="generate both from one recording")
    lasts = next(iter(seconds.values()))
    if voices is not None and abs(voices.shape[1] / SAMPLE_RATE - lasts) > SLACK_SECONDS:
        found = f"{voices.shape[1] / SAMPLE_RATE:.2f} s"
        remedy = "cut the sound beside the motion to the time that it was made from, or take it away"
        raise InputError("a.wav and b.wav", expected=f"{lasts:.2f} s, as long as the motion", found=found, remedy=remedy)


def film_frames(
    clips: Mapping[str, MotionClip],
    avatars: Mapping[str, Avatar],
    voices: Float[Tensor, "person samples"] | None,
    config: RenderConfig,
    background: Background,
) -> Iterator[UInt8[Tensor, "rows cols channels"]]:
    """The frames of the film, one at a time; with a fourth channel, straight alpha, where there is no background."""
    fps, frames = float(clips[config.shown[0]].fps), len(clips[config.shown[0]])
    if voices is None and (config.view in ("two-shot", "grid") or config.names):
        told = f"--view {config.view}" if config.view in ("two-shot", "grid") else "names"
        remedy = "copy a.wav and b.wav beside the motion"
        raise InputError(told, expected="both voices, which say who speaks", found="no sound beside the motion", remedy=remedy)
    speaking = torch.zeros(2, frames) if voices is None else _speaking(voices, frames, fps)
    tops = {person: top_of(clips[person], avatars[person]) for person in config.shown}
    view = view_of(config.view, config.size, speaking, fps, tops, config.shown[0])
    strips = SoundStrips(voices, view) if config.view == "grid" else None
    behind = None if background is None else background.filling(view.width, view.height)
    for frame, (canvas, shots) in enumerate(_canvases(view, clips, avatars)):
        if strips is not None:
            strips.draw(canvas, (frame + 0.5) / fps)
        if config.names:
            names = dict(zip(PERSONS, config.names, strict=True))
            write_names(canvas, shots, names, {person: bool(speaking[k, frame] > 0.5) for k, person in enumerate(PERSONS)}, config.font)
        yield bytes_of(straight(canvas) if behind is None else canvas[..., :3] + (1 - canvas[..., 3:]) * behind)


@torch.no_grad()
def top_of(clip: MotionClip, avatar: Avatar) -> float:
    """How high a portrait shows the hair in the highest of some frames: metres above the origin. Single wisps do not count."""
    some = clip.frames(slice(None, None, max(1, len(clip) // LOOKS)))
    camera = portrait_camera(LOOK_PX, target=(0.0, 0.0, 0.0), distance=PORTRAIT_M, field_of_view_degrees=LOOK_DEGREES)
    pixel_m = PORTRAIT_M / float(camera.intrinsics[0, 0])
    hidden = torch.stack([(layer[..., 3] > FAINT).sum(-1) * pixel_m for layer in person_layers(some, avatar, camera)])
    rows = (hidden > WISP_M).any(0).nonzero()
    return (LOOK_PX / 2 - float(rows[0])) * pixel_m if len(rows) else 0.0


def _canvases(
    view: View, clips: Mapping[str, MotionClip], avatars: Mapping[str, Avatar]
) -> Iterator[tuple[Float[Tensor, "rows cols 4"], tuple[Shot, ...]]]:
    """Every frame's layers over each other, premultiplied, and the shots it is made of."""
    for stretch in view.stretches:
        frames = slice(stretch.first, stretch.last)
        layers = [person_layers(clips[shot.person].frames(frames), avatars[shot.person], shot.camera) for shot in stretch.shots]
        for together in zip(*layers, strict=True):
            canvas = torch.zeros(view.height, view.width, 4)
            for shot, layer in zip(stretch.shots, together, strict=True):
                over(canvas, layer, shot.left, shot.top)
            yield canvas, stretch.shots


def person_layers(clip: MotionClip, avatar: Avatar, camera: Camera) -> Iterator[Float[Tensor, "rows cols 4"]]:
    """One person alone at the origin, in the avatar's shape: premultiplied colours and alpha. Placement in the clip is left out."""
    device = default_device()
    camera = Camera(camera.camera_from_world.to(device), camera.intrinsics.to(device), camera.width, camera.height)
    avatar, eye = avatar.to(device), centre_of(camera)
    shown = float(camera.intrinsics[0, 0] / camera.camera_from_world[2, 3])  # pixels a metre at the head, which is at the origin
    blur = blur_of(avatar.pixels_per_metre, shown)
    at_once = max(1, min(CHUNK, CHUNK_PIXELS // (camera.width * camera.height)))
    for first in range(0, len(clip), at_once):
        with torch.no_grad():
            drawn = draw(avatar.gaussians(clip.frames(slice(first, first + at_once)), eye), camera, eps2d=blur)
        for colors, alphas in zip(drawn.colors, drawn.alphas, strict=True):
            yield torch.cat([colors.clamp(min=0), alphas], dim=-1).cpu()


def centre_of(camera: Camera) -> Float[Tensor, "3"]:
    """Where it stands."""
    rotation, translation = camera.camera_from_world[:3, :3], camera.camera_from_world[:3, 3]
    return -rotation.T @ translation


def straight(canvas: Float[Tensor, "rows cols 4"]) -> Float[Tensor, "rows cols 4"]:
    """Colours no longer multiplied by alpha, as files store them."""
    alpha = canvas[..., 3:]
    return torch.cat([canvas[..., :3] / alpha.clamp(min=1e-4), alpha], dim=-1)


def bytes_of(picture: Float[Tensor, "*rows cols channels"]) -> UInt8[Tensor, "*rows cols channels"]:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _voices(folder: Path) -> tuple[Float[Tensor, "person samples"], tuple[Float[Tensor, "person some_samples"], int]] | None:
    """Both voices beside the motion, at 16 kHz and as they were recorded; None where there is no sound. One alone is an error."""
    files = [folder / f"{person}.wav" for person in PERSONS]
    present = [file for file in files if file.exists()]
    if not present:
        return None
    if len(present) == 1:
        (missing,) = set(files) - set(present)
        raise InputError(missing, expected="the other person's voice", found="none", remedy=f"copy it here, or remove {present[0].name}")
    finer = max(sound_rate(file) for file in files) > SAMPLE_RATE
    voices = _of_one_length(folder, files, SAMPLE_RATE)
    return voices, ((_of_one_length(folder, files, FINEST_RATE), FINEST_RATE) if finer else (voices, SAMPLE_RATE))


def _of_one_length(folder: Path, files: Sequence[Path], rate: int) -> Float[Tensor, "person samples"]:
    """What one has more than the other of less than a frame, as resampling leaves it, is cut."""
    voices = [read_audio(file, rate=rate) for file in files]
    lengths = [len(voice) for voice in voices]
    if max(lengths) - min(lengths) >= rate / FRAME_RATE:
        found = " and ".join(f"{length / rate:.2f}" for length in lengths) + " s"
        raise InputError(folder, expected="voices of one length", found=found, remedy="generate both from one recording")
    return torch.stack([voice[: min(lengths)] for voice in voices])


def _speaking(voices: Float[Tensor, "person samples"], frames: int, fps: float) -> Float[Tensor, "person time"]:
    """The built-in detector's, at the film's frame rate."""
    told = torch.stack([speaking_indicator(voice) for voice in voices])
    moment = ((torch.arange(frames) + 0.5) / fps * FRAME_RATE).long()
    return told[:, moment.clamp(max=told.shape[1] - 1)]


def _mixed(voices: Float[Tensor, "person samples"] | None, sound: SoundName | None) -> Float[Tensor, "channels samples"] | None:
    """What is heard. Two loud voices in one are quieter together, and not cut off."""
    if sound == "none" or (voices is None and sound is None):
        return None
    if voices is None:
        remedy = "copy a.wav and b.wav beside the motion, or leave --sound away"
        raise InputError(f"--sound {sound}", expected="both voices", found="no sound beside the motion", remedy=remedy)
    if sound == "mixed":
        both = voices.sum(0, keepdim=True)
        return both / both.abs().max().clamp(min=1)
    return voices if sound in (None, "stereo") else voices[PERSONS.index(sound)][None]


class Timed:
    """An iterator that keeps count of the seconds its items took to make."""

    def __init__(self, items: Iterator[Tensor]):
        self.items, self.seconds = items, 0.0

    def __iter__(self) -> "Timed":
        return self

    def __next__(self) -> Tensor:
        began = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - began


def _counted(frames: Iterable[Tensor], total: int, progress: Progress) -> Iterator[Tensor]:
    for number, frame in enumerate(frames, start=1):
        yield frame
        progress(number, total)
