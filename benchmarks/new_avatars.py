"""python -m benchmarks.new_avatars [--known 40] [--size 256] [--film 1 10 60] [--work 15 60 300] [--out DIR] [--to docs/results.md]

How good an unseen person's avatar is after so many seconds of work, from so many seconds of film: begun among the avatars of known people
(`mango.training.avatar_prior`, as `mango finetune` does) and begun from nothing. Made-up people with a tracker's errors; the steps are
those of fine-tuning's avatar. Judged by the end of the film, which nothing was learnt from, as it was filmed and from where nobody stood;
and by whether another person's motion tears holes. Work is processor time of one thread; both beginnings take the same number of steps,
as many as the time allows.

Everything is resumable: the same command goes on where it stopped. Rows of other code are refused; what they were measured on is not
touched.
"""

import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d

import train_stage1
import train_stage2
from benchmarks.code_digests import MAKING_DATA, code_digest
from benchmarks.command import check_some, run
from benchmarks.page import commit_and_machine, typed, write_between
from mango.app.tracking import part_of
from mango.config import check_ranges
from mango.data.dialogues import DialogueSet, create_dialogue_set, write_dialogue
from mango.data.json_files import read_json, write_json
from mango.data.pictures import PictureBatch
from mango.data.synthetic.people import TruePerson
from mango.data.synthetic.pictures import Shooting
from mango.data.synthetic.synthesize import SynthesisConfig, person_name, synthesize
from mango.data.truth import Truth
from mango.errors import InputError
from mango.evaluation.picture_metrics import psnr
from mango.head.model import load_head
from mango.models.motion import MotionModelConfig
from mango.training.alternation import Phase, Schedule
from mango.training.avatars import posed
from mango.training.camera_refinement import CameraRefinement
from mango.training.finetune import FinetuneConfig, films_of, stage2_config
from mango.training.label_bank import LabelBank
from mango.training.run import Every
from mango.training.runtime import Runtime, RuntimeConfig
from mango.training.stage1 import Stage1Config
from mango.training.stage2 import placed, registered, rendered, teach_head
from mango.training.stage2_config import CalibrationConfig, SharpeningConfig, Stage2Config
from mango.training.studio import Learners, Studio, open_studio
from mango.types import FRAME_RATE, Dialogue
from renderer import draw
from renderer.head import AvatarConfig
from renderer.mesh import rasterize_mesh
from renderer.types import Camera

BEGINNINGS = {"prior": "among known people", "scratch": "from nothing"}
ONE_THREAD = RuntimeConfig(device="cpu", threads=1)
HELD_OUT = 6.0  # seconds at the end of each film
SHORT = (1.6, 2.0)  # seconds of a known person's films
END = "-end"  # of the names of what is held out
STRANGER = "stranger-"  # before the names of people
RIM = 2  # pixels along a face's edge, which is soft
OPAQUE = 0.95  # what alpha inside a face must reach
ASIDE = 15.0  # degrees, to either side of where the camera stood
WRITING = ("benchmarks/page.py", "benchmarks/command.py")  # changes no figure


@dataclass(frozen=True)
class Options:
    known: int = 40  # people
    strangers: int = 2  # people
    size: int = 256  # pixels
    gaussians: int = 10_000
    pictures: int = 450  # that each known person's avatar learns from
    film: tuple[float, ...] = (1.0, 10.0, 60.0)  # seconds
    work: tuple[float, ...] = (15.0, 60.0, 300.0)  # seconds of processor time
    seed: int = 1
    out: Path = Path("runs/new_avatars")
    to: Path | None = None  # also write the table here, as Markdown


