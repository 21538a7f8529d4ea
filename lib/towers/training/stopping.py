"""A run that is asked to stop: the update under way is finished and kept before anybody leaves.

Ctrl-C, `kill`, a launcher, a cluster before it takes its machines back: all of them ask with a
signal, and not all ranks hear it, or not at the same time. So each rank listens and tells the
others what it has heard with the numbers that they exchange after each update anyway.
"""

import os
import signal
import sys
import threading
import time

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that end a process, and may come before worse: clusters warn with the last two."""

TOGETHER = 1.0
"""Seconds in which several signals are one: a launcher passes on what its terminal sent to all."""

_ENDS = (signal.SIG_DFL, signal.default_int_handler)


class Signals:
    """Listens for signals from entering to leaving, in the place of whoever handled them before.

    Signals that were ignored still are. Outside the main thread nothing is heard.

    Attributes:
        asked: number of the first signal that was heard; 0: none.
    """

    def __init__(self, speak: bool = True) -> None:
        """Prepare to listen; `speak` says on stderr that a signal was heard."""
        self.speak, self.asked = speak, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._listen()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        asked = self._leave()
        if asked and error is None:  # it came too late for the last update
            signal.raise_signal(asked)

    def hand_on(self, number: int) -> None:
        """Do what a signal would have done without us, and listen on if the process is still there.

        Args:
            number: of the signal, which another rank may have heard.
        """
        self._leave()
        signal.raise_signal(number)
        self.__enter__()

    def _listen(self) -> None:
        handlers = {number: signal.getsignal(number) for number in HEEDED}
        # None: a handler that is not Python's, and could not be brought back
        self._before = {
            n: each for n, each in handlers.items() if each not in (signal.SIG_IGN, None)
        }
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        # a thread: a handler would have to wait for the main one, and that for other ranks
        self._thread = threading.Thread(target=self._hear, daemon=True, name="signals")
        self._thread.start()
        self._fd = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        for number in self._before:
            signal.signal(number, _nothing)

    def _leave(self) -> int:
        """Give the signals back to whom they were; which one was heard, if any."""
        if self._before:
            signal.set_wakeup_fd(self._fd)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            os.write(self._mouth, b"\0")
            self._thread.join()
            os.close(self._mouth)
            os.close(self._ear)
        asked, self.asked, self._before = self.asked, 0, {}
        return asked

    def _hear(self) -> None:
        since = 0.0
        while number := os.read(self._ear, 1)[0]:
            if number not in self._before:  # a worker that has ended, and the like
                continue
            if not self.asked:
                self.asked, since = number, time.monotonic()
                self._say("stopping after this update; a second signal leaves at once")
            elif time.monotonic() - since > TOGETHER and self._before[number] in _ENDS:
                self._say(f"error: stopped by a second {signal.Signals(number).name}")
                os._exit(128 + number)

    def _say(self, line: str) -> None:
        if self.speak:
            print(f"towers: {line}", file=sys.stderr, flush=True)


def leave_it_to_the_rank() -> None:
    """Let a worker process outlive signals to all: its rank needs it until the update is done.

    A second SIGTERM ends it, as multiprocessing does with those that do not end by themselves.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _nothing(*_: object) -> None:
    """A handler in Python's sense; what matters is that Python writes the number to the pipe."""
