"""How long `mango render` takes for a second of film: two heads side by side, with and without encoding.

    python -m benchmarks.dialogue_video [--seconds 10] [--size 256] [--gaussians 10000] [--threads 2] [--to docs/results.md]

Two people of the built-in head talk and sway. The film is read back first, and no figure is printed unless it has all frames in their size
and order, and the sound of each on a channel of their own, as long as the pictures. Then the fastest of some tries counts.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.command import run
from benchmarks.measuring import threads_set
from benchmarks.page import commit_and_machine, typed, write_between
from mango.data.json_files import write_json
from mango.data.video import VideoFrames
from mango.errors import InputError
from mango.head.model import Head, load_head
from mango.inference.avatars import Avatar, BoundAvatar
from mango.inference.backgrounds import background_of
from mango.inference.rendering import RenderConfig, RenderSpeed, film_frames, render_dialogue
from mango.provenance import provenance
from mango.seeds import torch_generator
from mango.training.avatars import new_avatars
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, MotionClip
from renderer.head import AvatarConfig

GOAL = 0.5  # seconds of work for a second of film, drawing and encoding
TRIES = 3
AAC_FRAME = 1024  # samples: sound may be longer than the pictures by the rest of one, and late by another
HUMS = (200, 300)  # Hz, a's and b's


@dataclass(frozen=True)
class Options:
    seconds: float = 10.0
    size: int = 256  # pixels a side of each person's picture
    gaussians: int = 10_000  # a head
    threads: int = 2
    seed: int = 0
    out: Path | None = None
    to: Path | None = None  # also write the table here, as Markdown


@dataclass(frozen=True)
class Talk:
    """What is filmed."""

    clips: Mapping[str, MotionClip]
    avatars: Mapping[str, Avatar]
    voices: Float[Tensor, "person samples"]


def main(options: Options) -> int:
    if not 1 <= options.seconds <= 600 or options.gaussians < 1 or options.threads < 1:
        expected, found = "1 to 600 seconds, Gaussians and threads", f"{options.seconds:g}, {options.gaussians}, {options.threads}"
        raise InputError("--seconds, --gaussians, --threads", expected=expected, found=found, remedy="choose others")
    config = RenderConfig(size=options.size)
    with threads_set(options.threads), tempfile.TemporaryDirectory() as folder:
        talk, film = made_up_talk(load_head(), options), Path(folder) / "talk.mp4"
        tried = [filmed(talk, film, config)]
        check(film, talk, config)
        tried += [filmed(talk, film, config) for _ in range(TRIES - 1)]
    drawing, both = min(speed.drawing for speed in tried), min(speed.drawing_and_encoding for speed in tried)
    text = markdown(options, drawing, both)
    print(text)
    if options.out is not None:
        found = {"drawing": drawing, "drawing_and_encoding": both, "tries": [vars(speed) for speed in tried]}
        write_json(options.out, {**provenance(), **found, "size": options.size, "gaussians": options.gaussians, "threads": options.threads})
    if options.to is not None:
        write_between(options.to, "benchmarks.dialogue_video", text)
    return 0


def filmed(talk: Talk, film: Path, config: RenderConfig) -> RenderSpeed:
    return render_dialogue(talk.clips, talk.avatars, talk.voices, film, config)


def made_up_talk(head: Head, options: Options) -> Talk:
    """Jaws that open four times a second, heads that sway, expressions that come and go; a hum of its own for each voice."""
    frames = round(options.seconds * FRAME_RATE)
    time = torch.arange(frames) / FRAME_RATE
    samples = torch.arange(frames * SAMPLE_RATE // FRAME_RATE) / SAMPLE_RATE
    clips, voices = {}, []
    for number, person in enumerate(PERSONS):
        random = torch_generator("dialogue video", options.seed, person)
        speeds, starts = 0.2 + torch.rand(head.expressions, generator=random), 6.28 * torch.rand(head.expressions, generator=random)
        flat = torch.zeros(frames, head.layout.width)
        flat[:, head.layout.where("expr")] = 0.15 * (1 + torch.sin(6.28 * speeds * time[:, None] + starts))
        flat[:, head.layout.where("jaw_pose").start] = 0.1 * (1 - torch.cos(2 * math.pi * 4 * time + number))
        flat[:, head.layout.where("neck_pose").start + 1] = 0.2 * torch.sin(2 * math.pi * 0.5 * time + number)
        clips[person] = head.layout.clip(flat, torch.zeros(head.identities), head.digest)
        voices.append(0.3 * torch.sin(2 * math.pi * HUMS[number] * samples))
    identities = {person: torch.zeros(head.identities) for person in PERSONS}
    bound = new_avatars(head, identities, AvatarConfig(num_gaussians=options.gaussians), seed=options.seed)
    for avatar in bound.values():  # of many colours, so that a codec has something to do
        avatar.albedo.data = torch.rand(avatar.albedo.shape, generator=torch_generator("dialogue video", options.seed, avatar.person))
    avatars = {person: BoundAvatar(head, avatar.eval().requires_grad_(False)) for person, avatar in bound.items()}
    return Talk(clips, avatars, torch.stack(voices))


def check(film: Path, talk: Talk, config: RenderConfig) -> None:
    """The film holds what was asked for."""
    frames, pictures = len(talk.clips["a"]), VideoFrames(film)
    assert len(pictures) == frames, f"{len(pictures)} frames of {frames}"
    assert (pictures.size, pictures.fps) == ((config.size, 2 * config.size), FRAME_RATE), f"{pictures.size} at {pictures.fps} fps"
    drawn = torch.stack(list(film_frames(talk.clips, talk.avatars, talk.voices, config, background_of(config.background)))).float()
    for frame in (0, frames // 2, frames - 1):
        (shown,) = pictures.frames([frame]).float()
        nearest = int((drawn - shown).abs().mean((1, 2, 3)).argmin())
        assert nearest == frame, f"frame {frame} shows what was drawn for {nearest}"
    with av.open(str(film)) as container:
        sound = torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in container.decode(audio=0)], dim=1)
    wanted = talk.voices.shape[1]
    assert 0 <= sound.shape[1] - wanted <= 2 * AAC_FRAME, f"{sound.shape[1]} samples of sound for {wanted}"
    turns = 2 * math.pi * torch.tensor(HUMS)[:, None] * torch.arange(sound.shape[1]) / SAMPLE_RATE
    loudness = (sound.to(torch.complex64) @ torch.exp(1j * turns).T).abs()  # of each hum on each channel, whatever its phase
    assert loudness.argmax(1).tolist() == [0, 1], "voices are not on their own channels"


def markdown(options: Options, drawing: float, both: float) -> str:
    met = "" if both <= GOAL else " **not met**"
    return "\n".join(
        [
            "## Rendering a dialogue",
            "",
            f"`{typed('benchmarks.dialogue_video', options)}`, {commit_and_machine()}; "
            f"{options.threads} thread{'s' if options.threads > 1 else ''}.",
            "",
            f"Two heads of {options.gaussians} Gaussians, 2 x {options.size} x {options.size} pixels, {options.seconds:g} s at "
            f"{FRAME_RATE} frames a second; the fastest of {TRIES} tries.",
            "",
            "| | seconds for a second of film | frames a second |",
            "|---|---:|---:|",
            f"| drawing | {drawing:.2f} | {FRAME_RATE / drawing:.0f} |",
            f"| drawing, encoding, sound | {both:.2f} | {FRAME_RATE / both:.0f} |",
            "",
            f"Asked: at most {GOAL:g}, encoding included: {both:.2f}{met}.",
        ]
    )


if __name__ == "__main__":
    run(main, Options)
