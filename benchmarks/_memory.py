"""Peak memory of a call, measured in a process of its own.

Such a process is forked from a server that has the libraries but never used them: it takes
milliseconds, and no thread is lost on the way.
"""

import ctypes
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

GIGABYTE = 1e9
SERVER = "forkserver"
multiprocessing.set_forkserver_preload(["open_clip", "towers.losses"])


def in_child(call: Callable, *arguments: object) -> object:
    """What a call answers in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context(SERVER)) as pool:
        return pool.submit(call, *arguments).result()


def extra_peak(call: Callable) -> tuple[float, object]:
    """By how much this process grows at its largest while a call runs, in GB, and its answer.

    Linux with glibc only: what was freed goes back to the kernel first, which then forgets its
    earlier peak and keeps the new one.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    answer = call()
    return (_resident("VmHWM") - before) / GIGABYTE, answer


def _resident(field: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1])
