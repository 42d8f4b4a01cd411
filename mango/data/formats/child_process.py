"""Files of strangers that C libraries read (databases, films): each library in a process of its own. A damaged file may crash it; then the
process ends, here that is an ``InputError``, and the next question gets a new one.

A question is some texts, each with its length in front. An answer is messages: status, length, bytes; MORE says that another one follows,
SAID that it is an ``InputError`` in its own words. A thread keeps one process for each program for its next questions; who asks while an
answer is being read gets another one.
"""

import atexit
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mango.errors import InputError

OK, REFUSED, NO_PACKAGE, MORE, SAID = range(5)
SECONDS = 120  # for a message; what takes longer says in empty ones that it goes on
HEADER = struct.Struct("<BQ")
LARGEST = 2**31  # bytes of a message
PIPE = 2**20  # bytes on their way: pictures are large
_held = threading.local()


def answers(program: Path, arguments: Sequence[str], question: Sequence[str], *, where: object, expected: str) -> Iterator[bytearray]:
    """The messages of an answer. Who stops asking for them ends the process.

    Errors: InputError where the library crashed, refused, is not installed, or took too long.
    """
    children = _held.__dict__.setdefault("children", {})
    key = os.getpid(), program  # a fork of this process must not talk to its processes
    child, whole = children.pop(key, None), False
    if child is None or child.poll() is not None:
        child = _started(program, arguments)
    try:
        texts = [text.encode() for text in question]
        child.stdin.write(b"".join(struct.pack("<Q", len(text)) + text for text in texts))
        child.stdin.flush()
        status = MORE
        while status == MORE:
            until = time.monotonic() + SECONDS
            status, length = HEADER.unpack(_received(child, HEADER.size, until))
            if length > LARGEST:
                raise EOFError
            message = _received(child, length, until)
            whole = status != MORE
            if status == NO_PACKAGE:
                raise InputError(where, expected=f"the package that reads {expected}", found="none installed", remedy=message.decode())
            if status == REFUSED:
                found = " ".join(message.decode("utf-8", "replace").split())[:160]
                raise InputError(where, expected=expected, found=found, remedy="copy or write the file again")
            if status == SAID:
                raise InputError(where, **dict(zip(("expected", "found", "remedy"), json.loads(message), strict=True)))
            yield message
    except (EOFError, BrokenPipeError) as error:
        child.wait()
        found = f"a crash of the library that reads it ({_ending(child.returncode)})"
        raise InputError(where, expected=expected, found=found, remedy="copy or write the file again") from error
    except TimeoutError as error:
        remedy = "it may be damaged: copy it again"
        raise InputError(where, expected=expected, found=f"no answer in {SECONDS} s", remedy=remedy) from error
    finally:
        if whole and child.poll() is None and key not in children:
            children[key] = child
        else:
            _end(child)


def _started(program: Path, arguments: Sequence[str]) -> subprocess.Popen:
    """``-I``: it sees no environment and no folder of ours, only the installed packages."""
    command = [sys.executable, "-I", str(program), *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    _widen(child)
    atexit.register(child.kill)
    return child


def _end(child: subprocess.Popen) -> None:
    """Nothing of it stays open: of thousands of damaged films each would cost two files."""
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    atexit.unregister(child.kill)


def _widen(child: subprocess.Popen) -> None:
    try:
        import fcntl

        fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, PIPE)
    except (ImportError, AttributeError, OSError):  # not on this system, or not for this user
        pass


def _received(child: subprocess.Popen, count: int, until: float) -> bytearray:
    """Exactly so many bytes."""
    content, at = bytearray(count), 0
    view = memoryview(content)
    while at < count:
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        taken = os.readv(child.stdout.fileno(), [view[at : at + PIPE]])
        if not taken:
            raise EOFError
        at += taken
    return content


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
