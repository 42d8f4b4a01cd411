"""Training scripts in a process where looking for the truth ends everything."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Runs a script as `python script ...` would, in a process where merely looking for the truth ends everything.
GUARDED = """
import os, runpy, sys
def watch(event, arguments):
    if any(".truth" in os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))):
        print("the truth was looked for:", event, arguments, file=sys.stderr, flush=True)
        os._exit(77)
sys.addaudithook(watch)
sys.path.insert(0, os.getcwd())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def guarded(*words: object) -> list[str]:
    """The command that runs a script of the checkout under guard."""
    return [sys.executable, "-c", GUARDED, *map(str, words)]


def run_script(*words: object) -> subprocess.CompletedProcess:
    done = subprocess.run(guarded(*words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done
