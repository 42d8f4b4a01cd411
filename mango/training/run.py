"""A run: a folder that says what was trained, how, how it went, and from where it goes on.

    config.yaml  run.json  metrics.jsonl  tb/  checkpoints/

The same command run again resumes. Steps count from 1; the step in every file is the last one that is done.
"""

import json
import math
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mango.config import changed_fields, check_ranges, config_digest, from_plain, load_plain, save_config, to_plain
from mango.data.atomic import alone_in, atomic_file, disk_errors
from mango.data.json_files import read_json, write_json
from mango.errors import InputError
from mango.progress import Progress
from mango.provenance import provenance
from mango.training.checkpoints import (
    clear_leftovers,
    forget_old,
    newest_checkpoint,
    point_to_best,
    read_learner,
    read_state,
    read_tensors,
    write_checkpoint,
)
from mango.training.optim import Learner
from mango.training.runtime import Runtime

MAY_CHANGE = ("steps", "every", "runtime", "run", "keep", "accumulate", "strict")  # fields that may differ when a run goes on
# Paths that may be others, and the fact in run.json that says that what lies there is the same.
MAY_MOVE = {"data": "dataset", "head": "head", "stage1": "stage1", "encoder.path": "encoder"}
RATES = ("lr", "clip")  # and these of any optimizer, for a run that ended in NaN; it is said
STOPPING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what clusters send before they kill
INTERRUPTED = 130  # the exit code of a process that Ctrl-C ended: 128 + the signal's number

Tensors = Mapping[str, Mapping[str, Tensor]]  # of a checkpoint, beside learners: by file name, e.g. "bank"


@dataclass(frozen=True)
class Every:
    """How often, in steps."""

    log: int = 20  # losses
    validate: int = 500  # on what is held out
    save: int = 500  # checkpoints

    def __post_init__(self):
        check_ranges(self, log="[0, inf)", validate="[0, inf)", save="[0, inf)")


@dataclass(frozen=True)
class Restored:
    """Where a run goes on. A fresh run: step 0 and nothing."""

    step: int = 0
    tensors: Tensors = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


