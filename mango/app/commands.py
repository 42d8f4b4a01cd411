"""The commands of `mango`, one function each. Signatures are the options; everything heavy is imported when the command runs."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mango.data.atomic import check_place
from mango.errors import InputError
from mango.progress import progress_bar

Repeated = tyro.conf.UseAppendAction
Positional = tyro.conf.Positional


def demo(out: Path = Path("runs/demo"), seed: int = 0) -> int | None:
    """Train, generate, render and report on synthetic dialogues.

    Args:
        out: the folder for data, runs, video and report; run again to continue
        seed: decides the people, the conversations and all training
    """
    from mango.app.demo import main

    return main(out=out, seed=seed)


def validate(data: Positional[Path], /, head: str | None = None) -> int:
    """Check a dialogue set.

    Args:
        data: the folder with dataset.json
        head: also check that the set belongs to this head ("builtin" or a file)
    """
    from mango.data.validation import problems
    from mango.head.model import load_head

    if not data.is_dir():
        found = "a file" if data.exists() else "no such folder"
        raise InputError(data, expected="a dialogue set", found=found, remedy="give the folder with dataset.json")
    found = problems(data, head=load_head(head) if head else None)
    for problem in found:
        print(problem)
    print(f"{data}: {len(found)} problem{'s' if len(found) != 1 else ''}" if found else f"{data}: no problems")
    return 1 if found else 0


def import_data(
    source: Positional[Path],
    out: Positional[Path],
    /,
    format: str = "auto",
    head: str = "builtin",
    source_head: str | None = None,
    flame_version: Literal["2020", "2023", "2023-open"] | None = None,
    fps: float | None = None,
    camera: str | None = None,
    licence: str = "unknown",
    hold_out: float | None = None,
    without_motion: bool = False,
    anyway: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    retries: int = 1,
) -> None:
    """Recordings in other people's formats as a dialogue set (docs/formats.md lists the formats). The same command again goes on.

    What was imported and did not change is kept, what changed or failed is imported again.

    Args:
        source: a file or folder
        out: the set; a new one grows in OUT.importing and appears when it is whole
        format: its name, or "auto" to go by what is in the source
        head: whose motion the set holds: "builtin", or a FLAME file
        source_head: the head that the source's motion is of, where --head is another: motion is retargeted, and what that loses is said
            (without, FLAME coefficients are --head's own, and ARKit weights go by name, or have the built-in head's shapes)
        flame_version: which FLAME the coefficients and their head file are of, where they cannot say
        fps: frames a second of the motion, where the source cannot say or is wrong
        camera: of sources with several cameras, the one whose pictures are wanted, by its id (without, the most frontal one)
        licence: of the recordings, written to every dialogue
        hold_out: share of the dialogues of "train" and "val" that "val" shall hold, e.g. 0.1, what the source has there included; people in
            no other dialogue go first
        without_motion: sound and pictures alone
        anyway: import although numbers contradict their conventions
        overwrite: replace a set that is there by a new one, when that is whole
        strict: stop at a recording that fails, instead of leaving it out and naming it
        workers: processes (without, one for each core)
        ray: instead of processes: "auto" for the Ray cluster that is there, "local" to start one, or its address
        retries: how often a recording whose process was lost is tried again
    """
    from mango.app.importing import import_source
    from mango.data.formats.recordings import Options

    options = Options(fps=fps, flame_version=flame_version, camera=camera)
    with progress_bar("importing", "recordings") as progress:
        import_source(
            source, out, format=format, head=head, source_head=source_head, options=options, without_motion=without_motion, anyway=anyway,
            overwrite=overwrite, strict=strict, workers=workers, ray=ray, retries=retries, licence=licence, progress=progress,
            hold_out=hold_out,
        )  # fmt: skip


def inspect(
    path: Positional[Path],
    /,
    format: str = "auto",
    sheet: Path | None = None,
    head: str = "builtin",
    flame_version: Literal["2020", "2023", "2023-open"] | None = None,
    fps: float | None = None,
    camera: str | None = None,
) -> None:
    """What a file or folder is.

    Args:
        path: anything
        format: the name of a format, or "auto" to go by what is in it
        sheet: also draw a contact sheet here (.png)
        head: the head that is drawn: "builtin", or a FLAME file for FLAME coefficients
        flame_version: which FLAME the coefficients are of, where the source cannot say
        fps: frames a second of the motion, where the source cannot say or is wrong
        camera: of sources with several cameras, the one whose pictures are wanted, by its id (without, the most frontal one)
    """
    from mango.app.importing import inspect_source
    from mango.data.formats.recordings import Options

    options = Options(fps=fps, flame_version=flame_version, camera=camera)
    inspect_source(path, format=format, options=options, head=head, sheet=sheet)


def get_assets(
    name: Positional[Annotated[Literal["mediapipe"], tyro.conf.arg(metavar="{mediapipe}")]],
    /,
    folder: Path | None = None,
    wheel: Path | None = None,
) -> None:
    """Put networks where `mango track` finds them.

    Args:
        name: MediaPipe's face networks (Apache-2.0), out of its Python wheel, which pip downloads (36 MB)
        folder: where to (without, mango/mediapipe in the user's cache)
        wheel: a wheel of MediaPipe 0.10.14 to 0.10.21 that is here already
    """
    from mango.app.tracking import get_assets

    get_assets(name, folder, wheel)


def track(
    films: Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILM [FILM]", help_behavior_hint="(required)")]],
    /,
    out: Path,
    person: Repeated[tuple[str, ...]] = (),
    landmarks: Repeated[tuple[Path, ...]] = (),
    box: Repeated[tuple[str, ...]] = (),
    size: int = 512,
    head: str = "builtin",
    detector: Literal["auto", "mediapipe", "builtin"] = "auto",
    models: Path | None = None,
    split: Literal["left-right", "top-bottom"] | None = None,
    voices: Literal["left-right", "mixed"] | None = None,
    voice: Repeated[tuple[Path, ...]] = (),
    licence: str = "unknown",
) -> None:
    """Track the face of a film, or both of a conversation: of two cameras, or on a split screen. The same command again goes on.

    Args:
        films: one film, or two that start at the same moment
        out: the dialogue set
        person: a name for each person (without, the film's name); on a split screen the left or upper one first
        landmarks: instead of MediaPipe's networks a file for each film of another detector's points: .npy or .npz of (frames, 68 or
            468, 2) pixels at 25 frames a second
        box: x,y,width,height in pixels of the first picture: which face, where there are several; for two films one of each
        size: pixels of the square film about the head that is written; smaller heads are not enlarged. Stage two wants films of one size
        head: the head that is fitted
        detector: what finds faces: MediaPipe's networks; "builtin": filters of this package, less exact; "auto": the
            networks where they are, else the filters, and says so
        models: the folder of MediaPipe's networks (without, where `mango assets get mediapipe` puts them); they make mattes, too
        split: the film shows both people, side by side or one above the other: its halves become a dialogue
        voices: of a split screen's sound: "left-right", each channel is a person; "mixed", both get all of it (without, channels that
            differ are taken for people, anything else is refused)
        voice: instead of the film's sound a file for each person, which starts with the pictures
        licence: of the films, written to the dialogue
    """
    from mango.app.tracking import told_on_the_console, track_films

    with told_on_the_console() as told:
        track_films(
            films, out, names=person, head=head, detector=detector, models=models, landmarks=landmarks, box=box, split=split, voices=voices,
            voice=voice, size_px=size, licence=licence, told=told,
        )  # fmt: skip


def generate(
    own: Path,
    checkpoint: Path,
    out: Path,
    partner: Path | None = None,
    avatar: Repeated[tuple[Path, ...]] = (),
    adapter: Repeated[tuple[Path, ...]] = (),
    seed: int = 0,
    steps: int = 20,
    sampler: Literal["ddim", "dpm++", "ddpm"] = "ddim",
    guidance_own: float = 1.0,
    guidance_heard: float = 1.0,
    threshold: float | None = None,
    eta: float = 0.0,
    pad: bool = False,
    head: str = "builtin",
) -> None:
    """Motion of both people from their voices.

    Args:
        own: voice of person a (wav, flac, ogg, mp3 or m4a); or, without --partner, a stereo file: channel 0 is a, channel 1 is b
        checkpoint: a training run or one of its checkpoints
        out: folder for {a,b}.motion.npz, {a,b}.wav and generation.json
        partner: voice of person b
        avatar: whose heads move; give it twice, person a first (without, nobody in particular)
        adapter: of mango finetune: who moves; give it twice, person a first, "none" for nobody in particular
        seed: another seed is another performance of the same voices
        steps: evaluations of the model per window; more is finer and slower
        sampler: how noise becomes motion
        guidance_own: above 1 exaggerates what a person's own voice does
        guidance_heard: above 1 exaggerates reactions to the other
        threshold: clip predictions beyond this quantile of a window's motion, e.g. 0.995: tames strong guidance
        eta: ddim only: share of fresh noise at every step, up to 1
        pad: fill the shorter voice with silence instead of refusing
        head: "builtin" or the head file the model was trained with
    """
    from mango.inference.generation import GenerationConfig
    from mango.inference.recordings import generate_from_files

    if len(avatar) not in (0, 2):
        remedy = "give --avatar twice, first person a's, or not at all"
        raise InputError("--avatar", expected="two avatars or none", found=str(len(avatar)), remedy=remedy)
    if len(adapter) not in (0, 2):
        remedy = 'give --adapter twice, first person a\'s ("none" for no adapter), or not at all'
        raise InputError("--adapter", expected="two adapters or none", found=str(len(adapter)), remedy=remedy)
    guidance = {"own": guidance_own, "heard": guidance_heard}
    config = GenerationConfig(seed=seed, steps=steps, sampler=sampler, eta=eta, guidance=guidance, threshold=threshold)
    adapters = [None if str(path) == "none" else path for path in adapter]
    with progress_bar("generating", "frames") as progress:
        said = generate_from_files(
            own, partner, checkpoint, out, config, pad=pad, head=head, avatars=avatar, adapters=adapters, progress=progress
        )
    for line in said:
        print(line)
    where = shlex.quote(str(out))
    print(f"wrote {where}; next: mango render --motion {where} --avatar A --avatar B --out dialogue.mp4")


def render(
    motion: Path,
    avatar: Repeated[tuple[Path, ...]],
    out: Path,
    view: Literal["side-by-side", "single", "two-shot", "grid"] = "side-by-side",
    person: Literal["a", "b"] | None = None,
    size: int = 256,
    fps: float | None = None,
    background: str = "#e6e8eb",
    names: tuple[str, str] | None = None,
    font: Path | None = None,
    sound: Literal["stereo", "mixed", "a", "b", "none"] | None = None,
    head: str = "builtin",
    source_head: str | None = None,
) -> None:
    """A film of generated motion.

    Args:
        motion: folder that `mango generate` wrote, or a dialogue of a set (DIR/dialogues/ID)
        avatar: give it twice, person a (left) first: avatar.safetensors of a run, a LAM avatar (.zip), or one of
            GaussianAvatars (point_cloud.ply, with flame_param.npz beside it); the single view needs its person's alone
        out: .mp4; with transparency .mov (ProRes 4444), .webm (VP9), or a folder of PNG files (a name without suffix)
        view: side-by-side; single: one person; two-shot: both in one space, cut on turns; grid: side by side above each one's sound
        person: whom the single view shows (default: a)
        size: pixels a side of each person's picture; the height of the two-shot, which is 16:9
        fps: frames a second, e.g. 25, 30, 50, 60; motion is interpolated (default: the motion's own)
        background: a colour (white, "#202830"), a picture file, or transparent
        names: of a and b, written below their chins and solid while they speak
        font: a .ttf or .otf file to write them in, for letters beyond A to Z
        sound: stereo: a left, b right; mixed; a or b alone; none (default: stereo, where there are a.wav and b.wav)
        head: "builtin" or the head file of the avatars
        source_head: the head that the motion is of, where it is another: it is retargeted, and what that loses is said
    """
    from mango.inference.rendering import RenderConfig, render_motion_folder

    check_place(out, folder=not out.suffix)
    config = RenderConfig(view, person, size, fps, background, names, sound, font)
    with progress_bar("rendering", "frames") as progress:
        speed = render_motion_folder(motion, avatar, out, config, head=head, source_head=source_head, progress=progress, told=print)
    print(f"wrote {out}: {speed.drawing:.2f} s of drawing a second of film, {speed.drawing_and_encoding:.2f} s with encoding")


def export(
    motion: Positional[Path],
    out: Positional[Path],
    /,
    format: Literal["vhap", "dualtalk", "livelink-csv", "lam-json", "glb", "obj", "head-csv"],
    head: str = "builtin",
    overwrite: bool = False,
) -> None:
    """One person's motion in another program's format (docs/formats.md says what each loses).

    Args:
        motion: NAME.motion.npz, as `mango generate` writes it and dialogue sets hold it
        out: the new file, or for obj the new folder
        format: vhap and dualtalk take motion of a FLAME head, livelink-csv and lam-json of the built-in head, the others any
        head: "builtin" or the head file of the motion
        overwrite: replace what is there
    """
    from mango.app.exporting import export_motion

    export_motion(motion, out, format=format, head=head, overwrite=overwrite)


def evaluate(
    data: Path,
    checkpoint: Repeated[tuple[Path, ...]] = (),
    adapter: Repeated[tuple[Path, ...]] = (),
    predictions: Repeated[tuple[Path, ...]] = (),
    split: str = "test",
    protocol: Literal["native", "dualtalk-official", "dualtalk-corrected"] = "native",
    json: Path | None = None,
    markdown: Path | None = None,
    against: Literal["truth", "labels"] | None = None,
    complete: bool = False,
    controls: bool = False,
    baselines: bool = False,
    seed: int = 0,
    steps: int = 20,
    sampler: Literal["ddim", "dpm++", "ddpm"] = "ddim",
    guidance_own: float = 1.0,
    guidance_heard: float = 1.0,
    threshold: float | None = None,
    eta: float = 0.0,
    head: str = "builtin",
) -> None:
    """Numbers against the truth: of a checkpoint, or of anybody's predictions. docs/evaluation.md says what each means.

    Args:
        data: a dialogue set; or, for --predictions with a dualtalk protocol, a folder of DualTalk's <name>_speaker{1,2}.npz
        checkpoint: a training run or one of its checkpoints; give it again for more rows
        adapter: of mango finetune, worn by the person of the set that it is of, on their sides alone; give it again for more people
        predictions: a folder of <dialogue>.<a|b>.motion.npz, or of DualTalk's <name>_speaker{1,2}.npy; give it again for more rows
        split: which dialogues
        protocol: native: vertices, lips, eyes, synchrony, parameters; dualtalk-official: as DualTalk's script; dualtalk-corrected: as meant
        json: also write the numbers here, with units, counts, intervals and what made them
        markdown: also write the table here
        against: what counts as true (by default the truth of a synthetic set; without one, dualtalk protocols take the labels)
        complete: refuse when somebody in the data has no prediction
        controls: add rows whose values are known, or must be worse: the truth, a still face, late by five frames, the partner's motion
        baselines: add rows that learn nothing: the mean motion of the set's split "train", and its most similar second, copied
        seed: of the generated motion and of diversity
        steps: evaluations of the model per window
        sampler: how noise becomes motion
        guidance_own: above 1 exaggerates what a person's own voice does
        guidance_heard: above 1 exaggerates reactions to the other
        threshold: clip predictions beyond this quantile of a window's motion, e.g. 0.995: tames strong guidance
        eta: ddim only: share of fresh noise at every step, up to 1
        head: "builtin" or the head file of the set
    """
    if bool(checkpoint) == bool(predictions):
        found = "both" if checkpoint else "neither"
        raise InputError("evaluate", expected="--checkpoint or --predictions", found=found, remedy="give one of them, as often as you like")
    if adapter and not checkpoint:
        remedy = "give the run that the adapter was fine-tuned from"
        raise InputError("--adapter", expected="a --checkpoint that wears it", found="none", remedy=remedy)
    if json is not None and markdown is not None and json.resolve() == markdown.resolve():
        raise InputError("--markdown", expected="another file than --json's", found=str(markdown), remedy="give it a name of its own")
    from mango.evaluation.report import check_replaceable, show, write_json, write_markdown

    for file in (json, markdown):
        if file is not None:
            check_replaceable(file)
    own_format = (data / "dataset.json").exists() or checkpoint or protocol == "native"
    if against is not None and not own_format:
        remedy = "leave it out: DualTalk's files hold one motion, their tracker's"
        raise InputError("--against", expected="a dialogue set", found="DualTalk's files", remedy=remedy)
    if baselines and not own_format:
        remedy = "leave it out: they are made from the voices and labels of a set's training split"
        raise InputError("--baselines", expected="a dialogue set", found="DualTalk's files", remedy=remedy)
    with progress_bar("evaluating", "dialogues" if own_format else "sequences") as progress:
        more = {"complete": complete, "controls": controls, "progress": progress}
        if own_format:
            from mango.evaluation.dialogue_sets import evaluate_dialogues
            from mango.inference.generation import GenerationConfig

            guidance = {"own": guidance_own, "heard": guidance_heard}
            config = GenerationConfig(seed=seed, steps=steps, sampler=sampler, eta=eta, guidance=guidance, threshold=threshold)
            systems = {"checkpoints": checkpoint, "adapters": adapter, "predictions": predictions}
            more |= {"against": against, "baselines": baselines, "head": head}
            evaluation = evaluate_dialogues(data, split, protocol, config, **systems, **more)
        else:
            from mango.evaluation.dualtalk import evaluate_predictions

            evaluation = evaluate_predictions(predictions, data, split, protocol, seed=seed, **more)
    from mango.training.adapter_files import unworn

    show(evaluation)
    if not adapter:
        for line in filter(None, map(unworn, checkpoint)):
            print(line)
    if json is not None:
        write_json(json, evaluation)
    if markdown is not None:
        write_markdown(markdown, evaluation)


def doctor() -> int:
    from mango.app.doctor import main

    return main()
