"""Engines of preparation: the same behaviour of all of them, and what a crash, a fault and Ctrl-C leave."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pretended_ray import pretended_ray

from mango.data.preparation import Processes, Ray, TaskError, ThisProcess, carried_out, engine_for
from mango.errors import InputError


@dataclass(frozen=True)
class Note:
    """Writes its name, after some behaviour the first times."""

    folder: Path
    name: str
    behaviour: str = ""
    times: int = 0  # that it behaves so

    def __call__(self) -> str:
        with (self.folder / f"{self.name}.tries").open("a") as tries:
            tries.write("x")
        if (self.folder / f"{self.name}.tries").stat().st_size <= self.times:
            if self.behaviour == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.behaviour == "wrong input":
                raise InputError(self.name, expected="a", found="b", remedy="c")
            if self.behaviour == "waits":
                time.sleep(60)
            raise KeyError(self.behaviour)
        (self.folder / self.name).write_text(self.name)
        return self.name

    def tries(self) -> int:
        return (self.folder / f"{self.name}.tries").stat().st_size


ENGINES = {"this process": ThisProcess, "processes": lambda: Processes(2), "ray": lambda: Ray("local", 2)}


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    if request.param == "ray":
        monkeypatch.setitem(sys.modules, "ray", pretended_ray())
    return ENGINES[request.param]()


def test_what_fails_is_tried_again_and_wrong_input_is_not(tmp_path, engine):
    """Seen red by trying everything again, and by one attempt too few."""
    behaviours = {"good": ("", 0), "flaky": ("odd", 2), "hopeless": ("odd", 9), "wrong": ("wrong input", 9)}
    tasks = [Note(tmp_path, name, *behaviour) for name, behaviour in behaviours.items()]
    outcomes = {tasks[outcome.number].name: outcome for outcome in carried_out(tasks, engine, retries=2)}
    assert {name: outcome.attempts for name, outcome in outcomes.items()} == {"good": 1, "flaky": 3, "hopeless": 3, "wrong": 1}
    assert [tasks[k].tries() for k in range(4)] == [1, 3, 3, 1]
    assert outcomes["good"].value == "good" and outcomes["flaky"].value == "flaky" and outcomes["flaky"].error is None
    assert isinstance(outcomes["hopeless"].error, TaskError) and "KeyError" in outcomes["hopeless"].error.trace
    assert isinstance(outcomes["wrong"].error, InputError) and outcomes["wrong"].error.remedy == "c"


def test_no_tasks_start_nothing(engine):
    assert list(carried_out([], engine, retries=2)) == []


def test_a_process_that_dies_takes_only_its_own_task_along(tmp_path):
    """A film that crashes its decoder must not take the others with it. Seen red with a pool that breaks as a whole."""
    tasks = [Note(tmp_path, f"n{k}", *(("dies", 1) if k == 1 else ("dies", 9) if k == 3 else ("", 0))) for k in range(8)]
    outcomes = {outcome.number: outcome for outcome in carried_out(tasks, Processes(2), retries=1)}
    assert sorted(outcomes) == list(range(8)) and [k for k, outcome in outcomes.items() if outcome.error] == [3]
    assert outcomes[1].attempts == 2 and "SIGKILL" in str(outcomes[3].error)
    assert [tasks[k].tries() for k in range(8)] == [1, 2, 1, 2, 1, 1, 1, 1], "no other was tried again"


def test_leaving_gives_up_what_is_unfinished(tmp_path):
    """Ctrl-C is an error on the way out: no process may stay."""
    engine = Processes(2)
    outcomes = carried_out([Note(tmp_path, "quick"), Note(tmp_path, "slow", "waits", 9)], engine, retries=0)
    assert next(outcomes).value == "quick"
    while not (tmp_path / "slow.tries").exists():
        time.sleep(0.05)
    processes, start = list(engine._processes.values()), time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 5 and not any(process.is_alive() for process in processes)


def test_workers_of_a_killed_caller_end(tmp_path):
    """A caller that was killed alone, by a memory guard, leaves no process behind."""
    program = (
        "import sys; from pathlib import Path; from test_preparation import Note; from mango.data.preparation import *\n"
        "folder = Path(sys.argv[1])\n"
        "if __name__ == '__main__':\n"
        "    engine = Processes(1)\n"
        "    for _ in carried_out([Note(folder, 'one')] , engine, retries=0):\n"
        "        print(*[process.pid for process in engine._processes.values()], flush=True); input()\n"
    )
    (tmp_path / "program.py").write_text(program)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as caller:  # fmt: skip
        worker = int(caller.stdout.readline())
        caller.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and _state(worker) != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists() or _state(worker) == "Z"


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_ray_is_asked_for_as_many_tasks_as_it_has_cpus(tmp_path, monkeypatch):
    """Thousands of tasks handed over at once would all be held in its memory; a machine that is lost is another attempt."""
    ray = pretended_ray(cpus=3, lost=2)
    monkeypatch.setitem(sys.modules, "ray", ray)
    tasks = [Note(tmp_path, f"n{k}") for k in range(20)]
    outcomes = list(carried_out(tasks, engine_for(20, None, "auto"), retries=1))
    assert sorted(outcome.value for outcome in outcomes) == sorted(task.name for task in tasks)
    assert sum(outcome.attempts for outcome in outcomes) == 22
    assert ray.most_at_once == 4 and ray.started_with["address"] == "auto" and ray.is_shut_down


def test_ray_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'mango-heads\[ray\]'"):
        engine_for(3, None, "local")


def test_real_ray(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed (pip install 'mango-heads[ray]')")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where its processes find `Note`
    tasks = [Note(tmp_path, "one"), Note(tmp_path, "two", "dies", 1), Note(tmp_path, "three", "wrong input", 9)]
    outcomes = {tasks[outcome.number].name: outcome for outcome in carried_out(tasks, Ray("local", 2), retries=1)}
    assert outcomes["one"].value == "one" and isinstance(outcomes["three"].error, InputError)
    assert outcomes["two"].value == "two" and outcomes["two"].attempts == 2


def test_engines_by_the_command_line():
    assert isinstance(engine_for(1, None, None), ThisProcess) and isinstance(engine_for(9, 1, None), ThisProcess)
    assert isinstance(engine_for(9, 4, None), Processes) and engine_for(9, 4, None).slots == 4
    assert engine_for(2, 4, None).slots == 2
    with pytest.raises(InputError, match="at least 1"):
        engine_for(3, 0, None)
