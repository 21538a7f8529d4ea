"""The training loop: one update after another, each a pure function of the state and the step.

Whatever is random in an update (dropout, dropped patches) is drawn from a generator that is seeded
from the run's seed, the step, the part of the batch and the rank. So nothing has to be remembered
between updates but weights, optimiser and scaler.
"""

import contextlib
import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from towers.training import distributed, optimisers
from towers.training.batches import Batch, Texts
from towers.training.caching import cached_step
from towers.training.errors import NotFinite, TrainingFailed
from towers.training.objectives import Objective
from towers.training.order import key
from towers.training.processes import Signals
from towers.training.recipe import Recipe

LEAST_SCALE = 2.0**-14
"""Scale of the loss in fp16 below which overflow is no accident any more."""


@dataclass(frozen=True)
class Update:
    """What an update saw.

    Attributes:
        step: updates done, this one included.
        loss: of the batch before the update, in nats, over all ranks.
        logit_scale: before the update.
        learning_rate: of the update.
        gradient_norm: over all weights, before clipping.
        pairs: in the batch, over all ranks.
        bad: reason -> unreadable samples that were replaced, over all ranks.
        duplicates: captions that another pair of the same negatives has already, over all ranks:
            to such a pair its own match is a negative too.
        asked: number of a signal that asked a rank to stop; 0: none.
    """

    step: int
    loss: float
    logit_scale: float
    learning_rate: float
    gradient_norm: float
    pairs: int
    bad: Counter = field(default_factory=Counter)
    duplicates: int = 0
    asked: int = 0


