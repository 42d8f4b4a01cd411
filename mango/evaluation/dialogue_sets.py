"""Checkpoints, or motion files, on sets in our own dialogue format.

voices --checkpoint--> motion --+
PREDICTIONS/<id>.<a|b>.motion --+--> native: surface, lips, eyes, synchrony and parameters
labels, labels' mean -----------+--> dualtalk-*: parameters alone, with the published scaling
                                |
ROOT.truth, or labels ----------+
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from mango.audio.encoders import EncoderConfig, make_encoder
from mango.data.dialogues import DialogueSet, files_of
from mango.data.motion_files import load_motion
from mango.data.side_files import read_voice
from mango.data.truth import Truth, truth_folder
from mango.errors import InputError
from mango.evaluation.baselines import untrained_baselines
from mango.evaluation.compared import ComparedMotion, frames_of
from mango.evaluation.dualtalk import controls_of
from mango.evaluation.dualtalk_files import LISTED, digest_of, listed
from mango.evaluation.facts import Protocol, checkpoint_facts, common_facts
from mango.evaluation.native import NativeReference, Voices, add_native, compared
from mango.evaluation.parameter_scores import add_compared
from mango.evaluation.protocol import LABELS, STILL, mover, still_faces
from mango.evaluation.scores import Evaluation, Tally
from mango.evaluation.speed import Stopwatch, TimedEncoder
from mango.evaluation.synchrony import speech_energy
from mango.evaluation.worn_adapters import adapter_facts, adapters_by_person, wearing_their_own
from mango.head.model import Head, load_head
from mango.inference.generation import GenerationConfig, Progress
from mango.models.regressor import PartnerMotionRegressor
from mango.training.runtime import default_device
from mango.training.stage1 import load_motion_model
from mango.types import MOVING, PERSONS, Dialogue, MotionClip

Against = Literal[
    "truth",  # of a synthetic set
    "labels",  # a tracker's
]
Moving = Mapping[str, MotionClip]  # by person, a or b; who is missing is not scored
SUFFIX = ".motion.npz"
DUALTALK_EXPRESSIONS = 50
UNWORN = "without adapters"


@dataclass
class System:
    """Whatever has motion for a dialogue, and what became of it."""

    motion: Callable[[Dialogue], Moving]
    watch: Stopwatch | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    compared: list[ComparedMotion] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)  # clips whose lengths differ: predicted and true frames
    unscored: list[str] = field(default_factory=list)  # clips without two frames to be believed
    distrusted: dict[str, list[int]] = field(default_factory=dict)  # clips with frames that are not to be believed: those, and all


def evaluate_dialogues(
    data: Path,
    split: str,
    protocol: Protocol,
    config: GenerationConfig,
    *,
    checkpoints: tuple[Path, ...] = (),
    adapters: tuple[Path, ...] = (),
    predictions: tuple[Path, ...] = (),
    against: Against | None = None,
    complete: bool = False,
    controls: bool = False,
    baselines: bool = False,
    head: str | Path = "builtin",
    progress: Progress | None = None,
) -> Evaluation:
    """Every system on a split; the first checkpoint, else the first folder of predictions, is the main row.

    ``adapters``: checkpoints wear them, each person their own; a row of the same checkpoint without them stands beside.
    ``against``: what counts as true. By default the truth; without one, dualtalk protocols take the labels, and native refuses.
    ``controls`` adds rows of parameter metrics whose values are known or must be worse (see `dualtalk.controls_of`), ``baselines`` the
    mean motion and the nearest neighbour of the split "train", in the features of the first checkpoint's encoder.
    """
    dialogues, loaded = DialogueSet.open(data, strict=True), load_head(head)  # scores of fewer dialogues would be other scores
    dialogues.require_head(loaded)
    ids = _of_split(dialogues, split)
    true = _true_motion(data, dialogues, loaded, protocol, against)
    asked = {str(path): _checkpoint(path, adapters, ids, dialogues, loaded, config) for path in checkpoints}
    if adapters:
        asked |= {f"{path} {UNWORN}": _checkpoint(path, (), ids, dialogues, loaded, config) for path in checkpoints}
    asked |= {str(path): _folder(path, ids, dialogues, true, complete) for path in predictions}
    labelled = {LABELS: System(_labels), STILL: System(still_faces)}
    systems = labelled | (_untrained(dialogues, checkpoints, loaded) if baselines else {}) | asked
    for number, id in enumerate(ids):
        _score_dialogue(dialogues.dialogue(id), systems, true, protocol, loaded)
        if progress:
            progress(number + 1, len(ids))
    main, rows, scaled = next(iter(asked)), {}, protocol != "native"
    if controls:
        systems |= {name: System(_nothing, compared=clips) for name, clips in controls_of(systems[main].compared).items()}
    for name, system in systems.items():
        if system.compared:
            add_compared(system.tally, system.compared, official=protocol == "dualtalk-official", seed=config.seed)
            speed = system.watch.figures(config) if system.watch else None
            rows[name] = system.tally.row(frames_of(system.compared), scaled=scaled, speed=speed)
    if main not in rows:
        found, remedy = f"no clip of split {split!r} with both", "give --against labels or truth, whichever the set has"
        raise InputError(data, expected="motion to score and motion to score it against", found=found, remedy=remedy)
    about = {
        "data": str(data),
        "data_digest": dialogues.digest,
        **true.digest(ids),
        "head": loaded.digest,
        "split": split,
        "truth": true.name,
    }
    own = {"dialogues": len(ids), "clips": len(systems[main].compared), "sampling": asdict(config) if checkpoints else None}
    width = {"expressions": compared_expressions(protocol, loaded)}
    everything = common_facts(protocol, config.seed) | about | width | own | _facts(systems[main])
    others = {name: facts for name, system in systems.items() if name in rows and name != main and (facts := _facts(system))}
    return Evaluation(main, rows, scaled, facts=everything | ({"rows": others} if others else {}))


@dataclass(frozen=True)
class TrueMotion:
    """What counts as true of a dialogue."""

    name: Against
    truth: Truth | None
    head: Head

    def digest(self, ids: Iterable[str]) -> Mapping[str, str]:
        """For facts; that of labels is the data's."""
        return {} if self.truth is None else {"truth_digest": self.truth.digest(ids)}

    def knows(self, dialogues: DialogueSet, id: str, person: str) -> bool:
        """Whether there is a motion to score that side against."""
        if self.truth is not None:
            return self.truth.knows(id, person)
        return any(file.name == f"{person}{SUFFIX}" for file in files_of(dialogues.folder(id)))

    def motion(self, dialogue: Dialogue, person: str) -> MotionClip | None:
        return dialogue.side(person).motion if self.truth is None else self.truth.motion(dialogue.id, person, head=self.head)

    def speaking(self, dialogue: Dialogue, person: str) -> torch.Tensor:
        told = dialogue.side(person).speaking if self.truth is None else self.truth.speaking(dialogue.id, person)
        return told > 0.5

    def keep(self, dialogue: Dialogue, person: str) -> torch.Tensor | None:
        """Frames to be believed: of labels those that the tracker trusts; None = all."""
        track = dialogue.side(person).track
        return track.keep if self.truth is None and track is not None else None

    def reference(self, dialogue: Dialogue, person: str) -> NativeReference | None:
        motion = self.motion(dialogue, person)
        if motion is None:
            return None
        own, partner = (speech_energy(dialogue.side(p).audio) for p in (person, _other(person)))
        told = dialogue.side(person).phones if self.truth is None else self.truth.phones(dialogue.id, person)
        phones = () if told is None else told
        speaking, keep = self.speaking(dialogue, person), self.keep(dialogue, person)
        return NativeReference.of(motion, self.head, speaking, Voices(own, partner), phones, keep)


