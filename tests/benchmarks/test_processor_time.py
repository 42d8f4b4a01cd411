"""What a row cost is known of rows that were killed, too: longer stage one is given as much time as stage two took."""

import json
import signal
import subprocess
import sys
import time

from benchmarks.lifting.training import counting_processor_time

WORKS = """
import sys
from pathlib import Path
from benchmarks.lifting.training import counting_processor_time
with counting_processor_time(Path(sys.argv[1]), every=0.05):
    while True:
        sum(range(1000))
"""


def test_sessions_add_up(tmp_path):
    spent = tmp_path / "cpu_seconds.json"
    for wanted in (0.05, 0.1):
        with counting_processor_time(spent):
            start = time.process_time()
            while time.process_time() - start < 0.05:
                pass
        assert json.loads(spent.read_text()) >= wanted


def test_a_killed_session_counts(tmp_path):
    """Planted and seen red: written at the end alone, as it was when a row's time was taken for a tenth of what it had been."""
    spent = tmp_path / "cpu_seconds.json"
    spent.write_text("100.0")
    session = subprocess.Popen([sys.executable, "-c", WORKS, str(spent)])
    try:
        deadline = time.monotonic() + 60
        while json.loads(spent.read_text()) <= 100.0 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        session.send_signal(signal.SIGKILL)
        session.wait()
    assert json.loads(spent.read_text()) > 100.0
