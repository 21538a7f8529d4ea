"""A signal asks a run to stop: no update is lost, and the signal has its effect before long."""

import functools
import os
import signal
import time

import pytest

from tests.training import ranks, toy_runs
from towers.training import logs, processes, states

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SELDOM = 1000


def kept(folder):
    return states.Checkpoints(folder / "checkpoints", 2).steps()


def reached(folder):
    return max([line["step"] for line in logs.read(folder)], default=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bits of an uninterrupted run, by the number of ranks."""

    @functools.cache
    def of(count):
        folder = tmp_path_factory.mktemp("whole")
        ended = ranks.run(toy_runs.finished, folder, checkpoint_every=SELDOM, ranks=count)
        assert [one.code for one in ended] == [0] * count, ended
        return toy_runs.bits(folder, 12)

    return of


@pytest.mark.parametrize(("count", "told"), [(1, (0,)), (2, (0,)), (2, (1,)), (2, (0, 1))])
def test_a_stop_loses_no_update_whichever_rank_hears_of_it(tmp_path, whole, count, told):
    options = {"checkpoint_every": SELDOM, "ranks": count, "within": 60}
    ended = ranks.run(toy_runs.asked, tmp_path, signal.SIGTERM, told, **options)
    assert [one.code for one in ended] == [-signal.SIGTERM] * count, ended
    assert (kept(tmp_path), reached(tmp_path)) == ([6], 6)
    again = ranks.run(toy_runs.finished, tmp_path, **options)
    assert [(one.code, one.value) for one in again] == [(0, 6)] * count
    assert toy_runs.bits(tmp_path, 12) == whole(count)


def test_a_worker_that_hears_the_signal_too_reads_on_until_the_update_is_done(tmp_path):
    options = {"workers": 1, "checkpoint_every": SELDOM}
    (ended,) = ranks.run(toy_runs.asked, tmp_path, **options)
    assert ended.code == -signal.SIGTERM, ended
    assert (kept(tmp_path), reached(tmp_path)) == ([6], 6)


@pytest.fixture
def interruptible():
    """Shells start what runs in the background deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_one_after_the_checkpoint_too(tmp_path, capsys, interruptible):
    before = {number: signal.getsignal(number) for number in processes.HEEDED}
    with pytest.raises(KeyboardInterrupt):
        toy_runs.asked(tmp_path, signal.SIGINT)
    assert kept(tmp_path) == [6, 3]
    assert reached(tmp_path) == 6
    assert {number: signal.getsignal(number) for number in processes.HEEDED} == before
    assert signal.set_wakeup_fd(-1) == -1
    assert capsys.readouterr().err.splitlines() == [
        "towers: stopping after this update; a second signal leaves at once",
        "towers: stopped after step 6 of 12; start again to go on",
    ]


def test_a_signal_that_somebody_handles_reaches_him_and_the_run_goes_on(tmp_path, monkeypatch):
    """As submitit does, which has the cluster queue the job again, or lets the signal pass."""
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(kept(tmp_path)))
    try:
        toy_runs.asked(tmp_path, signal.SIGUSR2, checkpoint_every=SELDOM)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [[6]]
    assert kept(tmp_path) == [12, 6]


def test_an_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        toy_runs.asked(tmp_path, signal.SIGHUP, checkpoint_every=SELDOM)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert kept(tmp_path) == [12]


def test_a_second_signal_leaves_at_once_though_the_rank_waits_for_another(tmp_path):
    started = ranks.Ranks(toy_runs.finished, tmp_path, steps=1000, ranks=2)
    while reached(tmp_path) < 5:
        time.sleep(0.02)
    os.kill(started.processes[1].pid, signal.SIGSTOP)
    waiting = started.processes[0]
    for _ in range(2):  # together they are one
        os.kill(waiting.pid, signal.SIGTERM)
        time.sleep(0.1)
    waiting.join(processes.TOGETHER)
    assert waiting.is_alive()
    os.kill(waiting.pid, signal.SIGTERM)
    waiting.join(5)
    assert waiting.exitcode == 128 + signal.SIGTERM
    started.kill()
    started.ended(5)
