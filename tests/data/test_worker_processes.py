"""Workers end with their parent, and Ctrl-C is theirs only where they heed it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import os, time
from pathlib import Path
from mango.worker_processes import worker_pool

def work(folder):
    import signal
    handled = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    Path(folder, "pid.part").write_text(f"{os.getpid()} {handled}")
    Path(folder, "pid.part").rename(Path(folder, "pid"))
    time.sleep(120)

if __name__ == "__main__":
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    with worker_pool(1, heeds_ctrl_c=sys.argv[2] == "heeds") as pool:
        pool.submit(work, sys.argv[1]).result()
"""


@pytest.mark.parametrize("heeds", ["heeds", "leaves"])
def test_a_worker_ends_when_its_parent_is_killed(tmp_path, heeds):
    """Planted and seen red: workers that go on. They trained on in a run's folder beside those of the next call."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path), heeds], env=env)
    try:
        told = tmp_path / "pid"
        wait_until(told.exists)
        worker, ignores = told.read_text().split()
        assert (ignores == "True") == (heeds == "leaves")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not is_running(int(worker)))


def is_running(process: int) -> bool:
    """A process that ended and that nobody has waited for counts as ended."""
    state = Path(f"/proc/{process}/stat")
    if state.parents[1].is_dir():
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(done, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.05)
