"""The demo's report: the video, the numbers, a bilabial-rich passage frame by frame, and how everything was trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mango.app.charts import Chart, Curve
from mango.app.demo import SAMPLING_STEPS, TOLD, Folders
from mango.app.demo_scores import LONGER, ROWS, SPLIT, STAGE1, STAGE2, motion_file
from mango.app.report import Column, FrameStrip, Report, Row, Table, write_report
from mango.data.dialogues import DialogueSet
from mango.data.motion_files import load_motion
from mango.data.pictures import Pictures
from mango.data.truth import Truth
from mango.evaluation.catalogue import MEASURES
from mango.evaluation.protocol import LABELS, STILL, redrawn
from mango.evaluation.vertex_metrics import unposed_vertices
from mango.head.model import load_head
from mango.training.avatars import read_avatars
from mango.types import PERSONS

SHOWN = ("lve_max", "lve_max_speaking", "lve_max_listening", "lve_dynamic", "lip_opening_slope", "closure", "psnr", "ssim")
PASSAGE = 100  # frames
MOMENTS = 8  # pictures in the strip


def write(folders: Folders, seed: int, seconds: Mapping[str, float]) -> None:
    scores = json.loads(folders.scores.read_text())
    facts = json.loads((folders.stage2 / "run.json").read_text())
    rows = scores["rows"]
    ratio = rows[STAGE2]["lve_max"] / rows[LONGER]["lve_max"]
    report = Report(
        title="MANGO demo",
        summary=(
            "Two voices in, both people's motion and pictures out. People and conversations are synthetic; models saw sound, pictures and "
            "a simulated tracker's wrong labels, never the true motion, which only this page's numbers use."
        ),
        video=folders.video,
        video_caption=f"Held-out dialogue {TOLD}, generated from its two sound tracks: person a left, person b right.",
        headline={
            "lip error, stage two": f"{rows[STAGE2]['lve_max']:.2f} mm",
            "lip error, longer stage one": f"{rows[LONGER]['lve_max']:.2f} mm",
            "ratio": f"{ratio:.2f}",
        },
        tables=[_table(rows, scores["clips"])],
        strips=[_strip(folders)],
        charts=[_convergence(scores["curves"]), _lip_opening(folders), *_losses(folders)],
        provenance={
            "commit": str(facts.get("commit", "unknown")),
            "machine": f"{facts.get('machine', '')} {facts.get('name', '')}".strip(),
            "seed": str(seed),
            "sampling": f"DDIM, {SAMPLING_STEPS} steps, guidance off",
            **{f"time, {name}": f"{value:.0f} s" for name, value in seconds.items()},
        },
    )
    write_report(folders.report, report)


def _table(rows: Mapping[str, Mapping[str, float]], clips: int) -> Table:
    columns = [Column(m.name, m.unit, m.direction, m.digits, m.meaning) for m in (MEASURES[name] for name in SHOWN)]
    notes = {
        LABELS: "what the models were trained on; not generated from sound",
        STILL: "the mean of the labels, held",
        LONGER: "control: more steps on labels alone, as many as stage two had",
    }
    return Table(
        title="Against the true motion",
        columns=columns,
        rows=[
            Row(name, [rows[name][measure] for measure in SHOWN], notes.get(name, ""), reference=name in (LABELS, STILL))
            for name in (STILL, *ROWS)
        ],
        caption=f"Means over {clips} held-out clips; one run, one sampling seed. PSNR, SSIM: every row drawn with stage two's avatars.",
    )


def _convergence(curves: Mapping[str, Sequence[Sequence[float | int]]]) -> Chart:
    drawn = [
        Curve(name, [step for step, _ in points], [value for _, value in points], dashed=name == LONGER, markers=True)
        for name, points in curves.items()
    ]
    return Chart(
        "Held-out lip error after stage one",
        drawn,
        "steps after stage one",
        "LVE max, mm",
        note="Evaluated afterwards: training never reads the truth.",
    )


def _losses(folders: Folders) -> list[Chart]:
    def curve(run: Path, group: str, name: str, label: str) -> Curve:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        chosen = [line for line in lines if line["group"] == group and name in line]
        return Curve(label, [line["step"] for line in chosen], [line[name] for line in chosen])

    return [
        Chart(
            "Stage one: loss",
            [curve(folders.stage1, "train", "total", "training"), curve(folders.stage1, "validation", "total", "validation")],
            "step",
            "weighted loss",
            log_scale=True,
        ),
        Chart(
            "Stage two: difference of pictures",
            [curve(folders.stage2, "head", "l1", "avatars learn"), curve(folders.stage2, "motion", "l1", "motion learns")],
            "step",
            "weighted L1",
            log_scale=True,
        ),
    ]


def _lip_opening(folders: Folders) -> Chart:
    head, (id, side, passage) = load_head(), _passage(folders)
    truth = Truth.open(folders.data).motion(id, side, head=head)
    clips = {"truth": truth} | {row: load_motion(motion_file(folders, row, id, side), head=head) for row in (LABELS, STAGE1, STAGE2)}
    window = slice(passage.start, passage.stop)
    seconds = np.array(passage) / 25
    curves = []
    for name, clip in clips.items():
        opening = head.lip_opening(unposed_vertices(head, clip.frames(window), truth.shape)) * 1000
        curves.append(Curve(name, seconds, opening.numpy(), dashed=name == LABELS))
    return Chart(
        f"Lip opening, person {side} of {id}", curves, "seconds", "mm", note="The passage of the held-out clips with most p, b and m."
    )


@torch.no_grad()
def _strip(folders: Folders) -> FrameStrip:
    head, (id, side, passage) = load_head(), _passage(folders)
    dialogues = DialogueSet.open(folders.data)
    avatars = read_avatars(folders.stage2 / "avatars", head)
    frames = [passage[k * len(passage) // MOMENTS] for k in range(MOMENTS)]
    pictures = Pictures(dialogues, [(id, side)], torch.full((3,), 0.5))
    recorded = pictures.read([(id, side, frame) for frame in frames])
    label = dialogues.dialogue(id).side(side).motion
    rows = {"real": recorded.colors}
    for row in (STAGE1, STAGE2):
        rows[row] = redrawn(
            load_motion(motion_file(folders, row, id, side), head=head), label, recorded, avatars, head, pictures.background
        )
    return FrameStrip(
        title="Held-out frames",
        rows={name: list((colors.clamp(0, 1) * 255).round().to(torch.uint8).numpy()) for name, colors in rows.items()},
        moments=[f"{frame / 25:.2f} s" for frame in frames],
        caption="Recorded pictures, and one avatar moved by what each stage made of the sound; head pose and camera are the tracker's.",
    )


def _passage(folders: Folders) -> tuple[str, str, range]:
    """Where p, b and m are densest in the held-out clips: dialogue, side, frames."""
    truth, dialogues = Truth.open(folders.data), DialogueSet.open(folders.data)
    best = (-1, "", "", 0, 0)
    for id in dialogues.split(SPLIT):
        frames = dialogues.describe(id).frames
        length = min(PASSAGE, frames)
        for side in PERSONS:
            closures = np.zeros(frames)
            for phone in truth.phones(id, side):
                if phone.symbol in ("P", "B", "M"):
                    closures[min(frames - 1, int(25 * phone.start))] += 1
            counts = np.convolve(closures, np.ones(length), mode="valid")
            best = max(best, (int(counts.max()), id, side, int(counts.argmax()), length))
    _, id, side, start, length = best
    return id, side, range(start, start + length)
