"""Which modules of `towers` compute: found by watching every call of a function."""

import contextlib
import inspect
import sys
import threading
from pathlib import Path

import towers

PACKAGE = Path(towers.__file__).parent


@contextlib.contextmanager
def watched():
    """Names of the modules whose functions run meanwhile, in all threads of this process.

    Bodies of modules and classes run when they are imported, whoever asked first: not counted.
    """
    found: set[str] = set()
    codes = set()

    def note(frame, event, argument):
        if frame.f_code not in codes:  # None is given back: no line of it is traced
            codes.add(frame.f_code)
            path = Path(frame.f_code.co_filename)
            if frame.f_code.co_flags & inspect.CO_OPTIMIZED and PACKAGE in path.parents:
                parts = path.relative_to(PACKAGE).with_suffix("").parts
                found.add(".".join(("towers", *parts)).removesuffix(".__init__"))

    before = sys.gettrace()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(before)
        threading.settrace(before)