class Trainer:
    """An objective, its optimiser and its scaler, on the ranks that train it.

    Attributes:
        objective: as its ranks share it, from the first update on; `module` is the bare one.
        recipe: says how weights are updated; its length is in `steps`.
        optimiser: the recipe's, over all trainable weights.
        scaler: of the loss in fp16; does nothing otherwise.
        signals: that may ask this rank to stop, for whoever enters them.
    """

    def __init__(self, objective: Objective, recipe: Recipe, accelerator: Accelerator) -> None:
        self.signals = Signals(accelerator.is_main_process)
        self.recipe, self.accelerator, self.module = recipe, accelerator, objective
        self.sharded = recipe.shard and accelerator.num_processes > 1
        if self.sharded:
            self._copy = copy.deepcopy(objective)
            self.objective = distributed.shard(objective, accelerator)
        else:
            self.objective = objective.to(accelerator.device)
        self._together = self.sharded
        self.optimiser = optimisers.optimiser(
            objective, recipe.optimiser, recipe.lr, recipe.betas, recipe.eps, recipe.weight_decay,
            recipe.head_rate,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        return self.accelerator.device

    def whole(self) -> Objective:
        """The objective with all its weights, for use on one rank; all ranks call this."""
        return distributed.gathered(self.module, self._copy) if self.sharded else self.module

    def run(self, batches: Iterator[Batch], first: int, after: Callable[[Update], None]) -> None:
        """All updates from the first one on.

        Args:
            batches: of this rank, `accumulate` for each update, from the first update's on.
            first: updates that have been done.
            after: called after each update; it looks after a rank that was asked to stop.

        Raises:
            NotFinite: on all ranks, at a loss or a gradient that is not finite.
        """
        self.objective.train()
        for step in range(first, self.recipe.steps):
            after(self.update(step, batches))

    def update(self, step: int, batches: Iterator[Batch]) -> Update:
        """One update; a loss that is not finite changes no weight, moment or buffer.

        Args:
            step: updates that have been done.
            batches: of this rank; `accumulate` of them are taken.

        Raises:
            NotFinite: on all ranks, at a loss or a gradient that is not finite.
        """
        scale = self._scale(step)
        buffers = [buffer.clone() for buffer in self.module.buffers()]  # a forward pass moves them
        seen = [self._backward(step, part, next(batches)) for part in range(self.recipe.accumulate)]
        if self.sharded:
            distributed.share_gradients(self.module)
        self.scaler.unscale_(self.optimiser)
        weights = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        norm = distributed.clip(weights, self.recipe.clip_norm)
        try:
            seen_by_all = self._agreed(step, scale, seen, norm)
        except NotFinite:
            for buffer, before in zip(self.module.buffers(), buffers, strict=True):
                buffer.copy_(before)
            raise
        duplicates = self._duplicates([batch for _, _, batch in seen])
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(step) * group.get("times", 1.0)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.module.dual.clip_scale_()
        return replace(seen_by_all, duplicates=duplicates)

    def _backward(self, step: int, part: int, batch: Batch) -> tuple[Tensor, Tensor, Batch]:
        """Forward and backward pass over one part; gradients are shared at the last one."""
        seed = key(self.recipe.seed, "update", step, part, self.accelerator.process_index) >> 1
        batch, sound = batch.to(self.device), []
        if not self._together:
            self.objective = distributed.replicate(self.module, self.accelerator, batch)
            self._together = True

        def loss_of(*outputs: Tensor) -> Tensor:
            sound.append(torch.stack([output.isfinite().all() for output in outputs]).all())
            return self.module.loss(*outputs)

        with self._apart(part):
            if self.recipe.chunk:
                loss = cached_step(
                    self._forward, batch.images, batch.texts, loss_of, chunk=self.recipe.chunk,
                    seed=seed, backward=self._go_back, no_sync=self._unshared,
                )  # fmt: skip
            else:
                _seed(self.device, seed)
                loss = loss_of(*self._forward(batch.images, batch.texts))
                self._go_back(loss)
        return loss.detach(), sound[0], batch

    def _forward(self, images: Tensor, texts: Texts) -> tuple[Tensor, ...]:
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self.recipe.precision)
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            return self.objective(images, texts)

    def _go_back(self, loss: Tensor) -> None:
        """Gradients of a part's loss; ranks' gradients are averaged when they are shared."""
        ranks = self.accelerator.num_processes if self.module.adds_up else 1
        self.scaler.scale(loss * (ranks / self.recipe.accumulate)).backward()

    def _apart(self, part: int) -> contextlib.AbstractContextManager:
        last = part == self.recipe.accumulate - 1
        return contextlib.nullcontext() if last else self._unshared()

    def _unshared(self) -> contextlib.AbstractContextManager:
        if self.sharded:
            return distributed.unshared(self.objective)
        return self.accelerator.no_sync(self.objective)

    def _agreed(
        self, step: int, scale: float, seen: list[tuple[Tensor, Tensor, Batch]], norm: Tensor
    ) -> Update:
        """What all ranks saw, if it is finite on all of them."""
        losses, sounds, batches = zip(*seen, strict=True)
        bad = sum((batch.bad for batch in batches), Counter())
        mine = [torch.stack(losses).mean(), torch.stack(sounds).all(), norm]
        counts = sum(len(batch) for batch in batches), bad.total(), self.signals.asked
        mine += [torch.tensor(count) for count in counts]
        mine = torch.stack([value.to(self.device, torch.float64) for value in mine])
        loss, sound, norms, pairs, faults, asked = self.accelerator.gather(mine[None]).T.tolist()
        self._must_be_finite(step, loss, sound, norms)
        if sum(faults):
            bad = sum(gather_object([bad]), Counter())
        return Update(
            step + 1, sum(loss) / len(loss), scale, self.recipe.rate(step), max(norms),
            int(sum(pairs)), bad, asked=int(max(asked)),
        )  # fmt: skip

    def _duplicates(self, batches: list[Batch]) -> int:
        """Captions that stand in a part of the batch before, over all ranks."""
        if batches[0].captions is None:
            return 0
        mine = torch.stack([batch.captions for batch in batches])[None]
        parts = self.accelerator.gather(mine).movedim(1, 0).flatten(1)  # (parts, pairs)
        return sum(len(part) - len(part.unique()) for part in parts)

    def _must_be_finite(
        self, step: int, loss: list[float], sound: list[float], norms: list[float]
    ) -> None:
        """Raise the same error on all ranks if anything is not finite on any of them."""
        rank = next((rank for rank, fine in enumerate(sound) if not fine), None)
        if rank is None:
            rank = next((rank for rank, value in enumerate(loss) if not math.isfinite(value)), None)
        if rank is not None:
            self._fail("a finite loss", f"{loss[rank]}", step, rank)
        rank = next((rank for rank, value in enumerate(norms) if not math.isfinite(value)), None)
        if rank is not None and not self.scaler.is_enabled():
            self._fail("finite gradients", f"a norm of {norms[rank]}", step)
        if self.scaler.is_enabled() and self.scaler.get_scale() < LEAST_SCALE:
            self._fail("gradients that fit fp16", f"a scale of {self.scaler.get_scale():g}", step)

    def _fail(
        self, wanted: str, got: str, step: int, rank: int | None = None, kind: type = NotFinite
    ) -> None:
        where = f"at step {step + 1} of {self.recipe.steps}"
        if rank is not None and self.accelerator.num_processes > 1:
            where += f", first on rank {rank}"
        raise kind(f"expected {wanted}, got {got} {where}; lower lr ({self.recipe.lr:g})")

    def _scale(self, step: int) -> float:
        """The logits' multiplier, the same on all ranks."""
        scale = self.module.dual.logit_scale.item()
        if not 0 < scale < math.inf:
            self._fail("a finite logit_scale above 0", f"{scale}", step, kind=TrainingFailed)
        return scale


def _seed(device: torch.device, seed: int) -> None:
    """Seed what a forward pass draws from, and no other device's generator."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