def _true_motion(data: Path, dialogues: DialogueSet, head: Head, protocol: Protocol, against: Against | None) -> TrueMotion:
    if against == "labels" or (against is None and protocol != "native" and not truth_folder(data).is_dir()):
        return TrueMotion("labels", None, head)
    if not truth_folder(data).is_dir():
        remedy = "--against labels takes the labels for the truth: the tracker's errors then count as motion"
        found = f"none ({truth_folder(data)}): recordings do not have one"
        raise InputError(data, expected="the truth of a synthetic set to score against", found=found, remedy=remedy)
    return TrueMotion("truth", Truth.open(data), head)


def compared_expressions(protocol: Protocol, head: Head) -> int:
    """How many, from the first on: DualTalk's files have 50 of FLAME's, and zeros that fill up a wider head would halve their mean."""
    return min(head.expressions, DUALTALK_EXPRESSIONS) if protocol != "native" and head.kind == "flame" else head.expressions


def _of_split(dialogues: DialogueSet, split: str) -> tuple[str, ...]:
    """Its dialogues, of which there are some."""
    sizes = {name: len(ids) for name, ids in dialogues.splits.items()}
    if not sizes.get(split):
        others = ", ".join(f"--split {name} ({size})" for name, size in sizes.items() if size)
        found = "no dialogues in it" if split in sizes else "no such split"
        remedy = f"score what it has: {others}" if others else "add dialogues to a split of dataset.json"
        raise InputError(dialogues.root / "dataset.json", expected=f"a split {split!r} to score", found=found, remedy=remedy)
    return dialogues.split(split)