class Run:
    """``with Run(folder, config) as run``: see train_stage1.py for the whole of its use."""

    def __init__(self, folder: Path, config: Any, *, facts: Mapping[str, Any] | None = None, keep: int = 2, runtime: Runtime | None = None):
        """``facts`` go to run.json (dataset and head digests, device). ``runtime``: where there may be several processes; one writes."""
        self.folder, self.config, self.keep = Path(folder), config, keep
        self.writes = runtime is None or runtime.is_main
        self.step = 0  # done
        self.last = 0
        self._in_any_process = runtime.any if runtime is not None else bool
        self._check_same = runtime.check_same if runtime is not None else lambda what, value: None
        self._ending = False
        self._saved = -1
        self._interrupted = 0  # by which signal
        self._facts = dict(facts or {})
        self._metrics = self._board = self._progress = None

    # Life ------------------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Run":
        with ExitStack() as held:
            if self.writes:
                held.enter_context(alone_in(self.folder, "training"))
            self._begin()
            self._held = held.pop_all()
        return self

    def _begin(self) -> None:
        self._check_same("dataset", str(self._facts.get("dataset")))
        checkpoint = newest_checkpoint(self.folder / "checkpoints")
        self._check_same("the newest checkpoint", str(checkpoint and checkpoint.name))
        known, record = self.folder / "config.yaml", {"config_digest": config_digest(self.config), **provenance(), **self._facts}
        begun = begun_as(self.folder / "run.json") if (self.folder / "run.json").exists() else None
        if known.exists():
            same = {path for path, fact in MAY_MOVE.items() if begun and begun.get(fact) and begun[fact] == self._facts.get(fact)}
            for said in _check_unchanged(known, self.config, self.folder, moved=same):
                self.say(said)
        if begun is not None:
            self._check_facts(begun)
            record["begun"] = begun
        if self.writes:
            clear_leftovers(self.folder / "checkpoints")
            with atomic_file(known) as partial:
                save_config(self.config, partial)
            write_json(self.folder / "run.json", record)
        self._former_handlers = {number: signal.signal(number, self._interrupt) for number in STOPPING} if _in_main_thread() else {}

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        if self._progress is not None:  # the loop's own end does not come where its body raised
            self._progress.stop()
        with self._held, disk_errors(self.folder):
            for file in (self._metrics, self._board):
                if file is not None:
                    file.close()

    def _check_facts(self, begun: Mapping[str, Any]) -> None:
        """Weights of one head or encoder mean nothing to another; of other dialogues they do, but not the same."""
        for name in ("head", "encoder", "base"):
            before, now = begun.get(name), self._facts.get(name)
            if before != now and None not in (before, now):
                expected = f"{name} {str(before)[:12]}, which this run was begun with"
                remedy = "that run has gone on since" if name == "base" else f"give it that {name}"
                remedy += ": give a new run folder" if name == "base" else ", or choose another --run folder"
                raise InputError(self.folder, expected=expected, found=f"{name} {str(now)[:12]}", remedy=remedy)
        if begun.get("dataset") != self._facts.get("dataset"):
            self.say(f"the data have changed since {self.folder} was begun: it goes on with them as they are now, if it can")

    def restore(self, learners: Sequence[Learner], check: Callable[[Tensors], None] = lambda tensors: None) -> Restored:
        """The newest checkpoint into ``learners``; metrics beyond it are forgotten, for they will be made again.

        ``check``: raises where the checkpoint's tensors do not fit, before any learner is read.
        """
        checkpoint = newest_checkpoint(self.folder / "checkpoints")
        restored = Restored()
        if checkpoint is not None:
            state = read_state(checkpoint)
            tensors = {file.stem: read_tensors(file) for file in sorted(checkpoint.glob("*.safetensors"))}
            check(tensors)
            for learner in learners:
                read_learner(checkpoint, learner)
            restored = Restored(state["step"], tensors, state)
        self.step = restored.step
        if self.writes:
            _truncate_metrics(self.folder / "metrics.jsonl", self.step)
            self._metrics = (self.folder / "metrics.jsonl").open("a")
        return restored

    def steps(self, last: int) -> Iterator[int]:
        """The steps that remain, with a progress bar. Ctrl-C or SIGTERM ends after a whole step; a second one ends at once."""
        with Progress(self.folder.name, "steps", done=self.step, total=last, shown=self.writes) as self._progress:
            for step in range(self.step + 1, last + 1):
                self.last, self._ending = last, step == last
                yield step
                self.step = step
                self._progress.update(step, last)
                if self._saved == step and self.stopping:  # not saved: pressed after the loop asked; one more step, which saves
                    break

    @property
    def stopping(self) -> bool:
        """Save in this step, it is the last: the last there is, or Ctrl-C was pressed. To be asked by all processes at the same moment."""
        agreed = self._in_any_process(bool(self._interrupted))
        if agreed:  # not an assignment of what was asked: Ctrl-C may have been pressed in between
            self._interrupted = self._interrupted or signal.SIGINT
        return self._ending or agreed

    @property
    def exit_code(self) -> int:
        return 128 + self._interrupted if self._interrupted else 0

    def _interrupt(self, number, frame) -> None:
        self._interrupted = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        what = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.say(f"{what}: saving after this step. To go on, run the same command again: {shlex.join(sys.argv)}")

    # During the loop -------------------------------------------------------------------------------------------------------

    def due(self, step: int, every: int) -> bool:
        """Every so many steps, and in the last one; 0 = in the last one only."""
        return step == self.last or (every > 0 and step % every == 0)

    def log(self, step: int, group: str, scalars: Mapping[str, float | Tensor]) -> None:
        """To metrics.jsonl and TensorBoard, as ``group/name``."""
        if not self.writes:
            return
        values = {name: float(value) for name, value in scalars.items()}
        assert self._metrics is not None, "restore() comes before log()"
        with disk_errors(self.folder / "metrics.jsonl"):
            self._metrics.write(json.dumps({"step": step, "group": group, **values}) + "\n")
            self._metrics.flush()
        for name, value in values.items():
            self._tensorboard().add_scalar(f"{group}/{name}", value, step)

    def log_pictures(self, step: int, name: str, pictures: Tensor) -> None:
        """``pictures`` ["pictures 3 rows cols"] in [0, 1] to TensorBoard."""
        if self.writes:
            self._tensorboard().add_images(name, pictures, step)

    def show(self, text: str) -> None:
        """Behind the progress bar, e.g. the current loss."""
        if self._progress is not None:
            self._progress.note(text)

    def say(self, text: str) -> None:
        """One line above the progress bar."""
        if self.writes:
            (self._progress.say(text) if self._progress is not None else print(text, flush=True))

    def note(self, name: str, contents: Mapping[str, Any]) -> None:
        """A JSON file of the run's folder, e.g. what was measured before the first step."""
        if self.writes:
            write_json(self.folder / name, contents)

    def noted(self, name: str) -> Mapping[str, Any]:
        """What `note` wrote, perhaps before the run was killed; empty where it wrote nothing. To be asked by all processes."""
        path = self.folder / name
        contents = read_json(path) if path.exists() else {}
        self._check_same(name, json.dumps(contents))
        return contents

    def save(
        self, step: int, learners: Sequence[Learner], tensors: Tensors | None = None, *, validation: float | None = None, **state: Any
    ) -> None:
        """A checkpoint of ``step`` done. ``tensors``: further files, name -> tensors by key; ``state``: plain values.

        ``validation``: the loss by which the best checkpoint is chosen, where it was measured in this step. That one is kept, too.
        """
        self._saved = step
        if not self.writes:
            return
        folder = self.folder / "checkpoints"
        judged = {} if validation is None or not math.isfinite(validation) else {"validation": validation}
        write_checkpoint(folder, step, learners, tensors or {}, {"config_digest": config_digest(self.config), **judged, **state})
        best = point_to_best(folder)
        forget_old(folder, self.keep, best)
        if self._ending and best is not None and int(best.name) != step:
            self.say(f"validation was better at step {int(best.name)}: {folder / 'best'}")

    def _tensorboard(self):
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(self.folder / "tb", purge_step=self.step + 1, flush_secs=10)
        return self._board


