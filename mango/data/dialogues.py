"""Dialogue sets on disk, format version 1: read lazily, written one whole dialogue at a time.

ROOT/dataset.json                 format, fps, sample_rate, head, people, splits
ROOT/dialogues/<id>/dialogue.json people, frames, source, licence, created_by
ROOT/dialogues/<id>/{a,b}.wav     mono 16 kHz, same length; always both
ROOT/dialogues/<id>/{a,b}.motion.npz + .json, .mp4, .mask.mp4, .track.npz, .speaking.npy, .phones.json     optional
ROOT/features/<encoder digest>/<id>.{a,b}.npy                                                              cache

A packed set (`mango.data.shards`) has the same files in shards instead of folders, and is read the same way.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mango.data.atomic import atomic_folder
from mango.data.descriptions import (
    NAME,
    NOBODY,
    DialogueDescription,
    SetDescription,
    SetHead,
    dialogue_problems,
    read_dialogue,
    read_set,
    set_problems,
)
from mango.data.json_files import write_json
from mango.data.members import PackedFolder, span
from mango.data.motion_files import load_motion, save_motion
from mango.data.phones import read_phones, write_phones
from mango.data.problem import raise_first
from mango.data.shards import NOTES, Shards, is_packed, open_shards
from mango.data.side_files import read_speaking, read_track, read_voice, write_speaking, write_track, write_voice
from mango.errors import InputError
from mango.types import FRAME_RATE, PERSONS, SAMPLE_RATE, Dialogue, Side, StoredFile

SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE


@dataclass(frozen=True)
class DialogueSet:
    """An opened set. Opening reads only ``dataset.json`` (and where things lie in shards); each dialogue is read when it is asked for."""

    root: Path
    description: SetDescription
    shards: Shards | None = None  # of a packed set

    @staticmethod
    def open(root: Path | str, *, strict: bool = False, films: bool = False) -> "DialogueSet":
        """Of a packed set: a damaged dialogue is left out of its split, which says so when it is asked for; with ``strict`` it is an error
        then. ``films`` count too where pictures will be looked at. In a set of folders a damaged file is an error when it is read.
        """
        root = Path(root)
        if not (root / "dataset.json").is_file():
            expected = "a dialogue set with dataset.json"
            remedy = "make one with `mango track`, `mango data import` or `mango data synthesize`"
            if root.name.endswith(".tracking") and root.is_dir():
                found, remedy = "a `mango track` that is not finished", "run that command again, or remove this folder"
                raise InputError(root, expected=expected, found=found, remedy=remedy)
            if (root / NOTES).is_dir():
                found, remedy = "one that is not yet packed", "let `mango data pack` finish: the same command again goes on"
                raise InputError(root, expected=expected, found=found, remedy=remedy)
            found = "none" if root.is_dir() else "a file" if root.exists() else "no such folder"
            raise InputError(root, expected=expected, found=found, remedy=remedy)
        shards = open_shards(root, strict=strict, films=films) if is_packed(root) else None
        return DialogueSet(root, read_set(root / "dataset.json"), shards)

    @property
    def fps(self) -> int:
        return self.description.fps

    @property
    def head(self) -> SetHead:
        return self.description.head

    @property
    def head_name(self) -> str:
        return self.head.name

    @property
    def head_digest(self) -> str:
        return self.head.digest

    def require_head(self, head: object) -> None:
        """``head`` has name and digest. Errors: InputError unless the set's motion is of this very head."""
        if self.head_digest != head.digest:
            expected, found = f"dialogues of head {head.name} ({head.digest[:12]})", f"{self.head_name} ({self.head_digest[:12]})"
            raise InputError(self.root, expected=expected, found=found, remedy="give --head the file of the set")

    @property
    def people(self) -> Mapping[str, Mapping]:
        return self.description.people

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        return self.description.splits

    @property
    def share_people(self) -> bool:
        return self.description.share_people

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Every dialogue of every split, in the order of the splits, damaged or not."""
        return tuple(dict.fromkeys(id for ids in self.splits.values() for id in ids))

    def split(self, name: str) -> tuple[str, ...]:
        """The dialogues of a split that can be read. In a packed set each is read once to find out."""
        if name not in self.splits:
            found = f"only {', '.join(self.splits)}" if self.splits else "no splits at all"
            raise InputError(
                self.root / "dataset.json", expected=f"a split {name!r}", found=found, remedy="name an existing split or add this one"
            )
        ids = self.splits[name]
        return self.shards.intact(ids, f"split {name!r}", strict=self.shards.strict) if self.shards else ids

    def folder(self, id: str) -> Path | PackedFolder:
        """What holds the dialogue's files: ``folder / "a.wav"``."""
        return self.shards.folder(id) if self.shards else dialogue_folder(self.root, id)

    def describe(self, id: str) -> DialogueDescription:
        """Who and how long, without reading sound or motion."""
        folder = self.folder(id)
        if not folder.is_dir():
            expected = f"a dialogue {id!r}"
            raise InputError(folder, expected=expected, found="no such folder", remedy="correct the splits or copy the dialogue here")
        return read_dialogue(folder / "dialogue.json")

    def labelled(self, id: str) -> dict[str, bool]:
        """Who has motion labels, and whether a frame of them is trusted (`Windows` learns from no other)."""
        folder, described = self.folder(id), self.describe(id)
        people = {side: person for side, person in described.people.items() if (folder / f"{side}.motion.npz").exists()}
        tracks = {side: _existing(folder / f"{side}.track.npz") for side in people}
        return {
            person: tracks[side] is None or bool(read_track(tracks[side], described.frames).keep.any()) for side, person in people.items()
        }

    def dialogue(self, id: str) -> Dialogue:
        """Sound, speaking indicator, motion and track of both people; pictures as paths."""
        described = self.describe(id)
        sides = {side: self._side(self.folder(id), side, described) for side in PERSONS}
        lengths = {side: len(voice.audio) for side, voice in sides.items()}
        if lengths["a"] != lengths["b"]:
            found = f"{lengths['a']} samples in a.wav, {lengths['b']} in b.wav"
            raise InputError(self.folder(id), expected="voices of one length", found=found, remedy="pad the shorter with silence")
        return Dialogue(id, described.frames, sides)

    def sides(self, clips: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Side]]:
        """Each clip, given as (dialogue, side), with what is known of it; clips of one dialogue that stand together are read together."""
        for id, some in groupby(clips, key=itemgetter(0)):
            dialogue = self.dialogue(id)
            yield from ((clip, dialogue.side(clip[1])) for clip in some)

    def _side(self, folder: Path | PackedFolder, side: str, described: DialogueDescription) -> Side:
        frames = described.frames
        audio = read_voice(folder / f"{side}.wav")
        if len(audio) // SAMPLES_PER_FRAME != frames:
            found = f"{len(audio)} samples, {len(audio) // SAMPLES_PER_FRAME} frames"
            remedy = "cut or pad the sound, or correct frames in dialogue.json"
            raise InputError(folder / f"{side}.wav", expected=f"{frames} frames of {SAMPLES_PER_FRAME} samples", found=found, remedy=remedy)
        names = ("speaking.npy", "motion.npz", "track.npz", "phones.json", "mp4", "mask.mp4")
        files = {name: _existing(folder / f"{side}.{name}") for name in names}
        motion = files["motion.npz"] and load_motion(files["motion.npz"], head=self.head)
        if motion is not None and len(motion) != frames:
            expected = f"{frames} frames"
            raise InputError(files["motion.npz"], expected=expected, found=f"{len(motion)}", remedy="cut the motion to the dialogue")
        return Side(
            person=described.people[side],
            audio=audio,
            speaking=read_speaking(files["speaking.npy"], frames) if files["speaking.npy"] else _speaking(audio, frames),
            motion=motion,
            track=files["track.npz"] and read_track(files["track.npz"], frames),
            video=files["mp4"],
            mask_video=files["mask.mp4"],
            phones=files["phones.json"] and read_phones(files["phones.json"], frames),
        )

    @cached_property
    def digest(self) -> str:
        """Changes when any file of the set does, and with the dialogues that are left out; packing does not change it.

        Files above 1 MiB (pictures) count by length, start, middle and end.
        """
        total = hashlib.sha256((self.root / "dataset.json").read_bytes())
        for id in self.shards.intact(self.ids, "all splits", strict=False) if self.shards else self.ids:
            for path in files_of(self.folder(id)):
                _update(total, f"{id}/{path.name}", path)
        return total.hexdigest()

    @property
    def facts(self) -> dict[str, object]:
        """What a run's record says of its data."""
        digest = self.digest  # looks at every dialogue
        return {"dataset": digest} | ({"left_out": sorted(self.shards.left_out)} if self.shards else {})


