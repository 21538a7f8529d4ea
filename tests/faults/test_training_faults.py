"""Training is cut, killed, starved and poisoned: it goes on bit by bit, or stops with one line."""

import errno
import functools
import os
import random
import shutil
import signal
import time

import pytest

from tests.faults import faulty_disk
from tests.training import ranks, toy_runs
from tests.training.toy_shards import three_tars
from towers.training import TrainingFailed, logs, states

pytestmark = pytest.mark.usefixtures("one_thread")

FULL = os.environ.get("TOWERS_FAULTS") == "full"
PARTS = range(5 if FULL else 1)  # of the long tests, for several workers to share
KINDS = [(1, "fp32"), (1, "bf16"), (2, "fp32"), (2, "bf16"), *([(4, "fp32")] if FULL else [])]
STEPS = toy_runs.RECIPE.steps
VARIANTS = (
    {}, {"workers": 2, "shards": True}, {"accumulate": 1, "chunk": 3},
    {"accumulate": 1, "checkpoint_every": 5},
    {"seed": 9, "checkpoint_every": 1, "schedule": "reciprocal-sqrt"}, {"workers": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    """Shards of unequal sizes; an epoch of them ends within the run."""
    place = tmp_path_factory.mktemp("tars")
    three_tars(place, (11, 9, 24))
    return place


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tars):
    """The uninterrupted run of a kind: its bits at the end, and what each rank read."""

    @functools.cache
    def of(count, precision, variant, steps=STEPS):
        folder = tmp_path_factory.mktemp("whole")
        changes = given(variant, tars) | {"precision": precision, "steps": steps, "workers": 0}
        ended = ranks.run(toy_runs.seen, folder, **changes, ranks=count)
        assert [one.code for one in ended] == [0] * count, ended
        return toy_runs.bits(folder, steps), [one.value for one in ended]

    return of


def given(variant, tars):
    """The changes of a variant, with the place of the shards if it reads any."""
    changes = dict(VARIANTS[variant])
    return changes | ({"shards": tars} if changes.pop("shards", False) else {})


def checkpoints(folder):
    return states.Checkpoints(folder / "checkpoints", 2)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("count", "precision"), KINDS)