def main(options: Options) -> int:
    torch.set_num_threads(1)
    check_some(options, "film", "work")
    check_ranges(options, known="[2, inf)", strangers="[1, inf)", film="(0, inf)", work="(0, inf)")
    results = options.out / "results.json"
    asked = {name: value for name, value in asdict(options).items() if name in ("known", "size", "gaussians", "pictures", "seed")}
    asked |= {"aside": ASIDE, "code": code_digest("benchmarks/new_avatars.py", without=MAKING_DATA + WRITING)}
    done = read_json(results) if results.is_file() else {"options": asked, "rows": []}
    if done["options"] != asked:
        raise InputError(results, expected=f"results for {asked}", found=str(done["options"]), remedy="choose another --out")
    known, people = known_people(options), [stranger(person_name(number)) for number in range(options.strangers)]
    for film in options.film:
        data, step_seconds = films_of_strangers(options, film), {}
        for person in people:
            for work in options.work:
                both = {"film": film, "person": person, "work": work}
                for beginning in BEGINNINGS:
                    key = both | {"begun": beginning}
                    if any(key.items() <= row.items() for row in done["rows"]):
                        continue
                    steps = next((row["steps"] for row in done["rows"] if both.items() <= row.items()), None)  # of the other beginning
                    if steps is None:
                        step_seconds[person] = step_seconds.get(person) or seconds_of_a_step(options, data, known, person)
                        steps = max(2, round(work / step_seconds[person]))
                    row = key | {"by": commit_and_machine()} | learnt(options, data, known, person, beginning, steps)
                    done["rows"].append(row)
                    write_json(results, done)
                    print(
                        ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items())
                    )
    wanted = lambda row: row["film"] in options.film and row["work"] in options.work and row["person"] in people  # noqa: E731
    text = page(options, [row for row in done["rows"] if wanted(row)])
    print(text)
    if options.to is not None:
        write_between(options.to, "benchmarks.new_avatars", text)
    return 0


# People who are known -------------------------------------------------------------------------------------------------------


def known_people(options: Options) -> Path:
    """A run of stage two in which everybody's avatar learnt to look like them; nobody learnt to move."""
    data, stage1, stage2 = (options.out / name for name in ("known", "stage1", "stage2"))
    shooting = Shooting(size_px=options.size)
    synthesize(data, SynthesisConfig(options.known, options.known, 1, 0, seconds=SHORT, seed=options.seed, shooting=shooting))
    frames, context = round(SHORT[0] * FRAME_RATE) // 2, 4
    train_stage1.main(
        Stage1Config(
            data=data, run=stage1, steps=1, batch=2, frames=frames, context=context,
            model=MotionModelConfig(width=32, depth=1, heads=2, mlp_ratio=2, interaction_depth=1), runtime=ONE_THREAD,
        )
    )  # fmt: skip
    each, at_once = 1, 8
    steps = options.pictures * options.known // (each * at_once)
    done = train_stage2.main(
        Stage2Config(
            data=data, stage1=stage1, run=stage2, seed=options.seed, steps=steps, windows=at_once, pictures=each, validation_split=None,
            schedule=Schedule((Phase("head", steps),), (Phase("head", 1),)), avatar=AvatarConfig(num_gaussians=options.gaussians),
            calibration=CalibrationConfig(gains=()), sharpening=SharpeningConfig(at=()), every=Every(log=20, validate=0, save=200),
            runtime=ONE_THREAD,
        )
    )  # fmt: skip
    if done:
        raise SystemExit(done)
    return stage2


# A stranger's avatar --------------------------------------------------------------------------------------------------------


def films_of_strangers(options: Options, seconds: float) -> Path:
    """Sets with that much to learn from, and with the same end of the film held out."""
    whole, longest = options.out / "strangers", max(options.film)
    shooting = Shooting(size_px=options.size)
    count = max(2, options.strangers)
    made = SynthesisConfig(
        count, (options.strangers + 1) // 2, 0, 0, seconds=(longest + HELD_OUT,) * 2, seed=options.seed + 1, shooting=shooting
    )
    dialogues = synthesize(whole, made)
    root = options.out / f"strangers-{seconds:g}s"
    if not root.exists():
        growing = root.with_suffix(".part")
        shutil.rmtree(growing, ignore_errors=True)
        parts = {"train": [], "val": []}
        for id in dialogues.split("train"):
            dialogue, cut = renamed(dialogues.dialogue(id)), round(longest * FRAME_RATE)
            parts["train"].append(part_of(dialogue, id, cut - round(seconds * FRAME_RATE), cut, options.out))
            parts["val"].append(part_of(dialogue, f"{id}{END}", cut, dialogue.frames, options.out))
        splits = {split: [part.id for part in some] for split, some in parts.items()}
        people = [side.person for part in parts["train"] for side in part.sides.values()]
        create_dialogue_set(growing, load_head(), people, {**splits, "share_people": True})
        for part in (*parts["train"], *parts["val"]):
            write_dialogue(growing, part, source="synthetic", licence="CC0-1.0", created_by="benchmarks.new_avatars", move_videos=True)
        growing.rename(root)
    return root


def stranger(name: str) -> str:
    """Made-up people of all sets have the same names, and a known name is a known person."""
    return f"{STRANGER}{name}"


def renamed(dialogue: Dialogue) -> Dialogue:
    return replace(dialogue, sides={side: replace(content, person=stranger(content.person)) for side, content in dialogue.sides.items()})


