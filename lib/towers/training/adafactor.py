"""Adafactor as big_vision has it: a second moment in rows and columns, a first one in bfloat16.

What other implementations do differently (all of them would train another model):

* `torch.optim.Adafactor` scales the rate by each weight's size, caps it at 1 / sqrt(step), clips
  each update's size, has no first moment, an uncapped decay, and factors every matrix.
* `transformers.Adafactor` can leave most of this out, but keeps its first moment in full, over
  updates that the rate has multiplied, its decay uncapped, and factors every matrix.
* `timm.optim.AdafactorBigVision` is near; but it applies the first moment as rounded to bfloat16,
  and rounds each update before it enters.

One difference is left to big_vision: its queries, keys and values are (width, heads, head_dim) and
factored for each head, those of this house are one matrix.

Source: Shazeer and Stern 2018; Zhai et al. 2021, section 3.4; Tschannen et al. 2023, appendix B.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

FACTORED_FROM = 32
"""Axes of a weight that are factored have at least this length."""
DECAY, CAP, EPS = 0.8, 0.999, 1e-30
"""The second moment decays by min(cap, 1 - step ** -decay); eps is added to squared gradients."""

KERNELS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Modules whose weight decays; positions, embeddings of words and gains do not."""


class Adafactor(torch.optim.Optimizer):
    """One step: w <- w - lr * moment - (lr / peak) * weight_decay * w.

    The decay follows the schedule, but is not multiplied by the rate itself, so that AdamW's decay
    of the same strength is `weight_decay / peak`.
    """

    def __init__(
        self, params: Iterable, lr: float = 1e-3, weight_decay: float = 0.0,
        momentum: float = 0.9, momentum_dtype: torch.dtype = torch.bfloat16,
    ) -> None:  # fmt: skip
        """Begin with no moments.

        Args:
            params: weights or groups of them, as torch's optimisers take them.
            lr: the peak of the rate; a schedule sets the groups' `lr`.
            weight_decay: share of each weight that goes at the peak.
            momentum: of the first moment, a plain mean that begins at 0 and is never corrected.
            momentum_dtype: that it is kept in.
        """
        self.peak, self.momentum, self.momentum_dtype = lr, momentum, momentum_dtype
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update all weights that have a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group["lr"], group["weight_decay"])
        return loss

    def _update(self, weight: nn.Parameter, lr: float, weight_decay: float) -> None:
        state, gradient = self.state[weight], weight.grad
        if not state:
            state |= _begin(weight, self.momentum_dtype)
        state["step"] += 1
        keep = min(CAP, 1 - float(state["step"]) ** -DECAY)
        moment = gradient * _inverse_root(state, gradient.square().add_(EPS), keep)
        moment = moment.mul_(1 - self.momentum).add_(state["exp_avg"], alpha=self.momentum)
        state["exp_avg"].copy_(moment)
        weight.mul_(1 - weight_decay * lr / self.peak).sub_(moment, alpha=lr)


def factored(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The two longest axes of a weight, the longest last; None where the second moment is whole."""
    axes = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis))[-2:]
    return (axes[0], axes[1]) if len(axes) == 2 and shape[axes[0]] >= FACTORED_FROM else None


def held(weight: Tensor) -> int:
    """Bytes of the moments of a weight."""
    return sum(
        moment.nbytes for moment in _begin(weight.detach().to("meta"), torch.bfloat16).values()
    )


def kernel_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable weights that decay, the kernels of linear and convolutional layers, and the rest.

    Source: big_vision, whose decay goes to all that is called a kernel.
    """
    kernels = {
        id(module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight)
        for module in model.modules()
        if isinstance(module, (*KERNELS, nn.MultiheadAttention))
    }
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    parts = [[w for w in weights if (id(w) in kernels) == decays] for decays in (True, False)]
    return [
        {"params": part, "weight_decay": decay}
        for part, decay in zip(parts, (weight_decay, 0.0), strict=True)
        if part
    ]


def _begin(weight: Tensor, momentum_dtype: torch.dtype) -> dict[str, Tensor]:
    """Moments of zeros; "row" is the mean over the longest axis, "column" over the second one."""
    axes = factored(weight.shape)
    state = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(weight, dtype=momentum_dtype)}
    if axes is None:
        return state | {"exp_avg_sq": torch.zeros_like(weight)}
    return state | {
        name: weight.new_zeros([n for at, n in enumerate(weight.shape) if at != axis])
        for name, axis in (("row", axes[1]), ("column", axes[0]))
    }


def _inverse_root(
    state: dict[str, Tensor], squares: Float[Tensor, "..."], keep: float
) -> Float[Tensor, "..."]:
    """One over the root of the second moment, brought forward by squared gradients."""
    axes = factored(squares.shape)
    if axes is None:
        return state["exp_avg_sq"].lerp_(squares, 1 - keep).rsqrt()
    second, longest = axes
    row = state["row"].lerp_(squares.mean(longest), 1 - keep).unsqueeze(longest)
    column = state["column"].lerp_(squares.mean(second), 1 - keep).unsqueeze(second)
    return (row / row.mean(second, keepdim=True)).rsqrt() * column.rsqrt()
