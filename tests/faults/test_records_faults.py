"""Kills, full and failing disks, many writers: records stay readable, whole, and of one run."""

import errno
import functools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from tests import made_up_book
from tests.faults import faulty_disk
from towers import experiments, files, records
from towers.records import Measurement, Provenance, Record

FULL = os.environ.get("TOWERS_FAULTS") == "full"
FAULTS = [(errno.ENOSPC, True), (errno.ENOSPC, False), (errno.EIO, True), (errno.EIO, False)]


def source(experiment: str = "a/one", **changes) -> Provenance:
    """A good provenance, changed."""
    good = {
        "experiment": experiment, "scale": "smoke", "commit": None, "dirty": None,
        "parameters": {}, "seeds": [0], "checksums": {}, "versions": {}, "hardware": {},
        "started": "2026-01-01T00:00:00+00:00", "wall_seconds": 1.0, "peak_memory_bytes": 1,
        "code": "f", "artifacts": {},
    }  # fmt: skip
    return Provenance(**good | changes)


def rows(value: float, count: int = 3, experiment: str = "a/one") -> list[Record]:
    """Records that all hold one value, so that a mix of two writers shows."""
    return [
        Record(experiment=experiment, scale="smoke", model="m", data="d", metric=f"r{number}",
               value=value, n=1)
        for number in range(count)
    ]  # fmt: skip


def value_of(result: Path, count: int = 3) -> float:
    """The one value of whole records."""
    _, found = records.read(result)
    values = {row.value for row in found}
    assert (len(found), len(values)) == (count, 1)
    return values.pop()


def put(result: Path, value: int) -> Path:
    """A result whose files all hold one value."""
    result.mkdir(parents=True)
    names = ("notebook.ipynb", "a.csv", "b.csv", f"only_{value}.csv")
    for name in names:
        (result / name).write_text(f"{value}")
    artifacts = dict.fromkeys(names, files.sha256(f"{value}".encode()))
    records.write(result, source(artifacts=artifacts), rows(value))
    return result


def stage(result: Path, value: int) -> Path:
    """Such a result, staged for publication."""
    return put(result.with_name(f".smoke.staging-{value}"), value)


def published(result: Path) -> float | None:
    """The one value that all files of a result hold; None if there is no result."""
    if not result.exists():
        return None
    value = value_of(result)
    provenance, _ = records.read(result)
    there = {path.name: path.read_text() for path in result.iterdir() if path.name != records.FILE}
    assert there == dict.fromkeys(provenance.artifacts, f"{value:g}")
    return value