def opened(options: Options, data: Path, known: Path, person: str, beginning: str, steps: int) -> tuple[Studio, Learners]:
    """As `mango finetune` opens it, but that windows fit into a second of film."""
    asked = FinetuneConfig(data, person, known, options.out / "unused", head_steps=steps, cycles=0, seed=options.seed)
    config = stage2_config(asked, films_of(asked))
    config = replace(config, runtime=ONE_THREAD, avatar=AvatarConfig(num_gaussians=options.gaussians))
    return open_studio(replace(config, avatars=config.avatars if beginning == "prior" else None), Runtime(ONE_THREAD))


def seconds_of_a_step(options: Options, data: Path, known: Path, person: str) -> float:
    """Processor time, after one step that warms up."""
    studio, learners = opened(options, data, known, person, "prior", steps=4)
    for step in (1, 2, 3, 4):
        if step == 2:
            begun = time.process_time()
        teach_head(studio, learners, studio.lessons.at(step), step)
    return (time.process_time() - begun) / 3


def learnt(options: Options, data: Path, known: Path, person: str, beginning: str, steps: int) -> dict[str, float]:
    studio, learners = opened(options, data, known, person, beginning, steps)
    begun = time.process_time()
    for step in range(1, steps + 1):
        teach_head(studio, learners, studio.lessons.at(step), step)
    spent = time.process_time() - begun
    with torch.no_grad():
        seen = replace(learners, cameras=replace(learners.cameras, model=camera_until_the_end(learners.cameras.model)))
        end = end_of_the_film(studio, person, every=10)
        aside = [from_aside(options, end, studio.background, degrees) for degrees in (-ASIDE, ASIDE)]
        return {
            "steps": steps,
            "seconds": spent,
            "psnr": fidelity(studio, seen, end),
            "psnr_aside": sum(fidelity(studio, seen, recorded) for recorded in aside) / len(aside),
            **torn(studio, seen, person),
        }


def camera_until_the_end(learnt: CameraRefinement) -> CameraRefinement:
    """A film has one camera: its end, which nothing was learnt from, is seen by what its beginning taught."""
    of_the_end = CameraRefinement(end_of(clip) for clip in learnt.twists)
    for clip, twist in learnt.twists.items():
        of_the_end.twists[end_of(clip)] = twist
    return of_the_end


def end_of(clip: str) -> str:
    dialogue, _, side = clip.rpartition("/")
    return f"{dialogue}{END}/{side}"


def fidelity(studio: Studio, learners: Learners, recorded: PictureBatch) -> float:
    """dB over whole pictures, what is not the person replaced by grey.

    They move as tracked, but for the turn of the head: a tracker's is a pixel off, and is laid onto the pictures as in training.
    """
    necks = {shot[:2]: studio.placed[shot[:2]].neck_pose for shot in recorded.shots}
    examined = replace(learners, bank=LabelBank({}, {}, learners.bank.held, necks))
    tracked = torch.cat([studio.head.layout.pack(clip) for clip in placed(studio, recorded)])
    drawing = rendered(studio, learners, registered(studio, examined, tracked, recorded, studio.config.registration.of_one_look), recorded)
    return float(psnr(drawing.colors.clamp(0, 1), recorded.colors).mean())


@torch.no_grad()
def from_aside(options: Options, end: PictureBatch, background: Float[Tensor, "3"], degrees: float) -> PictureBatch:
    """The same frames of the true person, without noise and wall, from a camera that went about the upright axis of the head."""
    shots, colors, mattes, moved = end.shots, [], [], []
    (id, side, _), *_ = shots
    head, truth = load_head(), Truth.open(options.out / "strangers")
    person = TruePerson.load(truth.person_folder(end.persons[0].removeprefix(STRANGER)) / "person.safetensors")
    film, first = id.removesuffix(END), round(max(options.film) * FRAME_RATE)
    motion, camera = truth.motion(film, side), truth.camera(film, side)
    rows, cols = end.size
    for picture, (_, _, frame) in enumerate(shots):
        clip = motion.frames(slice(first + frame, first + frame + 1))
        vertices = person.vertices(head, clip)
        about = gone_about(vertices.mean((0, 1)), degrees)
        drawn = draw(person.gaussians(vertices), Camera(camera.camera_from_world[0] @ about, camera.intrinsics, cols, rows))
        colors.append((drawn.colors + (1 - drawn.alphas) * background)[0].clamp(0, 1))
        mattes.append(drawn.alphas[0])
        moved.append(end.camera_from_world[picture] @ about)
    nowhere = torch.full_like(end.landmarks, -1e3)  # nobody tracked it from there, and no part of the face counts for more
    return replace(end, colors=torch.stack(colors), mattes=torch.stack(mattes), camera_from_world=torch.stack(moved), landmarks=nowhere)