def _score_dialogue(dialogue: Dialogue, systems: Mapping[str, System], true: TrueMotion, protocol: Protocol, head: Head) -> None:
    references = {person: true.reference(dialogue, person) if protocol == "native" else None for person in PERSONS}
    motions, keeps = ({person: of(dialogue, person) for person in PERSONS} for of in (true.motion, true.keep))
    for row, system in systems.items():
        for person, motion in system.motion(dialogue).items():
            _require_numbers(motion, f"{dialogue.id}.{person}", row)
            truth = motions[person]
            if truth is None:
                continue
            name, frames = f"{dialogue.id}.{person}", min(len(motion), len(truth))
            if len(motion) != len(truth):
                system.cut[name] = [len(motion), len(truth)]
            keep = keeps[person]
            if keep is not None and not keep[:frames].all():
                system.distrusted[name] = [frames - int(keep[:frames].sum()), frames]
                if keep[:frames].sum() < 2:
                    system.unscored.append(name)
                    continue
            three, width = (motion, truth, motions[_other(person)]), compared_expressions(protocol, head)
            believed = (keep, keeps[_other(person)])
            system.compared.append(compared(name, dialogue.id, *three, true.speaking(dialogue, person), width, *believed))
            if protocol == "native":
                add_native(system.tally, dialogue.id, motion.frames(slice(0, frames)), references[person].frames(frames), head)


def _require_numbers(motion: MotionClip, name: str, row: str) -> None:
    for part in MOVING:
        missing = ~getattr(motion, part).isfinite().all(1)
        if missing.any():
            found = f"NaN or infinity in {part}, frame {int(missing.nonzero()[0])}"
            remedy = "a motion that failed has no score: look for NaN in the run's weights, or give another checkpoint or sampler"
            raise InputError(row, expected=f"finite motion of {name}", found=found, remedy=remedy)


# Systems


def _labels(dialogue: Dialogue) -> Moving:
    return {person: dialogue.side(person).motion for person in PERSONS if dialogue.side(person).motion is not None}


def _nothing(dialogue: Dialogue) -> Moving:
    return {}


