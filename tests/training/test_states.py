"""Which checkpoints stay, which are passed over, and what is said where none is whole."""

import errno
import os
from collections import Counter

import pytest
import torch

from tests import toy_towers
from tests.training import ranks, toy_runs
from tests.training.toy_runs import bits, train
from towers import training
from towers.training import logs, loop, states

pytestmark = pytest.mark.usefixtures("one_thread")


def state(step):
    return states.State(step, {"weight": torch.full((2,), float(step))}, {}, {}, Counter(), 1)


def written(folder, *steps, keep=9, pinned=0):
    kept = states.Checkpoints(folder, keep, pinned)
    for step in steps:
        kept.write(state(step))
    return kept


def damage(path):
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_checkpoint_takes_no_place_of_what_is_written(tmp_path, keep):
    kept = written(tmp_path, 10, 1000)
    damage(kept.path(1000))
    kept.keep = keep
    assert kept.newest(lambda _: None).step == 10
    for step in (20, 30, 40):
        kept.write(state(step))
        assert kept.newest(pytest.fail).step == step
    assert kept.steps() == [40, 30][:keep]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_pinned_checkpoint_stays_beside_those_kept(tmp_path):
    assert written(tmp_path, 3, 6, 9, 12, keep=2, pinned=3).steps() == [12, 9, 3]


def test_one_that_is_whole_is_found_behind_damaged_ones(tmp_path):
    kept, said = written(tmp_path, 3, 6, 9), []
    for step in (6, 9):
        damage(kept.path(step))
    assert kept.newest(said.append).step == 3
    assert [line.endswith("; trying the one before") for line in said] == [True, True]


def test_none_is_no_fault_but_only_damaged_ones_are(tmp_path):
    assert states.Checkpoints(tmp_path / "nowhere", 1).newest(pytest.fail) is None
    kept, said = written(tmp_path, 3, 6), []
    for step in (3, 6):
        damage(kept.path(step))
    with pytest.raises(training.TrainingFailed) as caught:
        kept.newest(said.append)
    assert "step-00000003, got another content of weights.safetensors, and no older one" in str(
        caught.value
    )
    assert str(caught.value).endswith("bring one back, or begin afresh (--fresh)")
    assert "\n" not in str(caught.value)
    assert len(said) == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_without_a_whole_checkpoint_stops_and_keeps_its_log(tmp_path, count):
    train(tmp_path, steps=6)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path)
    before = logs.read(tmp_path)
    ended = ranks.run(toy_runs.finished, tmp_path, steps=6, ranks=count)
    assert [one.code for one in ended] == [1] * count, ended
    for one in ended:
        assert "begin afresh (--fresh)" in one.said.splitlines()[-1]
    assert logs.read(tmp_path) == before
    assert states.Checkpoints(tmp_path / "checkpoints", 1).steps() == [6, 3]
    assert train(tmp_path, steps=6, resume=False).resumed == 0


def test_a_run_that_keeps_one_gets_past_a_damaged_later_one(tmp_path):
    train(tmp_path / "whole")
    train(tmp_path / "run", keep=9, checkpoint_every=2)
    kept = states.Checkpoints(tmp_path / "run/checkpoints", 9)
    for step in kept.steps()[:-1]:
        damage(kept.path(step))
    newest = []

    def look(_):
        newest.append((kept.steps(), kept.newest(pytest.fail).step))
        return {}

    done = train(tmp_path / "run", keep=1, checkpoint_every=2, evaluate_every=5, evaluate=look)
    assert done.resumed == 2
    assert newest == [([4], 4), ([8], 8), ([10], 10)]
    assert bits(tmp_path / "run", 12) == bits(tmp_path / "whole", 12)


def spoilt(monkeypatch, folder, after):
    """A run that ends because a weight is not a number after some updates."""
    update, dual = loop.Trainer.update, toy_towers.trainable()

    def spoiling(self, step, batches):
        if step == after:
            torch.nn.init.constant_(dual.image_proj.weight, float("nan"))
        return update(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "update", spoiling)
        with pytest.raises(training.TrainingFailed, match=r"^expected a finite loss, got nan at"):
            train(folder, dual=dual)


def test_weights_that_are_no_numbers_are_not_kept(monkeypatch, tmp_path):
    spoilt(monkeypatch, tmp_path, 5)
    assert states.Checkpoints(tmp_path / "checkpoints", 1).steps() == [3]


@pytest.mark.slow
def test_spread_weights_are_kept_as_they_stood_too(tmp_path):
    options = {"shard": True, "ranks": 2}
    ended = ranks.run(toy_runs.poisoned, tmp_path / "poisoned", 7, 1, **options)
    assert [one.code for one in ended] == [1, 1], ended
    for name, done in (("whole", 0), ("poisoned", 7)):
        ended = ranks.run(toy_runs.finished, tmp_path / name, **options)
        assert [(one.code, one.value) for one in ended] == [(0, done)] * 2
    assert bits(tmp_path / "poisoned", 12) == bits(tmp_path / "whole", 12)


def test_a_full_disk_does_not_hide_why_a_run_stopped(monkeypatch, tmp_path, capsys):
    write = states.Checkpoints.write

    def full(self, state):
        if state.step == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, state)

    dual = toy_towers.trainable()
    dual.image_proj.weight.register_hook(
        lambda gradient: gradient * (float("nan") if len(logs.read(tmp_path)) == 5 else 1)
    )
    monkeypatch.setattr(states.Checkpoints, "write", full)
    with pytest.raises(training.TrainingFailed, match="expected finite gradients"):
        train(tmp_path, dual=dual)
    assert "towers: could not keep step 5: No space left on device\n" in capsys.readouterr().err
    assert states.Checkpoints(tmp_path / "checkpoints", 1).steps() == [3]
