"""python -m benchmarks.adapters --general RUN --strangers DATA [--people p03 p06 ...] [--effort normal] --out DIR [--to docs/results.md]

Whether fine-tuning makes the general motion model better for the person it was tuned on, and leaves everybody else alone. RUN is of stage
two; DATA is a set of made-up people whom it never met, with their truth beside it: of another seed, and as a tracker sees them. Of each
person `mango finetune` sees the training dialogues. They are judged by further dialogues of the same people, voices alone: the set's own
held-out ones show a person once or twice, and one dialogue is easier than the next. Each is generated in the adapter and without it, from
the same noise.

    python -m benchmarks.lifting --scale small --seed 1 --rows stage1,stage2 --out runs/lifting                     (makes such a RUN)
    python -m benchmarks.adapters --general runs/lifting/small-1/stage2/run --strangers runs/lifting/data-small-2 --out runs/adapters

The same command goes on where it stopped.
"""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.code_digests import code_digest, of
from benchmarks.command import run
from benchmarks.new_avatars import renamed, stranger
from benchmarks.page import commit_and_machine, typed, write_between
from mango.audio.encoders import make_encoder
from mango.config import check_ranges, from_plain
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.json_files import read_json, write_json
from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation.intervals import jackknife_interval, mean_of
from mango.evaluation.protocol import ClipScores, Reference, mover
from mango.evaluation.worn_adapters import adapters_by_person, wearing_their_own
from mango.head.model import Head, load_head
from mango.inference.generation import GenerationConfig
from mango.training.finetune import FinetuneConfig, finetune
from mango.training.stage1 import load_motion_model
from mango.types import PERSONS

SHOWN = {
    "lve_max": "LVE max, mm",
    "lve_max_speaking": "speaking",
    "lve_max_listening": "listening",
    "lve_dynamic": "dynamic",
    "closure": "closure gap, mm",
    "lip_opening_slope": "opening slope",
}
TUNING = ("mango/training/finetune.py", "mango/training/stage2.py")
JUDGING = ("benchmarks/adapters.py",)
ROWS = {"general": "general model", "adapter": "in the person's adapter"}


@dataclass(frozen=True)
class Options:
    general: Path  # a run of stage two
    strangers: Path  # a set of people whom it never met, with the truth beside it
    people: tuple[str, ...] = ("p03", "p06", "p09")
    effort: Literal["quick", "normal", "best"] = "normal"
    talk: int = 48  # further dialogues of these people, all of them together
    samplings: int = 2  # of every dialogue
    seed: int = 0
    out: Path = Path("runs/adapters")
    to: Path | None = None  # also write the table here, as Markdown


def main(options: Options) -> int:
    torch.set_num_threads(1)
    check_ranges(options, talk="[1, inf)", samplings="[1, inf)")
    strangers = DialogueSet.open(options.strangers)
    unknown = sorted(set(options.people) - set(strangers.people))
    if unknown:
        remedy = f"there are {', '.join(strangers.people)}"
        raise InputError("--people", expected=f"people of {options.strangers}", found=", ".join(unknown), remedy=remedy)
    load_motion_model(options.general, head=load_head())  # a wrong path is said before minutes of work
    data = under_other_names(strangers, options.out / f"strangers-{strangers.digest[:12]}")
    talk = more_talk(strangers, options.talk, options.out / f"talk-{strangers.digest[:12]}-{options.talk}")
    scores = {}
    for person in options.people:
        tuned = options.out / f"{person}-{options.effort}-{of(strangers.digest, code_digest(*TUNING))}"
        config = FinetuneConfig(data, stranger(person), options.general, tuned, options.effort, seed=options.seed)
        if code := finetune(config):
            return code
        scores[person] = judged(options, talk, person, tuned / "adapters" / f"{stranger(person)}.safetensors")
        print(person, scores[person])
    text = page(options, scores)
    print(text)
    if options.to is not None:
        write_between(options.to, "benchmarks.adapters", text)
    changed = [person for person, found in scores.items() if found["others_changed"]]
    return 1 if changed else 0


def under_other_names(strangers: DialogueSet, root: Path) -> Path:
    """Made-up people of all sets have the same names, and a known name is a known person."""
    splits = dict(strangers.splits)
    create_dialogue_set(root, load_head(), [stranger(name) for name in strangers.people], {**splits, "share_people": True})
    for id in strangers.ids:
        if not (root / "dialogues" / id).exists():
            dialogue = renamed(strangers.dialogue(id))
            write_dialogue(root, dialogue, source="synthetic", licence="CC0-1.0", created_by="benchmarks.adapters")
    return root


