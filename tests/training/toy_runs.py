"""Small runs that take a fraction of a second, in this process or in ranks of their own."""

import dataclasses
import hashlib
import os
import signal
import time

import torch
from torch.distributed.tensor import DTensor

from tests import toy_towers
from tests.faults import faulty_disk
from towers import models, training
from towers.training import loading, logs, loop, processes, samples, states

PAIRS = 44
RECIPE = training.Recipe(
    image="toy:image", text="toy:text", data=("toys",), steps=12, warmup=2, batch=8, embed=6,
    lr=1e-2, clip_norm=1.0, accumulate=2, checkpoint_every=3, augment="crop",
)  # fmt: skip


def recipe(**changes):
    return dataclasses.replace(RECIPE, **changes)


def source(dual, pairs=PAIRS):
    captions = [(f"toy {n}", f"a toy {n}", f"{n} is a toy") for n in range(pairs)]
    return samples.CollectionSamples(
        toy_towers.collection(captions), samples.Squares(dual.image.transform, crop=True)
    )


def tarred(dual, place):
    """The shards in a place, for a process of its own: its cache is there too."""
    os.environ["TOWERS_HOME"] = f"{place}/home"
    return loading.load([f"shards:{place}/{{0..2}}.tar"], dual.image.transform, augment="crop")


def train(folder, dual=None, **changes):
    """A run in this process; what `training.train` takes besides the recipe is passed on."""
    options = {name: changes.pop(name) for name in ("resume", "evaluate") if name in changes}
    dual = dual or toy_towers.trainable()
    data = changes.pop("source", None) or source(dual)
    return training.train(
        recipe(**changes), folder, dual=dual, source=data, progress=False, **options
    )


def bits(folder, step):
    """One hash of a step's checkpoint and of the trained pair: equal only if all bits are."""
    state = states.Checkpoints(folder / "checkpoints", 1).read(step)
    content = hashlib.sha256(repr((state.step, state.scaler, sorted(state.bad.items()))).encode())
    pair = models.checkpoints.read(folder / "final.safetensors")[1]
    for tensors in (state.weights, state.moments, pair):
        for name in sorted(tensors):
            content.update(name.encode())
            content.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


class Stop(Exception):
    """Ends a run from outside, as an interruption does."""


def poisoned(folder, step, rank, **changes):
    """A run in whose update after `step` others the images of one rank become NaN."""
    dual = toy_towers.trainable()
    forward = dual.image.forward
    calls = []

    def image(images):
        if not dual.training:  # before the first update
            return forward(images)
        calls.append(len(images))
        mine = int(os.environ.get("RANK", 0)) == rank
        poison = mine and len(calls) == step * RECIPE.accumulate + 1
        return forward(images) * (float("nan") if poison else 1)

    dual.image.forward = image
    train(folder, dual=dual, **changes)


def unreadable(folder, rank):
    """A run in which one rank cannot read the batch of step 8."""
    data = source(toy_towers.trainable())
    read, calls = type(data).read, []

    def breaking(rows, picks):
        calls.append(len(rows))
        if int(os.environ["RANK"]) == rank and len(calls) == 7 * RECIPE.accumulate + 1:
            raise OSError("the shelf broke")
        return read(data, rows, picks)

    object.__setattr__(data, "read", breaking)
    train(folder, source=data)


def seen(folder, stop=None, shards=None, **changes):
    """A run that notes which rows it reads, in order, and may be stopped after some updates."""
    dual, rows = toy_towers.trainable(), []
    data = tarred(dual, shards) if shards else source(dual)
    read, update = type(data).read, loop.Trainer.update

    def noted(wanted, picks):
        rows.append((wanted.tolist(), picks.tolist()))
        return read(data, wanted, picks)

    def stopping(self, step, batches):
        if step == stop:
            raise RuntimeError("stopped")
        return update(self, step, batches)

    object.__setattr__(data, "read", noted)
    loop.Trainer.update = stopping
    try:
        train(folder, source=data, **changes)
    except RuntimeError as error:
        if "stopped" not in str(error):
            raise
    finally:
        loop.Trainer.update = update
    return rows


