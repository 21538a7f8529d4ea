"""One update, looked at closely: what decays, what is clipped, what a bad number does."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tests import toy_towers
from tests.training import toy_runs
from towers import losses, training
from towers.training import batches, distributed, loop, optimisers, processes
from towers.training.objectives import Contrastive

pytestmark = pytest.mark.usefixtures("one_thread")


def trainer(dual=None, objective=Contrastive, **changes):
    """A trainer of a toy pair in this process."""
    given = {"steps": 10, "lr": 1e-2, "warmup": 2, "weight_decay": 0.0, **changes}
    recipe = training.Recipe("toy:image", "toy:text", ("toys",), **given)
    return loop.Trainer(objective(dual or toy_towers.trainable()), recipe, processes.start())


def pairs(dual, count=8):
    read = toy_runs.source(dual).read(np.arange(count), np.arange(count, dtype=np.uint64))
    return batches.Batch(torch.from_numpy(read.images), dual.text.tokenize(read.texts))


class Gained(nn.Module):
    """Weights of every kind: matrices, biases, gains of one axis and of three, a scale."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.LayerNorm((2, 2, 2))
        self.batch, self.group = nn.BatchNorm1d(3), nn.GroupNorm(1, 3)
        self.table, self.convolution = nn.Embedding(4, 3), nn.Conv2d(3, 3, 1)
        self.scale, self.bias_of_norm = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(3, 3))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_weights_decay_but_for_gains_biases_and_scales():
    model = Gained()
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = optimisers.decay_groups(model, 0.3)
    found = {
        decay: {names[id(weight)] for group in groups for weight in group["params"]
                if group["weight_decay"] == decay}
        for decay in (0.3, 0.0)
    }  # fmt: skip
    assert found[0.3] == {
        "linear.weight", "table.weight", "convolution.weight", "bias_of_norm",
    }  # fmt: skip
    assert found[0.0] == {
        "linear.bias", "norm.weight", "norm.bias", "batch.weight", "batch.bias", "group.weight",
        "group.bias", "convolution.bias", "scale",
    }  # fmt: skip


def test_an_update_is_adamw_on_the_whole_batch():
    """Against torch alone, in its own words."""
    mine, theirs = (toy_towers.dual().requires_grad_(True) for _ in range(2))
    batch = pairs(mine)
    one = trainer(mine, weight_decay=0.2, clip_norm=0.5, eps=1e-3)
    images = theirs.image.transform.normalised(batch.images)
    optimiser = torch.optim.AdamW(
        optimisers.decay_groups(theirs, 0.2), lr=1e-2 / 3, betas=(0.9, 0.98), eps=1e-3
    )
    loss = losses.clip_loss(
        theirs.embed_images(images), theirs.embed_texts(batch.texts), theirs.logit_scale
    )
    loss.backward()
    norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
    optimiser.step()
    update = one.update(0, iter([batch]))
    assert update.loss == pytest.approx(loss.item(), rel=1e-6)
    assert update.gradient_norm == pytest.approx(norm.item(), rel=1e-6)
    assert norm > 0.5  # so that clipping did something
    for name, weight in mine.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], rtol=1e-5, atol=1e-7)


def test_the_scale_is_clipped_after_an_update():
    dual = toy_towers.trainable()
    with torch.no_grad():
        dual.log_scale.fill_(losses.LOG_SCALE_MAX + 1)
    trainer(dual).update(0, iter([pairs(dual)]))
    assert dual.log_scale.item() == pytest.approx(losses.LOG_SCALE_MAX)