@pytest.mark.area("records: a disk that fails at each call")
class TestFailingDisk:
    def test_one_file_is_old_or_new_at_every_fault(self, disk, tally):
        path = disk / "smoke"
        calls = faulty_disk.calls_of(lambda: records.write(path, source(), rows(0)))
        raises = 0
        assert calls >= 6  # mkdir, open, write, fchmod, fsync, replace, and the folder's
        for number, lasting in FAULTS:
            for at in range(1, calls + 3):
                tally.injected += 1
                shutil.rmtree(path)
                records.write(path, source(), rows(1))
                with faulty_disk.strikes(at, faulty_disk.error(number), lasting) as counter:
                    try:
                        records.write(path, source(), rows(2))
                        raised = False
                    except OSError as error:
                        raised = error.errno == number
                assert counter.seen >= at or not raised
                assert value_of(path) in ((1, 2) if raised else (2,))
                if not lasting:
                    assert os.listdir(path) == ["records.json"]
                raises += raised
        assert raises >= 4 * (calls - 1)  # a folder that is there already may fail to be made

    def test_a_result_is_old_or_new_at_every_fault(self, disk, tally):
        strikes = raises = gone = 0
        for number, lasting in FAULTS:
            at, struck = 1, True
            while struck:
                result = put(disk / f"{number}-{lasting}-{at}" / "smoke", 1)
                staging = stage(result, 2)
                with faulty_disk.strikes(at, faulty_disk.error(number), lasting) as counter:
                    try:
                        files.publish(staging, result)
                        raised = False
                    except OSError as error:
                        raised = error.errno == number
                struck = counter.seen >= at
                value = published(result)
                assert value in ((1, 2, None) if raised else (2,))
                assert lasting or value  # or it was moved away, and could not be moved back
                shutil.rmtree(result.parent)
                strikes += struck
                raises += raised
                gone += value is None
                at += 1
        assert strikes >= 50
        assert gone <= 2
        tally.injected = strikes
        assert raises >= 0.6 * strikes  # what stood there may stay hidden unheard

    def test_a_notebook_that_meets_a_full_disk_says_so_and_leaves_the_old_results(
        self, checkout, disk, monkeypatch, tally
    ):
        made_up_book.add(checkout, "a/one")
        monkeypatch.setenv("TOWERS_RESULTS", str(disk))
        monkeypatch.setattr(experiments.provenance, "commit", lambda _: (None, None))  # for speed
        namespace = experiments.get("a/one").parameters()

        def write(value: float) -> None:
            run = experiments.begin("a/one", namespace)
            run.add(Measurement(model="m", data="d", metric="r", value=value, n=1))
            run.figure_data("bars", pd.DataFrame({"x": [value]}))
            run.write()

        def value() -> float | None:
            if not (disk / "a/one/laptop").exists():
                return None
            found = records.table().value.item()
            figure = pd.read_csv(disk / "a/one/laptop/bars.csv")
            assert figure.x.item() == found
            return found

        write(1)
        calls, values = faulty_disk.calls_of(lambda: write(2)), []
        for at in range(1, calls + 1):
            tally.injected += 1
            write(1)
            full = faulty_disk.strikes(at, faulty_disk.error(errno.ENOSPC), lasting=True)
            said = None
            try:
                with full:
                    write(2)
            except OSError as error:
                said = error.strerror
            values.append(value())
            assert said == "No space left on device" or values[-1] == 2
        assert set(values) <= {1, 2, None}
        assert values.count(None) <= 1  # moved away, and on such a disk not to be moved back
        assert values.count(1) >= 0.6 * calls

    def test_a_real_limit_of_the_system_leaves_the_old_file(self, disk):
        path = disk / "smoke"
        records.write(path, source(), rows(1))
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            try:
                records.write(path, source(), rows(2, count=1000))
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.EFBIG
        assert value_of(path) == 1
        assert os.listdir(path) == ["records.json"]

    def test_results_on_a_read_only_disk_are_still_read(self, disk):
        put(disk / "a/one/smoke", 1)
        with faulty_disk.strikes(1, faulty_disk.error(errno.EROFS), lasting=True):
            table = records.table(disk)
        assert set(table.value) == {1.0}


@pytest.mark.area("records: kill -9 at each call to the disk")
class TestKills:
    def test_at_every_call_of_a_publication(self, disk, tally):
        kills = gone = 0
        for after in (False, True):
            at, died = 1, True
            while died:
                result = put(disk / f"{after}-{at}" / "smoke", 1)
                staging = stage(result, 2)
                publish = functools.partial(files.publish, staging, result)
                died = faulty_disk.killed(publish, at, after)
                value = published(result)
                assert value in ((1, 2, None) if died else (2,))
                files.publish(stage(result, 3), result)  # and the next one goes through
                assert published(result) == 3
                shutil.rmtree(result.parent)
                kills += died
                gone += value is None
                at += 1
        assert kills >= 24
        assert gone == 2  # after the first rename, before the second
        tally.injected = kills


def _writer(shared: Path, own: Path, number: int, pipe: int) -> None:
    """Writes whole files for ever; each finished one is acknowledged through the pipe."""
    value = 0
    while True:
        value += 1
        records.write(shared, source(), rows(number + 100 * value, count=50))
        records.write(own, source(), rows(value, count=50))
        os.write(pipe, value.to_bytes(4, "big"))


@pytest.mark.area("records: kill -9 of eight writers")
class TestWriters:
    def test_eight_at_once_of_which_all_are_killed_lose_and_tear_nothing(self, disk):
        context = multiprocessing.get_context("fork")
        seconds = 20 if FULL else 3
        shared = disk / "shared"
        pipes = [os.pipe() for _ in range(8)]
        writers = [
            context.Process(target=_writer, args=(shared, disk / f"{n}", n, pipes[n][1]))
            for n in range(8)
        ]
        for writer in writers:
            writer.start()
        end = time.monotonic() + seconds
        reads = 0
        while time.monotonic() < end:
            if (shared / records.FILE).exists():
                assert value_of(shared, count=50) >= 100
                reads += 1
        random.Random(0).shuffle(writers)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        written = 0
        for number, (end_of_pipe, other) in enumerate(pipes):
            os.close(other)
            with os.fdopen(end_of_pipe, "rb") as pipe:
                acknowledged = pipe.read()
            last = int.from_bytes(acknowledged[-4:], "big")
            assert len(acknowledged) == 4 * last
            assert value_of(disk / f"{number}", count=50) in (last, last + 1)
            written += 100 * last
        assert value_of(shared, count=50) % 100 < 8
        assert reads >= 20
        assert written >= 10_000