def dialogue_folder(root: Path, id: str) -> Path:
    if not NAME.fullmatch(id):
        remedy = "rename the dialogue: it is a folder name too"
        raise InputError(root, expected="a dialogue name of letters, digits, '.', '_', '-'", found=repr(id), remedy=remedy)
    return root / "dialogues" / id


def files_of(folder: Path | PackedFolder) -> list[StoredFile]:
    """The files of a dialogue by name, without what an interrupted write has left. None where there is no folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted((file for file in files if file.is_file() and not file.name.startswith(".")), key=lambda file: file.name)


def create_dialogue_set(
    root: Path | str, head: object, people: Mapping[str, Mapping] | Iterable[str], splits: Mapping[str, Iterable[str] | bool]
) -> DialogueSet:
    """A set without dialogues yet. ``head`` has name and digest (a ``Head`` or ``SetHead``); ``splits`` may hold ``share_people: True``.

    Called again with the same arguments it opens what is there, so that an interrupted maker can go on.
    """
    root = Path(root)
    listed = {name: tuple(ids) for name, ids in splits.items() if name != "share_people"}
    people = {name: dict(people[name]) if isinstance(people, Mapping) else {} for name in people}
    head = SetHead(head.name, head.digest, head.expressions, head.identities)
    description = SetDescription(FRAME_RATE, SAMPLE_RATE, head, people, listed, bool(splits.get("share_people", False)))
    path = root / "dataset.json"
    raise_first(set_problems(path, description.content()))
    if path.exists():
        if read_set(path) != description:
            remedy = "choose another folder, or remove this set first"
            raise InputError(path, expected="no set, or one of these people, splits and head", found="another set", remedy=remedy)
    else:
        write_json(path, description.content())
        (root / "dialogues").mkdir(exist_ok=True)
    return DialogueSet.open(root)


def write_dialogue(
    root: Path | str, dialogue: Dialogue, *, source: str, licence: str, created_by: str, replace: bool = False, move_videos: bool = False
) -> Path:
    """Write one dialogue, whole or not at all; its folder. Pictures are copied, or moved with ``move_videos``."""
    root = Path(root)
    folder = dialogue_folder(root, dialogue.id)
    people = {side: dialogue.side(side).person for side in PERSONS}
    description = DialogueDescription(people, dialogue.frames, source, licence, created_by)
    described = DialogueSet.open(root)
    raise_first(dialogue_problems(folder / "dialogue.json", description.content()))
    for person in people.values():
        if person != NOBODY and person not in described.people:
            found = f"{person!r}, not among {', '.join(described.people)}"
            raise InputError(folder, expected="people of dataset.json", found=found, remedy="add the person there first")
    with atomic_folder(folder, replace=replace) as partial:
        write_json(partial / "dialogue.json", description.content())
        for side in PERSONS:
            _write_side(partial, side, dialogue.side(side), dialogue.frames, described.head)
        for side in PERSONS:  # last, so that nothing else can fail once they are moved
            _place_videos(partial, side, dialogue.side(side), move_videos)
    return folder


def lone_dialogue(id: str, side: Side, frames: int) -> Dialogue:
    """One person alone: the partner is nobody, silent, without motion, so nothing of it is kept."""
    nobody = Side(person=NOBODY, audio=torch.zeros_like(side.audio), speaking=torch.zeros_like(side.speaking))
    return Dialogue(id, frames, {"a": side, "b": nobody})


def _write_side(folder: Path, side: str, content: Side, frames: int, head: SetHead) -> None:
    where = folder / side
    lengths = {"voice": len(content.audio) // SAMPLES_PER_FRAME, "speaking": len(content.speaking)}
    lengths |= {} if content.motion is None else {"motion": len(content.motion)}
    lengths |= {} if content.track is None else {"track": len(content.track.keep)}
    wrong = ", ".join(f"{name} {length}" for name, length in lengths.items() if length != frames)
    if wrong:
        raise InputError(where, expected=f"{frames} frames of everything", found=wrong, remedy="cut or pad to the same frames")
    write_voice(folder / f"{side}.wav", content.audio)
    write_speaking(folder / f"{side}.speaking.npy", content.speaking)
    if content.motion is not None:
        if content.motion.head != head.digest:
            found = f"head {content.motion.head[:12]}"
            raise InputError(where, expected=f"motion of the set's head {head.digest[:12]}", found=found, remedy="retarget the motion")
        save_motion(folder / f"{side}.motion.npz", content.motion)
    if content.track is not None:
        write_track(folder / f"{side}.track.npz", content.track)
    if content.phones is not None:
        write_phones(folder / f"{side}.phones.json", content.phones, frames)


def _place_videos(folder: Path, side: str, content: Side, move: bool) -> None:
    for video, suffix in ((content.video, "mp4"), (content.mask_video, "mask.mp4")):
        if video is not None and move:
            shutil.move(os.fspath(video), folder / f"{side}.{suffix}")
        elif video is not None:
            with video.open("rb") as source, (folder / f"{side}.{suffix}").open("wb") as copy:
                shutil.copyfileobj(source, copy)


def _speaking(audio: Float[Tensor, "samples"], frames: int) -> Float[Tensor, "time"]:
    from mango.audio.activity import speaking_indicator

    return speaking_indicator(audio)[:frames]


def _existing(path: StoredFile) -> StoredFile | None:
    return path if path.exists() else None


def _update(total: "hashlib._Hash", name: str, stored: StoredFile, piece: int = 65536) -> None:
    holder, start, size = span(stored)
    total.update(f"{name} {size}\n".encode())
    with holder.open("rb") as file:
        for place, length in ((0, size),) if size <= 2**20 else ((place, piece) for place in (0, size // 2, size - piece)):
            file.seek(start + place)
            total.update(file.read(length))
