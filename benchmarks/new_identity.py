"""python -m benchmarks.new_identity [--seconds 12] [--size 256] [--seeds 1 2] [--out DIR] [--to docs/results.md]

Films of made-up people that nothing has been trained on are tracked from their pictures alone, and compared with the true motion; beside
them the corrupted labels that such sets come with (`mango data synthesize`): what trackers are reported to get wrong. Tracked by
MediaPipe's networks (`mango assets get mediapipe`), and without them by the built-in filters, which were learned from other people of the
same making. What was detected is used again while the film is the same.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.command import check_some, run
from benchmarks.page import commit_and_machine, typed, write_between
from mango.config import check_ranges
from mango.data.dialogues import DialogueSet
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig, synthesize
from mango.data.truth import Truth
from mango.evaluation.protocol import ClipScores, Reference
from mango.head.model import Head, load_head
from mango.tracking.face_filters import FaceFilters
from mango.tracking.face_models import FaceModels
from mango.tracking.films import facts_of
from mango.tracking.tracking import DETECTED, TrackConfig, track, trembling
from mango.types import PERSONS, MotionClip

SHOWN = {
    "lve_max": "lip vertex error, mean of the largest, mm",
    "lve_max_speaking": "the same, speaking",
    "lve_max_listening": "the same, listening",
    "lve_dynamic": "the same, each clip's mean error removed",
    "upper_face": "upper face, mm",
    "lip_opening_slope": "slope of lip opening over the true one",
    "closure": "lip gap at closures, error, mm",
    "expr": "second differences of expressions, root mean square",
    "jaw_rad": "the same of the jaw's turn, rad",
    "neck_rad": "the same of the head's turn, rad",
    "neck": "head's turn, error after each clip's mean is removed, degrees",
    "gaze": "correlation of sideways gaze with the true one",
}
TRACKED = ("tracked", "tracked without networks")


@dataclass(frozen=True)
class Options:
    seeds: tuple[int, ...] = (1, 2)  # each of four people in two dialogues
    seconds: float = 12.0
    size: int = 256  # pixels of the films
    out: Path = Path("runs/new_identity")
    to: Path | None = None  # also write the table here, as Markdown


@dataclass
class Row:
    """One kind of labels, clip by clip."""

    scores: ClipScores = field(default_factory=ClipScores)
    more: list[dict[str, float]] = field(default_factory=list)

    def add(self, clip: MotionClip, reference: Reference, truth: MotionClip, head: Head) -> None:
        self.scores.add(clip, reference, head)
        self.more.append({**trembling(clip), "neck": neck_error(clip, truth), "gaze": sideways(clip, truth)})

    def means(self) -> dict[str, float]:
        return {**self.scores.row(), **{name: sum(one[name] for one in self.more) / len(self.more) for name in self.more[0]}}


def main(options: Options) -> int:
    torch.set_num_threads(1)
    check_some(options, "seeds")
    check_ranges(options, seeds="[0, inf)", seconds="[1, inf)", size="[32, inf)")
    head, models = load_head(), FaceModels()
    rows = {name: Row() for name in (*TRACKED, "corrupted labels", "true motion")}
    spent = {name: [0.0, 0.0] for name in TRACKED}  # processor time, of so many seconds of film
    for seed in options.seeds:
        place = options.out / f"data-{seed}-{options.size}-{options.seconds:g}"
        synthesize(place, data_of(options, seed))
        dialogues, truth = DialogueSet.open(place), Truth.open(place)
        for id in dialogues.split("train"):
            for person in PERSONS:
                side = dialogues.dialogue(id).side(person)
                true, reference = truth.motion(id, person, head=head), Reference.read(truth, id, person, head)
                clips = {"corrupted labels": side.motion, "true motion": true}
                for name, filters in zip(TRACKED, (None, FaceFilters()), strict=True):
                    folder = options.out / name / f"{place.name}-{id}-{person}"
                    folder.mkdir(parents=True, exist_ok=True)
                    begun, new = time.process_time(), not (folder / DETECTED).exists()
                    config = TrackConfig(size_px=options.size)
                    found = track(
                        facts_of(side.video), side.person, folder, head, models if filters is None else None, config, filters=filters
                    )
                    if new:  # what was detected before would make the tracker look faster
                        spent[name][0] += time.process_time() - begun
                        spent[name][1] += len(side.motion) / side.motion.fps
                    clips[name] = found.side.motion
                    print(f"seed {seed} {id}/{person}, {name}: {', '.join(found.scores.lines())}")
                for name, clip in clips.items():
                    rows[name].add(clip.frames(slice(len(true))), reference, true, head)
    means = {name: row.means() for name, row in rows.items()}
    costs = {name: time / filmed for name, (time, filmed) in spent.items() if filmed}
    text = markdown(options, means, len(rows["tracked"].more), costs)
    print(text)
    if options.to is not None:
        write_between(options.to, "benchmarks.new_identity", text)
    return 0


def data_of(options: Options, seed: int) -> SynthesisConfig:
    shooting = Shooting(size_px=options.size)
    seconds = (options.seconds, options.seconds)
    return SynthesisConfig(people=4, train=2, val=0, test=0, seconds=seconds, seed=7_000 + seed, num_gaussians=14_000, shooting=shooting)


def neck_error(clip: MotionClip, truth: MotionClip) -> float:
    """Where a head is at rest is a matter of the world's axes, which a tracker chooses: movement alone is compared."""
    off = (clip.neck_pose - clip.neck_pose.mean(0)) - (truth.neck_pose - truth.neck_pose.mean(0))
    return float(torch.rad2deg(off.norm(dim=-1)).mean())


def sideways(clip: MotionClip, truth: MotionClip) -> float:
    both = torch.stack([(motion.eyes_pose[:, 1] + motion.eyes_pose[:, 4]) / 2 for motion in (clip, truth)])
    return float(torch.nan_to_num(torch.corrcoef(both))[0, 1])


def markdown(options: Options, means: dict[str, dict[str, float]], clips: int, costs: dict[str, float]) -> str:
    names = list(means)
    films = f"{clips} films of made-up people, {options.seconds:g} s of {options.size}x{options.size} pixels each"
    took = ", ".join(f"{name} {cost:.1f} s of processor time for a second of film" for name, cost in costs.items())
    lines = [
        "## Tracking films of unseen people",
        "",
        f"`{typed('benchmarks.new_identity', options)}`, {commit_and_machine()}.",
        "",
        f"{films}; {took or 'processor time not measured'}.",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
    ]
    for key, title in SHOWN.items():
        lines.append(f"| {title} | {' | '.join(cell(means[name].get(key)) for name in names)} |")
    labels = means["corrupted labels"]
    lines += ["", f"| asked | {' | '.join(TRACKED)} | corrupted labels |", "|---|" + "---:|" * (len(TRACKED) + 1)]
    for what, key in (
        ("lip error no worse than the corrupted labels'", "lve_max"),
        ("trembling of expressions below theirs", "expr"),
    ):
        found = [f"{means[name][key]:.4g}{'' if means[name][key] <= labels[key] else ' **not met**'}" for name in TRACKED]
        lines.append(f"| {what} | {' | '.join(found)} | {labels[key]:.4g} |")
    return "\n".join(lines)


def cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.2f}"


if __name__ == "__main__":
    run(main, Options)
