"""How far alignment moves the layer norms of each tower, and whether that goes with depth.

Source: Khan and Fu 2023, section 3 (after Table 4) and Figs. 4 and 5.
"""

import pandas as pd
from scipy import stats
from torch import nn

from towers import models
from towers.models.stacks import stack
from towers.records import Measurement


def moves(before: models.DualTower, after: models.DualTower) -> pd.DataFrame:
    """The L1 norm of the change of gains and biases, norm by norm.

    Args:
        before: the pair before alignment.
        after: the same towers after it.

    Returns:
        One row a layer norm inside a layer. Columns `tower` ("image" or "text"), `layer` and `norm`
        (both from 1), and `change`, the sum of absolute differences of its gains and biases; an
        adapter that hangs on a norm is none of its parameters.

    Raises:
        ValueError: the towers differ in their layers, or have none that are known.
    """
    rows = []
    for side in ("image", "text"):
        old, new = (_norms(getattr(pair, side)) for pair in (before, after))
        if old.keys() != new.keys():
            raise ValueError(
                f"expected the same layer norms before and after in the {side} tower, got "
                f"{len(old)} and {len(new)}"
            )
        for (layer, norm), module in old.items():
            same = new[layer, norm].parameters(recurse=False)
            pairs = zip(module.parameters(recurse=False), same, strict=True)
            change = sum(float((second - first).detach().abs().sum()) for first, second in pairs)
            rows.append((side, layer, norm, change))
    return pd.DataFrame(rows, columns=["tower", "layer", "norm", "change"])


def evaluate(frame: pd.DataFrame, *, model: str, data: str, seed: int) -> list[Measurement]:
    """How the changes go with depth.

    Args:
        frame: as `moves` gives it.
        model: of the records.
        data: of the records.
        seed: of the run.

    Returns:
        For each `tower` "r of change and depth", Pearson's, with Fisher's 95 % interval (which
        takes the norms as independent) and n norms; and "deepest over shallowest", the mean change
        in the last quarter of the layers over that in the first quarter.
    """
    rows = []
    for side, part in frame.groupby("tower", sort=False):
        found = stats.pearsonr(part.layer, part.change)
        low, high = found.confidence_interval()
        quarter = max(1, part.layer.max() // 4)
        deep = part.change[part.layer > part.layer.max() - quarter].mean()
        shallow = part.change[part.layer <= quarter].mean()
        shared = {"model": model, "data": data, "seed": seed, "n": len(part), "at": {"tower": side}}
        rows += [
            Measurement(
                metric="r of change and depth", value=float(found.statistic),
                low=float(low), high=float(high), **shared,
            ),
            Measurement(
                metric="deepest over shallowest", value=float(deep / shallow), **shared
            ),
        ]  # fmt: skip
    return rows


def patterns(depth: dict[str, int]) -> dict[str, str]:
    """Policies that unlock the layer norms of ever fewer layers, after two opposite patterns.

    Args:
        depth: layers of the "image" tower and of the "text" tower.

    Returns:
        "A, 1 locked" -> policy, and so on: of pattern A, so many of the deepest layers of the text
        tower and of the shallowest of the image tower are locked; of pattern B it is the reverse.
        "none locked" comes first. In all of them a norm outside of layers stays locked.

    Raises:
        ValueError: a tower of fewer than two layers.
    """
    least = min(depth.values())
    if least < 2:
        raise ValueError(f"expected towers of at least two layers, got {depth}")
    found = {"none locked": "layer-norms?layers=0:"}
    for locked in range(1, least):
        shallow = dict.fromkeys(depth, f"layer-norms?layers={locked}:")
        deep = {side: f"layer-norms?layers=:{count - locked}" for side, count in depth.items()}
        found[f"A, {locked} locked"] = f"image={shallow['image']},text={deep['text']}"
        found[f"B, {locked} locked"] = f"image={deep['image']},text={shallow['text']}"
    return found


def _norms(tower: models.Tower) -> dict[tuple[int, int], nn.LayerNorm]:
    """The norms inside the layers by layer and place, both from 1."""
    layers = stack(tower.encoder, tower.name).layers
    return {
        (number, place): module
        for number, layer in enumerate(layers, 1)
        for place, module in enumerate(
            (each for each in layer.modules() if isinstance(each, nn.LayerNorm)), 1
        )
    }