def _checkpoint(
    path: Path, adapters: tuple[Path, ...], ids: tuple[str, ...], dialogues: DialogueSet, head: Head, config: GenerationConfig
) -> System:
    model, description, encoder_config = load_motion_model(path, head=head, baseline=True)
    encoder = TimedEncoder(make_encoder(encoder_config).to(default_device()))
    sampled = not isinstance(model, PartnerMotionRegressor)
    moved, watch = mover(model, description, encoder, head, config), Stopwatch(encoder, sampled)
    theirs = adapters_by_person(adapters, model, {person for id in ids for person in dialogues.describe(id).people.values()})

    def motion(dialogue: Dialogue) -> Moving:
        voices = [dialogues.folder(dialogue.id) / f"{person}.wav" for person in PERSONS]
        with wearing_their_own(model, theirs, {side: dialogue.side(side).person for side in PERSONS}):
            return watch.lap(dialogue.frames, lambda: [read_voice(voice) for voice in voices], lambda: moved(dialogue))

    return System(motion, watch, {**checkpoint_facts(path), **adapter_facts(adapters, theirs)})


def _untrained(dialogues: DialogueSet, checkpoints: tuple[Path, ...], head: Head) -> dict[str, System]:
    config = load_motion_model(checkpoints[0], head=head, baseline=True)[2] if checkpoints else EncoderConfig()
    return {
        name: System(moved)
        for name, moved in untrained_baselines(dialogues, "train", make_encoder(config).to(default_device()), head).items()
    }


def _folder(folder: Path, ids: tuple[str, ...], dialogues: DialogueSet, true: TrueMotion, complete: bool) -> System:
    """Motion files ``<dialogue>.<a|b>.motion.npz``; their head is checked when they are read."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise InputError(folder, expected="a folder of predictions", found=found, remedy="check the path")
    there = [(id, person) for id in ids for person in PERSONS]
    wanted = [f"{id}.{person}" for id, person in there if true.knows(dialogues, id, person)]
    files = {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"[!.]*{SUFFIX}"))}
    form = f"<dialogue>.<a|b>{SUFFIX}"
    if not files:
        raise InputError(folder, expected=f"predictions {form}", found="none", remedy="name the folder they are in")
    unknown = [name for name in files if name not in {f"{id}.{person}" for id, person in there}]
    missing = [name for name in wanted if name not in files]
    if unknown:
        found = f"{len(unknown)} of {len(files)} that are not there: {listed(unknown)}"
        raise InputError(folder, expected="predictions of the split's people", found=found, remedy=f"name each {form} and check --split")
    if missing and complete:
        found = f"{len(missing)} without: {listed(missing)}"
        remedy = "add them, or leave --complete out to score what is there"
        raise InputError(folder, expected=f"predictions of all {len(wanted)} people", found=found, remedy=remedy)

    def motion(dialogue: Dialogue) -> Moving:
        named = {person: files.get(f"{dialogue.id}.{person}") for person in PERSONS}
        return {person: _predicted(path, dialogues) for person, path in named.items() if path is not None}

    scored = len(wanted) - len(missing)
    people = {"in_data": len(wanted), "scored": scored, "without_prediction": len(missing), "first": missing[:LISTED]}
    return System(motion, None, {"predictions": str(folder), "predictions_digest": digest_of(files.values()), "people": people})


def _predicted(path: Path, dialogues: DialogueSet) -> MotionClip:
    clip = load_motion(path, head=dialogues.head)
    if clip.fps != dialogues.fps:
        raise InputError(path, expected=f"{dialogues.fps} fps", found=f"{clip.fps:g}", remedy="resample the motion")
    if len(clip) < 2:
        raise InputError(path, expected="at least 2 frames", found=f"{len(clip)}", remedy="leave this clip out")
    return clip


def _facts(system: System) -> Mapping[str, object]:
    facts = dict(system.facts)
    if system.cut:
        most = max(abs(a - b) for a, b in system.cut.values())
        facts["cut_to_shortest"] = {"people": len(system.cut), "most_frames": most, "first": dict(list(system.cut.items())[:LISTED])}
    if system.distrusted:
        left_out, frames = (sum(column) for column in zip(*system.distrusted.values(), strict=True))
        first = dict(list(system.distrusted.items())[:LISTED])
        facts["distrusted"] = {"people": len(system.distrusted), "frames": left_out, "of": frames, "first": first}
    return facts | ({"unscored": system.unscored} if system.unscored else {})


def _other(person: str) -> str:
    return PERSONS[1 - PERSONS.index(person)]
