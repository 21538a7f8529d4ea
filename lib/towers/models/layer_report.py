"""Parameters of a pair layer by layer, trained and locked, as the towers are drawn.

Source: Khan and Fu 2023, Figs. 1 to 3.
"""

import pandas as pd
from torch import nn

from towers.models.adapters import Adapter, Deep
from towers.models.duals import DualTower
from towers.models.encoders import Tower
from towers.models.stacks import stack

BEFORE, AFTER, HEAD = "input", "output", "projection"
WEIGHTS, NORMS, ADAPTERS = "weights", "norms", "adapters"


def by_layer(dual: DualTower) -> pd.DataFrame:
    """Parameters of both towers by where they stand, from the input up.

    Args:
        dual: towers with one stack of transformer layers each.

    Returns:
        One row for each kind of parameters that a part has. Columns: `tower` ("image" or "text");
        `part` ("input", "layer 1" and so on, "output", "projection"); `kind` ("weights", "norms",
        "adapters"; a layer that was added is all adapters); `parameters`; and `trainable`, those
        that an update moves.

    Raises:
        ValueError: a tower has no stack of layers that is known.
    """
    rows = []
    for side, tower, projection in (
        ("image", dual.image, dual.image_proj),
        ("text", dual.text, dual.text_proj),
    ):
        head = [(HEAD, WEIGHTS, weight) for weight in projection.parameters()]
        for part, kind, weight in [*_parts(tower), *head]:
            moving = weight.numel() * weight.requires_grad
            rows.append((side, part, kind, weight.numel(), moving))
    frame = pd.DataFrame(rows, columns=["tower", "part", "kind", "parameters", "trainable"])
    return frame.groupby(["tower", "part", "kind"], sort=False).sum().reset_index()


def _parts(tower: Tower):
    """Each parameter with its part and kind, parts from the input up."""
    place = stack(tower.encoder, tower.name)
    total = len(place.layers)
    own = total - (tower.adapters.layers if isinstance(tower.adapters, Deep) else 0)
    kinds = {
        id(weight): kind
        for module in tower.encoder.modules()
        for types, kind in ((nn.LayerNorm, NORMS), (Adapter, ADAPTERS))
        if isinstance(module, types)
        for weight in module.parameters()
    }
    inside, seen = [], set()
    for number, layer in enumerate(place.layers):
        for weight in layer.parameters():
            kind = ADAPTERS if number >= own else kinds.get(id(weight), WEIGHTS)
            inside.append((f"layer {number + 1}", kind, weight))
            seen.add(id(weight))
    outside, behind = {BEFORE: [], AFTER: []}, False
    for weight in tower.encoder.parameters():
        behind |= id(weight) in seen
        if id(weight) not in seen:
            part = AFTER if behind else BEFORE
            outside[part].append((part, kinds.get(id(weight), WEIGHTS), weight))
    return outside[BEFORE] + inside + outside[AFTER]
