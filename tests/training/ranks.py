"""Ranks of a run as processes, forked from a server that has imported everything."""

import contextlib
import io
import itertools
import multiprocessing
import os
import pickle
import random
import signal
import socket
import time
import traceback
from dataclasses import dataclass

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.training.toy_runs"])

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST = 12_000 + 500 * (WORKER % 32)
PORTS = itertools.cycle(random.Random(os.getpid()).sample(range(FIRST, FIRST + 500), 500))
"""Of this worker alone, and none that a system lends to clients."""


def free_port():
    """A port that nobody listens to, and that nobody else is given before we do."""
    for port in itertools.islice(PORTS, 500):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port of this worker is free")


@dataclass
class Ended:
    """How a rank ended: its exit code, what its work returned or said, and after which time."""

    code: int
    value: object
    said: str
    seconds: float


def _rank(work, arguments, options, rank, ranks, port, pipe):
    import torch

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks),
                      LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    if ranks == 1:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            del os.environ[name]
    torch.set_num_threads(1)
    said, value, code = io.StringIO(), None, 0
    try:
        with contextlib.redirect_stderr(said):
            value = work(*arguments, **options)
    except (ValueError, RuntimeError, OSError) as error:
        said.write(f"{type(error).__name__}: {error}")
        if os.environ.get("TOWERS_TRACEBACK"):
            traceback.print_exc()
        code = 1
    pipe.send_bytes(pickle.dumps((value, said.getvalue())))
    os._exit(code)


class Ranks:
    """Some ranks under way."""

    def __init__(self, work, *arguments, ranks=1, **options):
        port = free_port()
        self.started = time.monotonic()
        self.pipes, self.processes = [], []
        for rank in range(ranks):
            mine, theirs = SERVER.Pipe(duplex=False)
            process = SERVER.Process(
                target=_rank, args=(work, arguments, options, rank, ranks, port, theirs)
            )
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def kill(self, rank=None):
        """Kill -9 one of them, or all."""
        for number, process in enumerate(self.processes):
            if rank in (None, number) and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)

    def ended(self, within=60):
        """How each of them ended; those that do not end in time are killed, with code None."""
        found, end = [], time.monotonic() + within
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            value, said = None, ""
            try:
                if pipe.poll(max(0, end - time.monotonic())):
                    value, said = pickle.loads(pipe.recv_bytes())
            except EOFError:
                pass
            process.join(max(0, end - time.monotonic()))
            seconds = time.monotonic() - self.started
            code = process.exitcode
            if code is None:
                process.kill()
                process.join()
            found.append(Ended(code, value, said, seconds))
        return found


def run(work, *arguments, ranks=1, within=60, **options):
    """Start ranks and wait for their ends."""
    return Ranks(work, *arguments, ranks=ranks, **options).ended(within)