def failing(folder, at, number, after=False, **changes):
    """A run during which rank 0's disk fails, or with 0 for the error kills it, at a call."""
    if int(os.environ.get("RANK", 0)):
        return train(folder, **changes).steps
    act = faulty_disk.error(number) if number else faulty_disk.die
    with faulty_disk.strikes(at, act, lasting=bool(number), after=after) as counter:
        train(folder, **changes)
    return counter.seen


def finished(folder, **changes):
    """A run to its end; the updates that were done before."""
    return train(folder, **changes).resumed


def asked(folder, number=signal.SIGTERM, told=(0,), **changes):
    """A run to whose ranks `told` a signal comes in the sixth update; first to who reads for it."""
    data = source(toy_towers.trainable())
    read, calls, home = type(data).read, [], os.getpid()

    def hearing(rows, picks):
        calls.append(len(rows))
        mine = int(os.environ.get("RANK", 0)) in told
        if mine and len(calls) == 5 * RECIPE.accumulate + 1:
            for process in dict.fromkeys((os.getpid(), home)):
                os.kill(process, number)
                time.sleep(0.2)  # until it has been heard, and the rank has used what is read ahead
        return read(data, rows, picks)

    object.__setattr__(data, "read", hearing)
    return train(folder, source=data, **changes).resumed


def noted(folder, place):
    """A run whose ranks' stderr goes to files in a place; rank 1 is slow to say good-bye."""
    rank, stop = os.environ["RANK"], processes._Watch.stop

    def late(watch, words=""):
        time.sleep(1.3 * processes.BEAT)
        stop(watch, words)

    if rank == "1":
        processes._Watch.stop = late
    with open(f"{place}/stderr-{rank}", "wb") as file:
        os.dup2(file.fileno(), 2)
    train(folder)


def losing_a_worker(folder):
    """A run one of whose workers is killed after two updates."""
    data = source(toy_towers.trainable())
    read, home = type(data).read, os.getpid()

    def dying(rows, picks):
        mine = os.getpid() != home and torch.utils.data.get_worker_info().id == 0
        if mine and len(logs.read(folder)) >= 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(data, rows, picks)

    object.__setattr__(data, "read", dying)
    train(folder, source=data, workers=2)


def sharded(folder, stop=None):
    """A run whose weights are spread; which share of the moments' bytes this rank holds.

    The ranks read tensors in other orders, as ranks do that a launcher started: their order in
    safetensors depends on a random number that forked processes have in common.
    """
    trainers, make, read = [], loop.Trainer.__init__, states.from_bytes
    if int(os.environ["RANK"]):
        states.from_bytes = lambda content: dict(reversed(read(content).items()))

    def noted(self, *arguments):
        make(self, *arguments)
        trainers.append(self)

    loop.Trainer.__init__ = noted
    seen(folder, stop, shard=True)
    if stop is not None:
        return None
    values = [
        value for moments in trainers[0].optimiser.state.values() for value in moments.values()
    ]
    mine = sum(getattr(value, "_local_tensor", value).numel() for value in values)
    return mine / sum(value.numel() for value in values)


def together(folder):
    """A run whose weights are spread; the most bytes of whole weights and gradients at a time."""
    most, make = [0], loop.Trainer.__init__

    def watched(self, *arguments):
        make(self, *arguments)

        def look(*_):
            whole = [each for each in self.module.parameters() if not isinstance(each, DTensor)]
            whole += [each.grad for each in whole if each.grad is not None]
            most[0] = max(most[0], sum(each.nbytes for each in whole))

        def watch(*_):
            for each in self.module.parameters():
                each.register_post_accumulate_grad_hook(look)

        self.module.register_forward_pre_hook(watch)  # after the one that brings weights together

    loop.Trainer.__init__ = watched
    train(folder, shard=True, steps=3)
    return most[0]