def _check_unchanged(path: Path, config: Any, folder: Path, moved: Collection[str] = ()) -> list[str]:
    """What is to be said: settings that have come since, as they are by default, rates that are others now, and paths, of which ``moved``
    may be others.
    """
    written = load_plain(path)
    before = from_plain(type(config), written, where=str(path))
    changes = changed_fields(to_plain(before), to_plain(config))
    rates = {name: values for name, values in changes.items() if "optimizer" in name and name.split(".")[-1] in RATES}
    forbidden = {name: values for name, values in changes.items() if name.split(".")[0] not in MAY_CHANGE and name not in rates}
    elsewhere = {name: values for name, values in forbidden.items() if name in moved and not _one_place(*values)}
    forbidden = {name: values for name, values in forbidden.items() if name not in moved and not _one_place(*values)}
    ending, end = changes.get("steps", (0, 0))
    if end < ending:
        forbidden["steps"] = ending, end
    if forbidden:
        told = ", ".join(f"{name} was {before!r}, is {after!r}" for name, (before, after) in forbidden.items())
        raise InputError(
            folder,
            expected="the config this run was started with",
            found=told,
            remedy="undo the change or choose another folder for the run",
        )
    said = [f"{folder} goes on with {name} {after!r}, which was {before!r}" for name, (before, after) in (rates | elsewhere).items()]
    if end > ending:
        said.append(f"{folder} goes on to step {end}, not {ending}: learning rates are the longer run's, higher than they had fallen to")
    if came_since := [f"{name} {value!r}" for name, (_, value) in changed_fields(written, to_plain(before)).items()]:
        said.append(f"{folder} was begun before these settings were there; it goes on with {', '.join(came_since)}")
    return said


def _one_place(before: Any, after: Any) -> bool:
    """Whether two texts are one path, told from the root or from here."""
    return isinstance(before, str) and isinstance(after, str) and Path(before).resolve() == Path(after).resolve()


def begun_as(record: Path) -> Mapping[str, Any]:
    """What the run's record says of its beginning."""
    written = read_json(record)
    return written.get("begun", written)


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop what a killed process logged after its last checkpoint, and a line it did not finish."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    with atomic_file(path) as partial:
        partial.write_text("".join(kept))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()  # only there may signals be handled
