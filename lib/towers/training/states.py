"""Checkpoints of a run: written atomically, checked when read, never unpickled.

A checkpoint is a folder `step-00001000` with the trainable weights and the optimiser's moments in
safetensors and the rest in `state.json`, which names the checksum of each file. It is written to a
hidden folder beside, forced to disk, and renamed. A reader takes the newest one that is whole.
"""

import contextlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from towers import files
from towers.models.weights import check_keys, one_line
from towers.training.errors import TrainingFailed
from towers.training.loop import Trainer

FORMAT = 1
ABOUT, WEIGHTS, MOMENTS = "state.json", "weights.safetensors", "optimiser.safetensors"
_NAME = re.compile(r"step-(\d{8,})")
_KINDS = {"format": int, "step": int, "scaler": dict, "bad": dict, "ranks": int, "files": dict}


@dataclass(frozen=True)
class State:
    """What is saved: all that an update depends on besides the recipe and the data.

    Attributes:
        step: updates done.
        weights: trainable weights and buffers, by name, in the objective.
        moments: of the optimiser: "exp_avg/" and so on, and the weight's name; a moment is a
            number, or has the weight's axes or all but one of them.
        scaler: of the loss in fp16; empty otherwise.
        bad: reason -> unreadable samples so far.
        ranks: that trained.
    """

    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    scaler: dict[str, float]
    bad: Counter
    ranks: int


def take(trainer: Trainer, step: int, bad: Counter) -> State:
    """Take the state of a trainer, gathered on the CPU; all ranks call it."""
    return State(
        step,
        {name: _whole(tensor) for name, tensor in _kept(trainer).items()},
        {
            f"{kind}/{name}": _whole(value)
            for name, weight in _trainable(trainer).items()
            for kind, value in trainer.optimiser.state.get(weight, {}).items()
        },
        trainer.scaler.state_dict(),
        bad,
        trainer.accelerator.num_processes,
    )


@torch.no_grad()
def put(trainer: Trainer, state: State, source: str) -> None:
    """Load a state into a trainer, bit by bit.

    Args:
        trainer: of the same objective as the one that the state was taken of.
        state: to bring it to.
        source: what to call the state in an error.

    Raises:
        ValueError: a tensor is missing, unexpected or of another shape; nothing is changed.
    """
    kept, weights = _kept(trainer), _trainable(trainer)
    check_keys(kept, state.weights, source)
    moments: dict[Tensor, dict[str, Tensor]] = {}
    for name, value in state.moments.items():
        kind, _, of = name.partition("/")
        if of not in weights or tuple(value.shape) not in _shapes(weights[of]):
            raise ValueError(
                f"expected moments of this model's weights, but {source} has {name!r} of shape "
                f"{tuple(value.shape)}; start afresh"
            )
        moments.setdefault(weights[of], {})[kind] = _moment(value, weights[of])
    for name, tensor in kept.items():
        tensor.copy_(_alike(state.weights[name], tensor))
    trainer.optimiser.state.clear()
    trainer.optimiser.state.update(moments)
    if state.scaler:
        trainer.scaler.load_state_dict(state.scaler)


