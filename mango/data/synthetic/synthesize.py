"""Whole synthetic dialogue sets: voices, tracker labels and pictures in ROOT, everything true in ROOT.truth.

    script -> speech ------> a.wav b.wav                      phones, speaking -> truth
                 `-> true motion -> corrupted -> labels       true motion      -> truth
                          `-> true person, true camera -> mp4, mask.mp4

Every file is a function of (config, dialogue). A dialogue's folder appears last and whole, so what exists is finished: the same call
again goes on where it stopped.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from mango.data.synthetic.conversation import Conversation, script
from mango.data.synthetic.corruption import Corruption, corrupt
from mango.data.synthetic.pictures import Shooting, cameras, filmed
from mango.data.synthetic.seeding import stream
from mango.data.synthetic.speech import Speech, speak, voice
from mango.errors import InputError
from mango.types import PERSONS, Dialogue, MotionClip, PersonTrack, Side
from mango.worker_processes import worker_pool

LICENCE = "CC0-1.0"


@dataclass(frozen=True)
class SynthesisConfig:
    """What a synthetic set holds. People are shared by all splits: test dialogues are new talk of known people."""

    people: int = 6  # who talk to each other, at least 2
    train: int = 16  # dialogues to learn from
    val: int = 2  # dialogues to validate on
    test: int = 4  # dialogues to evaluate on
    seconds: tuple[float, float] = (16.0, 20.0)  # length of a dialogue, shortest and longest
    seed: int = 0  # decides people, words, turns and errors
    engine: Literal[
        "formant",  # the built-in synthesiser
        "espeak",  # eSpeak NG, of the extra `speech` (GPL-3)
    ] = "formant"
    video: bool = True  # False: voices and labels only
    crf: int = 14  # quality of the videos, H.264's
    num_gaussians: int = 10_000  # Gaussians of a true person's surface
    phones: bool = False  # also write who says what when into the set, as a perfect forced aligner would; else only the truth knows
    corruption: Corruption = field(default_factory=Corruption)
    shooting: Shooting = field(default_factory=Shooting)
    workers: int = 2  # processes

    def __post_init__(self):
        if self.people < 2:
            raise InputError("people", expected="at least 2", found=str(self.people), remedy="a dialogue needs two different people")
        if not 1.0 <= self.seconds[0] <= self.seconds[1]:
            raise InputError(
                "seconds", expected="shortest and longest, from 1 s on", found=str(self.seconds), remedy="correct the two numbers"
            )
        if self.train + self.val + self.test < 1:
            raise InputError("train, val, test", expected="at least one dialogue", found="none", remedy="ask for some")

    @property
    def content(self) -> dict:
        """What decides the files: everything but how many processes make them, and but for what was not asked for."""
        unsaid = {"workers"} | ({"phones"} if not self.phones else set())  # as sets were described before there was the choice
        return {name: value for name, value in json.loads(json.dumps(dataclasses.asdict(self))).items() if name not in unsaid}


@dataclass(frozen=True)
class Plan:
    """One dialogue to be made."""

    id: str
    number: int
    people: dict[str, int]  # side -> number of the person


def plans(config: SynthesisConfig) -> tuple[Plan, ...]:
    """Who meets whom. In every round of as many dialogues as there are people, each person is once a and once b."""
    splits = [(name, k) for name in ("train", "val", "test") for k in range(getattr(config, name))]
    order = stream(config.seed, "pairs").permutation(config.people)

    def pair(number: int) -> dict[str, int]:
        turn, first = divmod(number, config.people)
        second = (first + 1 + turn % (config.people - 1)) % config.people
        return {"a": int(order[first]), "b": int(order[second])}

    return tuple(Plan(f"{split}{k:03d}", number, pair(number)) for number, (split, k) in enumerate(splits))


def person_name(number: int) -> str:
    return f"p{number:02d}"


def synthesize(root: Path | str, config: SynthesisConfig, *, progress: bool = True):
    """Make the set, or what is missing of it; the opened ``DialogueSet``."""
    from mango.data.dialogues import create_dialogue_set
    from mango.data.truth import truth_folder
    from mango.head.model import load_head

    root, head = Path(root), load_head()
    _same_config(truth_folder(root) / "synthesis.json", config)
    wanted = plans(config)
    splits = {name: [plan.id for plan in wanted if plan.id.startswith(name)] for name in ("train", "val", "test")}
    people = {person_name(number): {"source": "synthetic"} for number in range(config.people)}
    made = create_dialogue_set(root, head, people, {**splits, "share_people": True})
    for leftover in root.glob(".pictures-*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    missing = [plan for plan in wanted if not (root / "dialogues" / plan.id).is_dir()]
    if missing:
        for number in range(config.people):
            _person(root, config, number)
        for _ in _counted(_made(root, config, missing), len(wanted), len(wanted) - len(missing), progress):
            pass
    return made


def _same_config(path: Path, config: SynthesisConfig) -> None:
    from mango.data.json_files import write_json

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, config.content)
        return
    before = json.loads(path.read_text("utf-8"))
    differing = sorted(name for name in {*before, *config.content} if before.get(name) != config.content.get(name))
    if differing:
        remedy = "give the same settings to go on, or choose another folder"
        found = ", ".join(f"{name} {before.get(name)!r}" for name in differing)
        raise InputError(path, expected="the set of this configuration", found=f"one made with {found}", remedy=remedy)


def _made(root: Path, config: SynthesisConfig, missing: list[Plan]) -> Iterator[str]:
    """Ids of dialogues as they are finished."""
    if config.workers <= 1 or len(missing) == 1:
        for plan in missing:
            yield _dialogue(root, config, plan)
        return
    workers = min(config.workers, len(missing))
    pool = worker_pool(workers)
    try:
        for done in as_completed([pool.submit(_dialogue, root, config, plan) for plan in missing]):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _counted(made: Iterator[str], total: int, done: int, progress: bool) -> Iterator[str]:
    if not progress:
        yield from made
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, speed_estimate_period=600) as bar:
        task = bar.add_task("synthetic dialogues", total=total, completed=done)
        for id in made:
            yield id
            bar.advance(task)


@lru_cache(maxsize=64)
def _person(root: Path, config: SynthesisConfig, number: int):
    """A true person, made once and then read from the truth."""
    from mango.data.atomic import atomic_file
    from mango.data.synthetic.people import TruePerson, true_person
    from mango.data.truth import truth_folder
    from mango.head.model import load_head

    path = truth_folder(root) / "people" / person_name(number) / "person.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        person = true_person(load_head(), 100 * config.seed + number, name=person_name(number), num_gaussians=config.num_gaussians)
        with atomic_file(path) as partial:
            person.save(partial)
    return TruePerson.load(path)


def _dialogue(root: Path, config: SynthesisConfig, plan: Plan) -> str:
    """Make one dialogue: truth first, the dialogue itself last."""
    from mango.data.dialogues import write_dialogue
    from mango.data.truth import write_truth
    from mango.head.model import load_head

    head, said = load_head(), talk(config, plan)
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=root) as folder:
        sides = {side: _side(root, config, plan, head, said, side, Path(folder)) for side in PERSONS}
        write_truth(root, plan.id, {side: true for side, (_, true) in sides.items()}, replace=True)
        dialogue = Dialogue(plan.id, len(sides["a"][1].motion), {side: seen for side, (seen, _) in sides.items()})
        write_dialogue(root, dialogue, source="synthetic", licence=LICENCE, created_by="mango data synthesize", move_videos=True)
    return plan.id


@dataclass(frozen=True)
class Talk:
    """A planned dialogue as it is spoken."""

    conversation: Conversation
    speech: Mapping[str, Speech]  # by side
    seed: int


def talk(config: SynthesisConfig, plan: Plan) -> Talk:
    """What both say, and when: a function of the plan."""
    seed = int(stream(config.seed, "dialogue", plan.number).integers(2**31))
    conversation = script(seed, round(float(stream(seed, "length").uniform(*config.seconds)) * 25) / 25)
    voices = {side: voice(100 * config.seed + number) for side, number in plan.people.items()}
    return Talk(conversation, speak(conversation, seed, config.engine, voices=voices), seed)


def motion_in(root: Path, config: SynthesisConfig, plan: Plan, head, said: Talk, side: str, *, partner: Speech | None = None) -> MotionClip:
    """True motion of one side; with ``partner``, of one who hears that instead of what the other says."""
    from mango.data.synthetic.motion import true_motion

    person, other = _person(root, config, plan.people[side]), "b" if side == "a" else "a"
    heard, seed = said.speech[other] if partner is None else partner, said.seed + PERSONS.index(side)
    return true_motion(head, said.conversation, said.speech[side], heard, f"{config.seed}/{person.name}", seed, shape=person.shape)


def _side(root: Path, config: SynthesisConfig, plan: Plan, head, said: Talk, side: str, folder: Path):
    """What the set shows of one person, and what is true."""
    from mango.audio.activity import speaking_indicator
    from mango.data.landmarks import landmarks_in_picture
    from mango.data.truth import TrueCamera, TrueSide

    person, seed, own = _person(root, config, plan.people[side]), said.seed + PERSONS.index(side), said.speech[side]
    motion = motion_in(root, config, plan, head, said, side)
    labels = corrupt(motion, head, config.corruption, seed)
    believed, camera = cameras(config.shooting, seed)
    track = PersonTrack(
        keep=torch.ones(len(motion), dtype=torch.bool), camera_from_world=believed.camera_from_world[None], intrinsics=believed.intrinsics,
        landmarks=landmarks_in_picture(head, labels, believed.camera_from_world[None], believed.intrinsics),
        confidence=torch.ones(len(motion)),
    )  # fmt: skip
    video, mask = (folder / f"{side}.mp4", folder / f"{side}.mask.mp4") if config.video else (None, None)
    if config.video:
        _film(video, mask, filmed(person, head, motion, camera, config.shooting, seed), config.crf)
    phones = own.phones if config.phones else None
    seen = Side(person.name, own.audio, speaking_indicator(own.audio)[: len(motion)], labels, track, video, mask, phones)
    taken = TrueCamera(camera.camera_from_world[None], camera.intrinsics, camera.width, camera.height)
    return seen, TrueSide(motion, own.phones, own.speaking[: len(motion)], taken)


def _film(video: Path, mask: Path, frames: Iterator, crf: int) -> None:
    """Picture and matte films. A clip's small pictures fit into memory; two writers at once would not share one iterator."""
    from mango.data.video import write_video

    pictures, mattes = zip(*frames, strict=True)
    write_video(video, pictures, key_frame_every=1, crf=crf)
    write_video(mask, mattes, key_frame_every=1, crf=crf)
