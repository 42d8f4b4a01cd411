"""python -m benchmarks.adapters --general RUN --strangers DATA [--people p03 p06 ...] [--effort normal] --out DIR [--to docs/results.md]

Whether fine-tuning makes the general motion model better for the person it was tuned on, and leaves everybody else alone. RUN is of stage
two; DATA is a set of made-up people whom it never met, with their truth beside it: of another seed, and as a tracker sees them. Of each
person `mango finetune` sees the training dialogues; the held-out ones are generated in the adapter and without it, from the same noise.

    python -m benchmarks.lifting --scale small --seed 1 --rows stage1,stage2 --out runs/lifting                     (makes such a RUN)
    python -m benchmarks.adapters --general runs/lifting/small-1/stage2/run --strangers runs/lifting/data-small-2 --out runs/adapters

The same command goes on where it stopped.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from benchmarks.command import run
from benchmarks.new_avatars import renamed, stranger
from benchmarks.page import commit_and_machine, write_between
from mango.audio.encoders import make_encoder
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.json_files import read_json, write_json
from mango.data.truth import Truth
from mango.errors import InputError
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
ROWS = {"general": "general model", "adapter": "in the person's adapter"}


@dataclass(frozen=True)
class Options:
    general: Path  # a run of stage two
    strangers: Path  # a set of people whom it never met, with the truth beside it
    people: tuple[str, ...] = ("p03", "p06", "p09")
    effort: Literal["quick", "normal", "best"] = "normal"
    samplings: int = 4
    seed: int = 0
    out: Path = Path("runs/adapters")
    to: Path | None = None  # also write the table here, as Markdown


def main(options: Options) -> int:
    torch.set_num_threads(1)
    strangers = DialogueSet.open(options.strangers)
    unknown = sorted(set(options.people) - set(strangers.people))
    if unknown:
        remedy = f"there are {', '.join(strangers.people)}"
        raise InputError("--people", expected=f"people of {options.strangers}", found=", ".join(unknown), remedy=remedy)
    data = under_other_names(strangers, options.out / f"strangers-{strangers.digest[:12]}")
    scores = {}
    for person in options.people:
        tuned = options.out / f"{person}-{options.effort}-{strangers.digest[:12]}"
        config = FinetuneConfig(data, stranger(person), options.general, tuned, options.effort, seed=options.seed)
        if code := finetune(config):
            return code
        scores[person] = judged(options, data, person, tuned / "adapters" / f"{stranger(person)}.safetensors")
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


@torch.inference_mode()
def judged(options: Options, data: Path, person: str, adapter: Path) -> dict:
    """Scores of the person's held-out clips without and in the adapter, and how many frames of other people it changed."""
    path = adapter.with_name(f"scores-{options.samplings}.json")
    if path.exists():
        return read_json(path)
    head, dialogues, truth = load_head(), DialogueSet.open(data), Truth.open(options.strangers)
    model, description, encoder = load_motion_model(options.general, head=head)
    encoder, worn = make_encoder(encoder), adapters_by_person([adapter], model, dialogues.people)
    kept, changed = {row: ClipScores() for row in ROWS}, 0
    for id in dialogues.split("test"):
        people = dialogues.describe(id).people
        if stranger(person) not in people.values():
            continue
        for sampling in range(options.samplings):
            moved = mover(model, description, encoder, head, GenerationConfig(seed=sampling))
            clips = {}
            for row in ROWS:
                with wearing_their_own(model, worn, people) if row == "adapter" else nullcontext():
                    clips[row] = moved(dialogues.dialogue(id))
            for side in PERSONS:
                if people[side] == stranger(person):
                    add(kept, clips, side, Reference.read(truth, id, side, head), head)
                else:
                    packed = [head.layout.pack(clips[row][side]) for row in ROWS]
                    changed += int((packed[0] != packed[1]).any(1).sum())
    write_json(path, {"rows": {row: scores.row() for row, scores in kept.items()}, "others_changed": changed})
    return read_json(path)


def add(kept: dict[str, ClipScores], clips: dict, side: str, reference: Reference, head: Head) -> None:
    for row, scores in kept.items():
        scores.add(clips[row][side], reference, head)


def page(options: Options, scores: dict[str, dict]) -> str:
    """Person by person, and the means."""
    names = " ".join(f"--{name} {getattr(options, name)}" for name in ("effort", "samplings", "seed"))
    lines = [
        "## The motion of unseen people",
        "",
        f"`python -m benchmarks.adapters --people {' '.join(options.people)} {names}`, {commit_and_machine()}.",
        "",
        f"General model: {'/'.join(options.general.parts[-3:])}; people of {options.strangers.name}, whom it never met. Their held-out "
        "dialogues against their true motion; the same noise in both rows.",
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
    better = [person for person, found in scores.items() if found["rows"]["adapter"]["lve_max"] < found["rows"]["general"]["lve_max"]]
    others = sum(found["others_changed"] for found in scores.values())
    said = f"The adapter is better for {len(better)} of {len(scores)}; it changed {others} frames of the people they talk to."
    return "\n".join([*lines, "", said])


def cells(row: dict[str, float]) -> str:
    return " | ".join(f"{row[name]:.2f}" for name in SHOWN)


if __name__ == "__main__":
    run(main, Options)