class Checkpoints:
    """The checkpoints in a folder, of which the newest ones are kept.

    Attributes:
        folder: `checkpoints/` of a run.
        keep: how many stay.
        pinned: step of one more that stays; 0: of none.
    """

    def __init__(self, folder: Path, keep: int, pinned: int = 0) -> None:
        self.folder, self.keep, self.pinned = folder, keep, pinned

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.folder / f"step-{step:08d}"

    def write(self, state: State) -> Path:
        """Write a checkpoint whole or not at all, then remove what is older than those kept.

        Checkpoints of later steps are removed too: a run that writes an earlier step has passed
        them over as damaged.

        Raises:
            OSError: the disk is full or fails; the checkpoints before are as they were.
        """
        target = self.path(state.step)
        staging = self.folder / f".{target.name}.{os.getpid()}.part"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            staging.mkdir()
            _fill(staging, state)
            _set_aside(target)
            os.rename(staging, target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        files.sync(self.folder)
        steps = self.steps()
        later = [step for step in steps if step > state.step]
        older = [step for step in steps if step <= state.step and step != self.pinned][self.keep :]
        for step in (*later, *older):
            _set_aside(self.path(step))
        self.sweep()
        return target

    def steps(self) -> list[int]:
        """Steps of all checkpoints, good or not, the newest first."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def newest(self, complain: Callable[[str], None]) -> State | None:
        """The newest checkpoint that is whole; None where there are no checkpoints at all.

        Args:
            complain: told one line about each damaged one that is passed over.

        Raises:
            TrainingFailed: there are checkpoints, but none is whole.
        """
        steps = self.steps()
        for step in steps:
            try:
                return self.read(step)
            except ValueError as error:
                if step == steps[-1]:
                    raise TrainingFailed(
                        f"{error}, and no older one is whole; bring one back, or begin afresh "
                        "(--fresh)"
                    ) from None
                complain(f"{error}; trying the one before")
        return None

    def read(self, step: int) -> State:
        """The checkpoint of a step.

        Raises:
            ValueError: it is missing, damaged, or not written by `write`.
        """
        path = self.path(step)
        try:
            about = _about(path, step)
            weights, moments = (_tensors(path / name, about) for name in (WEIGHTS, MOMENTS))
        except (OSError, KeyError, ValueError, RecursionError, SafetensorError) as error:
            cause = error.strerror if isinstance(error, OSError) else one_line(error)
            raise ValueError(
                f"expected a whole checkpoint at {files.shown(path)}, got {cause}"
            ) from None
        bad = Counter({str(reason): int(count) for reason, count in about["bad"].items()})
        return State(step, weights, moments, about["scaler"], bad, about["ranks"])

    def sweep(self) -> None:
        """Remove unfinished and removed checkpoints; nobody else may be writing."""
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path)


def _fill(folder: Path, state: State) -> None:
    """The files of a checkpoint, each forced to disk, and then the folder."""
    contents = {WEIGHTS: to_bytes(state.weights), MOMENTS: to_bytes(state.moments)}
    about = {
        "format": FORMAT, "step": state.step, "scaler": state.scaler, "bad": dict(state.bad),
        "ranks": state.ranks,
        "files": {name: files.sha256(content) for name, content in contents.items()},
    }  # fmt: skip
    for name, content in (*contents.items(), (ABOUT, json.dumps(about, indent=1))):
        files.atomic_write(folder / name, content)
    files.sync(folder)


def _set_aside(path: Path) -> None:
    """Hide a checkpoint in one step, so that none is ever seen half removed."""
    if path.exists():
        aside = path.with_name(f".{path.name}.{os.getpid()}.old")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)
        os.rename(path, aside)


def _about(path: Path, step: int) -> dict:
    """Read `state.json`, and check its types."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    fits = isinstance(about, dict) and about.keys() == _KINDS.keys()
    fits = fits and all(type(about[name]) is kind for name, kind in _KINDS.items())
    fits = fits and all(type(value) in (int, float) for value in about["scaler"].values())
    fits = fits and all(type(count) is int for count in about["bad"].values())
    if not (fits and about["format"] == FORMAT and about["step"] == step):
        raise ValueError(f"another {ABOUT}")
    return about


def _tensors(path: Path, about: dict) -> dict[str, Tensor]:
    """The tensors of a file by their names, in an order that is the same on all ranks.

    safetensors gives them in another order in every process; ranks that gather or share tensors
    one by one would mix them up, or abort where the sizes differ.
    """
    content = path.read_bytes()
    if files.sha256(content) != about["files"].get(path.name):
        raise ValueError(f"another content of {path.name}")
    return dict(sorted(from_bytes(content).items()))


def _kept(trainer: Trainer) -> dict[str, Tensor]:
    """The tensors of the objective that training changes, each once, by name; not copies."""
    module = trainer.module
    names = {*_trainable(trainer), *(name for name, _ in module.named_buffers())}
    return {name: tensor for name, tensor in module.state_dict().items() if name in names}


def _trainable(trainer: Trainer) -> dict[str, Tensor]:
    named = trainer.module.named_parameters()
    return {name: weight for name, weight in named if weight.requires_grad}


def _whole(tensor: Tensor) -> Tensor:
    """Gather a tensor from all ranks, on the CPU and contiguous."""
    tensor = tensor.detach()
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.cpu().contiguous()


def _shapes(weight: Tensor) -> list[tuple[int, ...]]:
    """Shapes of the moments that an optimiser may keep for a weight."""
    shape = tuple(weight.shape)
    return [(), shape, *(shape[:axis] + shape[axis + 1 :] for axis in range(len(shape)))]


def _moment(value: Tensor, weight: Tensor) -> Tensor:
    """Put a moment on its weight's device, in its own type, strided and sharded as the weight."""
    if not value.ndim:
        return value
    if value.shape != weight.shape:
        return value.to(weight.device)
    return torch.empty_like(weight, dtype=value.dtype).copy_(_alike(value, weight))


def _alike(value: Tensor, model: Tensor) -> Tensor:
    """Shard a whole tensor as another one is; each rank has all of it, and keeps its part."""
    if isinstance(model, DTensor):
        return distribute_tensor(
            value.to(model.device), model.device_mesh, model.placements, src_data_rank=None
        )
    return value