def test_parts_of_a_batch_add_up_to_their_mean():
    dual = toy_towers.dual().requires_grad_(True)
    batch = pairs(dual)
    parts = [
        batches.Batch(batch.images[rows], {name: ids[rows] for name, ids in batch.texts.items()})
        for rows in (slice(0, 4), slice(4, 8))
    ]
    grads = []
    for part in parts:
        dual.zero_grad()
        losses.clip_loss(
            dual.embed_images(dual.image.transform.normalised(part.images)),
            dual.embed_texts(part.texts), dual.logit_scale,
        ).backward()  # fmt: skip
        grads.append(dual.image_proj.weight.grad.clone())
    dual.zero_grad()
    one = trainer(dual, accumulate=2)
    stream = iter(parts)
    for part in range(2):
        one._backward(0, part, next(stream))
    torch.testing.assert_close(dual.image_proj.weight.grad, (grads[0] + grads[1]) / 2)


def test_what_is_random_in_an_update_follows_from_seed_step_and_rank(monkeypatch):
    def weights(seed, step, before, rank=0):
        kind = type(processes.start())
        monkeypatch.setattr(kind, "process_index", property(lambda _: rank))
        dual = toy_towers.trainable()
        torch.manual_seed(before)
        trainer(dual, seed=seed).update(step, itertools.repeat(pairs(dual)))
        return torch.cat([weight.detach().flatten() for weight in dual.parameters()])

    assert torch.equal(weights(0, 3, before=1), weights(0, 3, before=2))
    assert not torch.equal(weights(0, 3, before=1), weights(1, 3, before=1))
    assert not torch.equal(weights(0, 3, before=1), weights(0, 3, before=1, rank=1))


@pytest.mark.parametrize("limit", [0.0, 0.1, 1e9])
def test_clipping_is_torchs(limit):
    torch.manual_seed(0)
    first, second = (nn.Linear(5, 4) for _ in range(2))
    second.load_state_dict(first.state_dict())
    for model in (first, second):
        model(torch.ones(2, 5)).square().sum().backward()
    norm = distributed.clip(list(first.parameters()), limit)
    expected = nn.utils.clip_grad_norm_(second.parameters(), limit or float("inf"))
    assert norm.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(first.weight.grad, second.weight.grad)


class TestHalfPrecision:
    def test_an_overflow_skips_the_update_and_halves_the_scale(self):
        dual = toy_towers.trainable()
        one = trainer(dual, precision="fp16")
        hook = dual.image_proj.weight.register_hook(lambda gradient: gradient * float("inf"))
        before = {name: weight.clone() for name, weight in dual.named_parameters()}
        scale = one.scaler.get_scale()
        update = one.update(0, itertools.repeat(pairs(dual)))
        assert not np.isfinite(update.gradient_norm)
        assert one.scaler.get_scale() == scale / 2
        assert all(torch.equal(weight, before[name]) for name, weight in dual.named_parameters())
        hook.remove()
        norms = [one.update(1, itertools.repeat(pairs(dual))).gradient_norm for _ in range(20)]
        assert np.isfinite(norms[-1])  # after as many halvings as these towers need

    def test_a_scale_that_falls_without_end_stops_the_run(self):
        dual = toy_towers.trainable()
        one = trainer(dual, precision="fp16")
        dual.image_proj.weight.register_hook(lambda gradient: gradient * float("inf"))
        updates = (one.update(step % 10, itertools.repeat(pairs(dual))) for step in range(100))
        with pytest.raises(training.TrainingFailed, match="expected gradients that fit fp16"):
            list(updates)

    def test_a_loss_that_is_not_finite_stops_it_at_once(self):
        dual = toy_towers.trainable()
        one = trainer(dual, precision="fp16")
        with torch.no_grad():
            dual.image_proj.weight.fill_(float("nan"))
        with pytest.raises(training.TrainingFailed, match="expected a finite loss, got nan at ste"):
            one.update(0, itertools.repeat(pairs(dual)))


def test_a_failed_update_changes_nothing():
    dual = toy_towers.trainable()
    dual.image_proj.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    assert "image.encoder.1.running_mean" in before
    one = trainer(dual)
    one.objective.train()
    with pytest.raises(training.TrainingFailed, match="expected finite gradients"):
        one.update(0, itertools.repeat(pairs(dual)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in dual.state_dict().items())
    assert not one.optimiser.state
