"""The ranks of a run: how they start, agree, and notice that one of them is gone."""

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs


def start() -> Accelerator:
    """This process as one of the ranks that a launcher started, or alone.

    Precision, accumulation and order are the loop's own. Gradients are shared in buckets that
    never change: those of torch are laid out anew after the first update, so that a resumed run
    would add up the same numbers in another order.
    """
    return Accelerator(
        mixed_precision="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