def more_talk(strangers: DialogueSet, number: int, root: Path) -> DialogueSet:
    """The same people in that many more held-out dialogues, after those of the set, and not filmed."""
    record = Truth.open(strangers.root).folder / "synthesis.json"
    made = from_plain(SynthesisConfig, read_json(record), where=str(record))
    return synthesize(root, replace(made, test=made.test + number, video=False))


@torch.inference_mode()
def judged(options: Options, talk: DialogueSet, person: str, adapter: Path) -> dict:
    """Scores of the person's held-out clips without and in the adapter, by how much more it errs in each dialogue (below zero: less), and
    how many frames of other people it changed.
    """
    judging = of(hashlib.sha256(adapter.read_bytes()).hexdigest(), talk.digest, options.samplings, code_digest(*JUDGING))
    path = adapter.with_name(f"scores-{judging}.json")
    head, truth = load_head(), Truth.open(talk.root)
    model, description, encoder = load_motion_model(options.general, head=head)
    encoder, worn = make_encoder(encoder), adapters_by_person([adapter], model, [stranger(person)])  # of another model it is refused
    if path.exists():
        return read_json(path)
    kept, changed, more = {row: ClipScores() for row in ROWS}, 0, []
    for id in talk.split("test"):
        people = {side: stranger(whose) for side, whose in talk.describe(id).people.items()}
        if stranger(person) not in people.values():
            continue
        references = {side: Reference.read(truth, id, side, head) for side in PERSONS if people[side] == stranger(person)}
        before = len(kept["general"].clips)
        for sampling in range(options.samplings):
            moved = mover(model, description, encoder, head, GenerationConfig(seed=sampling))
            clips = {}
            for row in ROWS:
                with wearing_their_own(model, worn, people) if row == "adapter" else nullcontext():
                    clips[row] = moved(talk.dialogue(id))
            for side in PERSONS:
                if side in references:
                    add(kept, clips, side, references[side], head)
                else:
                    packed = [head.layout.pack(clips[row][side]) for row in ROWS]
                    changed += int((packed[0] != packed[1]).any(1).sum())
        errors = [[clip["lve_max"] for clip in kept[row].clips[before:]] for row in ROWS]
        more.append(float(np.mean(errors[1]) - np.mean(errors[0])))
    found = {"rows": {row: scores.row() for row, scores in kept.items()}, "more": more, "others_changed": changed}
    write_json(path, {"by": commit_and_machine(), **found})
    return read_json(path)


def add(kept: dict[str, ClipScores], clips: dict, side: str, reference: Reference, head: Head) -> None:
    for row, scores in kept.items():
        scores.add(clips[row][side], reference, head)


def page(options: Options, scores: dict[str, dict]) -> str:
    """Person by person, and the means."""
    made_by = "; ".join(sorted({found["by"] for found in scores.values()}))
    lines = [
        "## The motion of unseen people",
        "",
        f"`{typed('benchmarks.adapters', options)}`, {made_by}.",
        "",
        f"General model: {'/'.join(options.general.parts[-3:])}; people of {options.strangers.name}, whom it never met. Held-out dialogues "
        "against their true motion; the same noise in both rows.",
        "",
        f"| person | | {' | '.join(SHOWN.values())} |",
        f"|---|---|{'---:|' * len(SHOWN)}",
    ]
    for person, found in scores.items():
        lines += [f"| {person} | {words} | {cells(found['rows'][row])} |" for row, words in ROWS.items()]
    if len(scores) > 1:
        for row, words in ROWS.items():
            of_row = [found["rows"][row] for found in scores.values()]
            lines.append(f"| mean | {words} | {cells({name: sum(one[name] for one in of_row) / len(of_row) for name in SHOWN})} |")
    lines += ["", "LVE max in the adapter less the general model's, mm, with a 95 % interval (Student's t over dialogues, paired):", ""]
    lines += [f"- {person}: {difference(found['more'])}" for person, found in scores.items()]
    better = [person for person, found in scores.items() if found["rows"]["adapter"]["lve_max"] < found["rows"]["general"]["lve_max"]]
    others = sum(found["others_changed"] for found in scores.values())
    said = f"The adapter is better for {len(better)} of {len(scores)}; it changed {others} frames of the people they talk to."
    return "\n".join([*lines, "", said])


def difference(more: Sequence[float]) -> str:
    """Of dialogues, in words."""
    interval = jackknife_interval(np.array([[one, 1.0] for one in more]), mean_of)
    between = "too few for an interval" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return f"{np.mean(more):+.2f} ({between}), {len(more)} dialogues"


def cells(row: dict[str, float]) -> str:
    return " | ".join(f"{row[name]:.2f}" for name in SHOWN)


if __name__ == "__main__":
    run(main, Options)