def gone_about(centre: Float[Tensor, "3"], degrees: float) -> Float[Tensor, "4 4"]:
    """What stands before a camera's own transform when it has gone about the upright axis through ``centre`` of the world."""
    about = torch.eye(4)
    about[:3, :3] = roma.rotvec_to_rotmat(torch.tensor([0.0, math.radians(degrees), 0.0]))
    about[:3, 3] = centre - about[:3, :3] @ centre
    return about


def torn(studio: Studio, learners: Learners, person: str) -> dict[str, float]:
    """Driven by another person's motion: the share of the face's pixels that something shines through, and the least alpha of one."""
    recorded, head = end_of_the_film(studio, person, every=25), studio.head
    others = DialogueSet.open(studio.config.data).dialogue(recorded.shots[0][0])
    other = next(side for side in others.sides.values() if side.person != person).motion
    motion = head.layout.pack(other)[[shot[2] for shot in recorded.shots]]
    alphas = rendered(studio, learners, motion, recorded).alphas[..., 0]
    vertices = posed(head, learners.avatars, recorded.persons, motion, placed(studio, recorded))
    rows, cols = recorded.size
    camera = Camera(learners.cameras.model(recorded.clips, recorded.camera_from_world), recorded.intrinsics, cols, rows)
    seen = rasterize_mesh(vertices, head.faces, camera).triangles
    skin = torch.isin(head.faces, head.region("face")).all(-1)
    face = (seen >= 0) & skin[seen.clamp_min(0)]
    inside = alphas[~max_pool2d((~face).float()[:, None], 2 * RIM + 1, 1, RIM)[:, 0].bool()]
    return {"torn": float((inside < OPAQUE).float().mean()), "least_alpha": float(inside.min())}


def end_of_the_film(studio: Studio, person: str, every: int) -> PictureBatch:
    id, side = next(clip for clip, shown in studio.people.items() if shown == person and clip[0].endswith(END))
    return studio.examination.pictures.read([(id, side, frame) for frame in range(0, len(studio.placed[id, side]), every)])


# The page -------------------------------------------------------------------------------------------------------------------


def page(options: Options, rows: list[dict]) -> str:
    """Means over people."""

    def mean(name: str, **of: object) -> float:
        found = [row[name] for row in rows if of.items() <= row.items()]
        return sum(found) / len(found)

    made_by = "; ".join(sorted({row.get("by", "an earlier commit") for row in rows}))
    lines = [
        "## Avatars of unseen people",
        "",
        f"`{typed('benchmarks.new_avatars', options)}`, {made_by}, one thread.",
        "",
        f"PSNR (dB) of {HELD_OUT:g} s that nothing was learnt from, as filmed and from {ASIDE:g} degrees aside; made-up people "
        f"({options.strangers}) as a faulty tracker sees them, heads turned as the pictures say; begun among {options.known} known people "
        "or from nothing, with the same number of steps.",
        "",
        "| film, s | work, s | steps | among known people | from nothing | difference | aside, among known people | aside, from nothing |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for film in options.film:
        for work in options.work:
            at = {"film": film, "work": work}
            known, nothing = (mean("psnr", **at, begun=beginning) for beginning in BEGINNINGS)
            aside = " | ".join(f"{mean('psnr_aside', **at, begun=beginning):.1f}" for beginning in BEGINNINGS)
            steps = mean("steps", **at)
            lines.append(f"| {film:g} | {work:g} | {steps:.0f} | {known:.1f} | {nothing:.1f} | {known - nothing:+.1f} | {aside} |")
    begun = [row for row in rows if row["begun"] == "prior"]
    most = [row for row in begun if row["film"] == max(options.film) and row["work"] == max(options.work)]
    return "\n".join(
        [
            *lines,
            "",
            f"Begun among known people and driven by another person's motion, after the most work on the most film {torn_share(most)}; "
            f"in the worst row of all {torn_share(begun)}.",
        ]
    )


def torn_share(rows: list[dict]) -> str:
    """Of the worst of them."""
    share, least = max(row["torn"] for row in rows), min(row["least_alpha"] for row in rows)
    return f"{100 * share:.3f} % of the face's pixels have an alpha below {OPAQUE:g} (the least is {least:.3f})"


if __name__ == "__main__":
    run(main, Options)