def test_a_run_cut_anywhere_goes_on_bit_by_bit(
    disk, reference, tars, tally, count, precision, part
):
    """Weights, moments, counts and the rows that are read next; workers may come and go."""
    tally.area = f"resume, {count} rank{'s' * (count > 1)}, {precision}"
    draw = random.Random(f"{count} {precision} {part}")
    for number in range(11 if FULL else 3 - count):
        variant = number % len(VARIANTS)
        bits, rows = reference(count, precision, variant)
        changes = given(variant, tars) | {"precision": precision}
        cut, parts = draw.randrange(1, STEPS), changes.get("accumulate", 2)
        folder = disk / f"{number}"
        stopped = ranks.run(toy_runs.seen, folder, cut, **changes, ranks=count)
        later = 1 if "shards" in changes else 0  # 0: so that this process sees what is read
        changes["workers"] = later
        resumed = ranks.run(toy_runs.seen, folder, **changes, ranks=count)
        every = changes.get("checkpoint_every", 3)
        first = (cut - cut % every) * parts
        fine = [one.code for one in (*stopped, *resumed)] == [0] * (2 * count)
        fine = fine and toy_runs.bits(folder, STEPS) == bits
        fine = fine and (later or [one.value for one in resumed] == [its[first:] for its in rows])
        tally.struck(fine)
        shutil.rmtree(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(
    disk, reference, tally, count, part
):
    """Whenever: while it starts, trains, writes or removes a checkpoint."""
    tally.area = f"kill -9 of {count} rank{'s' * (count > 1)}, any time"
    steps, every, goal = 40, 2, (22 if FULL else 2)
    draw, number = random.Random(f"{count} {part}"), 0
    bits, _ = reference(count, "fp32", 0, steps)
    changes = {"steps": steps, "checkpoint_every": every}
    while tally.injected < goal:
        folder, fine, number = disk / f"{number}", True, number + 1
        while fine and tally.injected < goal:
            logged = max([line["step"] for line in logs.read(folder)], default=0)
            under_way = ranks.Ranks(toy_runs.finished, folder, **changes, ranks=count)
            time.sleep(draw.uniform(0.05, 0.5 + 0.4 * count))
            # who waits for a rank that never came is its launcher's to stop
            started = max([line["step"] for line in logs.read(folder)], default=0) > logged
            under_way.kill(draw.randrange(count) if started and draw.random() < 0.5 else None)
            ended = under_way.ended(30)
            newest = checkpoints(folder).newest(pytest.fail)
            reached = max([line["step"] for line in logs.read(folder)], default=0)
            fine = None not in [one.code for one in ended]
            fine = fine and reached - (newest.step if newest else 0) <= every
            fine = fine and max(reached, logged) <= steps
            if all(one.code == 0 for one in ended):
                break
            tally.struck(fine)
        ended = ranks.run(toy_runs.finished, folder, **changes, ranks=count)
        same = [one.code for one in ended] == [0] * count and toy_runs.bits(folder, steps) == bits
        tally.lost += not same
        shutil.rmtree(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_is_asked_to_stop_loses_no_update(disk, reference, tally, count, part):
    """Whichever rank hears of it, in whatever update."""
    tally.area = f"SIGTERM of 1 rank of {count}"
    steps = 40
    draw = random.Random(f"{count} {part}")
    bits, _ = reference(count, "fp32", 0, steps)
    for number in range(8 if FULL else 1):
        folder, after = disk / f"{number}", draw.randrange(1, steps // 2)
        changes = {"steps": steps, "checkpoint_every": steps}
        under_way = ranks.Ranks(toy_runs.finished, folder, **changes, ranks=count)
        while len(logs.read(folder)) < after:
            time.sleep(0.01)
        os.kill(under_way.processes[draw.randrange(count)].pid, signal.SIGTERM)
        ended = under_way.ended(30)
        newest = checkpoints(folder).steps()[:1]
        fine = newest == [max(line["step"] for line in logs.read(folder))]
        fine = fine and {one.code for one in ended} <= {-signal.SIGTERM, 0}
        again = ranks.run(toy_runs.finished, folder, **changes, ranks=count)
        fine = fine and [(one.code, one.value) for one in again] == [(0, *newest)] * count
        tally.struck(fine and toy_runs.bits(folder, steps) == bits)
        shutil.rmtree(folder)


CALLS = {"steps": 6, "checkpoint_every": 2, "keep": 1}


@pytest.fixture(scope="module")
def short():
    """A short run: its bits, and how many calls it makes that change the disk."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        (ended,) = ranks.run(toy_runs.failing, Path(folder), None, 0, **CALLS)
        return toy_runs.bits(Path(folder), 6), ended.value


def every(calls, part):
    """All calls in the long suite, in parts; a few of them otherwise."""
    numbers = range(1, calls + 1)
    return numbers[part :: len(PARTS)] if FULL else sorted(random.Random(0).sample(numbers, 4))


@pytest.mark.parametrize("part", PARTS)
def test_a_kill_at_any_call_to_the_disk_leaves_a_run_that_goes_on(disk, short, tally, part):
    tally.area = "kill -9 at each call to the disk"
    bits, calls = short
    for at in every(calls, part):
        for after in (False, True) if FULL else (bool(at % 2),):
            folder = disk / f"{at}-{after}"
            (killed,) = ranks.run(toy_runs.failing, folder, at, 0, after, **CALLS)
            (ended,) = ranks.run(toy_runs.finished, folder, **CALLS)
            fine = killed.code == -signal.SIGKILL and ended.code == 0
            tally.struck(fine and toy_runs.bits(folder, 6) == bits)
            fine = not list((folder / "checkpoints").glob(".*"))
            tally.lost += not fine
            shutil.rmtree(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_call_stops_the_run_and_harms_nothing(
    disk, short, tally, number, part
):
    """One line with the cause, the checkpoint before still loads, and the run goes on later."""
    tally.area = f"{errno.errorcode[number]} at each call to the disk"
    bits, calls = short
    stopped = 0
    for at in every(calls, part):
        folder = disk / f"{at}"
        with faulty_disk.strikes(at, faulty_disk.error(number), lasting=at % 2 == 0):
            try:
                toy_runs.train(folder, **CALLS)
                said = None
            except (OSError, TrainingFailed) as error:
                said = str(error)
        fine = said is None or (os.strerror(number) in said and "\n" not in said)
        stopped += said is not None
        reached = max([line["step"] for line in logs.read(folder)], default=0)
        newest = checkpoints(folder).newest(pytest.fail)
        fine = fine and reached - (newest.step if newest else 0) <= 2
        toy_runs.train(folder, **CALLS)
        tally.struck(fine and toy_runs.bits(folder, 6) == bits)
        shutil.rmtree(folder)
    assert stopped >= 0.5 * tally.injected  # the others meet what is there already, or a removal


def test_a_full_disk_of_one_rank_stops_the_others(disk, short, tally):
    tally.area = "ENOSPC on rank 0 of 2"
    _, calls = short
    for at in range(2, calls, 8) if FULL else (calls // 2,):
        folder = disk / f"{at}"
        ended = ranks.run(toy_runs.failing, folder, at, errno.ENOSPC, **CALLS, ranks=2, within=30)
        fine = [one.code for one in ended] == [1, 1] or [one.code for one in ended] == [0, 0]
        fine = fine and all("\n" not in one.said.strip() for one in ended)
        if ended[0].code:
            fine = fine and "No space left on device" in ended[0].said
        again = ranks.run(toy_runs.finished, folder, **CALLS, ranks=2)
        tally.struck(fine and [one.code for one in again] == [0, 0])


def test_nan_on_any_rank_at_any_step_stops_all_at_once(disk, reference, tally):
    """The state before is kept, and goes on bit by bit where nothing is poisoned any more."""
    tally.area = "NaN on one rank"
    places = [(count, step, rank) for count in (1, 2) for rank in range(count)
              for step in range(STEPS)]  # fmt: skip
    for count, step, rank in places if FULL else random.Random(0).sample(places, 2):
        folder = disk / f"{count} {step} {rank}"
        bits, _ = reference(count, "fp32", 0)
        ended = ranks.run(toy_runs.poisoned, folder, step, rank, ranks=count, within=30)
        where = f"at step {step + 1} of {STEPS}" + (f", first on rank {rank}" if count > 1 else "")
        fine = all(one.code == 1 and where in one.said for one in ended)
        fine = fine and max(one.seconds for one in ended) < 10
        fine = fine and checkpoints(folder).steps()[:1] == [step][:step]
        fine = fine and len(logs.read(folder)) == step
        again = ranks.run(toy_runs.finished, folder, ranks=count)
        fine = fine and [(one.code, one.value) for one in again] == [(0, step)] * count
        tally.struck(fine and toy_runs.bits(folder, STEPS) == bits)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP] if FULL else [signal.SIGKILL])
def test_a_rank_that_is_gone_takes_all_down_and_the_run_goes_on(disk, reference, tally, how, part):
    tally.area = f"{how.name} of one rank of 2"
    steps = 80
    draw = random.Random(f"{how} {part}")
    bits, _ = reference(2, "fp32", 3, steps)
    for number in range(4 if FULL and how == signal.SIGKILL else 1):
        folder, victim = disk / f"{number}", draw.randrange(2)
        under_way = ranks.Ranks(toy_runs.finished, folder, steps=steps, **VARIANTS[3], ranks=2)
        while len(logs.read(folder)) < 10:
            time.sleep(0.05)
        os.kill(under_way.processes[victim].pid, how)
        since = time.monotonic()
        other = under_way.processes[1 - victim]
        other.join(30)
        fine = other.exitcode == 1 and time.monotonic() - since < 30
        under_way.kill()
        under_way.ended(5)
        ended = ranks.run(toy_runs.finished, folder, steps=steps, **VARIANTS[3], ranks=2)
        fine = fine and [one.code for one in ended] == [0, 0] and ended[0].value >= 3
        tally.struck(fine and toy_runs.bits(folder, steps) == bits)
        shutil.rmtree(folder)
