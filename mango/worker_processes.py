"""Worker processes that end when whoever hired them is killed: going on, they would write beside the next call's workers."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process


def worker_pool(workers: int, *, heeds_ctrl_c: bool = False) -> ProcessPoolExecutor:
    """Processes of one thread each, begun anew: a fork of a process with threads may hang.

    Ctrl-C goes to all of them: they leave it to the parent, which lets what is in hand be finished, unless they heed it themselves.
    """
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(heeds_ctrl_c,))


def _begin(heeds_ctrl_c: bool) -> None:
    if not heeds_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _follow_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
