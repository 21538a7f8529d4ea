"""Our own checkpoints: these tensors on that base, in one safetensors file.

The base is what the names of the two towers bring. The tensors are what they do not bring: the
projections and `log_scale`, weights that were trained, adapters, and all of a tower from scratch,
whose seed may draw other numbers with another version of torch. The file's header carries the
names, the adapters to insert, and checksums of the base and of the tensors, as JSON under "towers".
Both must be as they were: a checkpoint is never put on other weights, nor without its adapters.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from towers import checked, files
from towers.models import adapters
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tower
from towers.models.weights import check_keys, checksum, is_safetensors, one_line

FORMAT = 2
ENCODER = "encoder."
"""How a tower names the keys of its network."""


@checked.fields(ValueError)
class Header:
    """What a checkpoint says about itself.

    Attributes:
        name: of the pair.
        image: name of the image tower, as `models.load` takes it.
        text: name of the text tower.
        image_base: checksum of the image tower's own weights that are not in the file.
        text_base: checksum of the text tower's likewise; what it borrows is not its own.
        tensors: checksum of what is in the file.
        embed: axis length of the shared space; None where there are no projections.
        adapters: for each tower that has some, what `adapters.read` takes.
        format: of this header.
    """

    name: str
    image: str
    text: str
    image_base: str
    text_base: str
    tensors: str
    embed: Annotated[int, Field(gt=0)] | None
    adapters: dict[Literal["image", "text"], str]
    format: Literal[FORMAT]


def save(dual: DualTower, path: Path) -> None:
    """Write a pair as a checkpoint, whole or not at all.

    Of a tower from scratch, or from a checkpoint that held it whole, all weights are written; of
    any other those that are trainable, were trained, or belong to adapters.
    """
    sides = {"image": dual.image, "text": dual.text}
    tensors = dict(dual.own_weights)
    for side, tower in sides.items():
        tensors |= {f"{side}.{ENCODER}{n}": each for n, each in tower.stored_weights.items()}
    tensors = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    header = Header(
        name=dual.name, image=dual.image.name, text=dual.text.name,
        image_base=_base(dual.image, dual.image.stored_weights),
        text_base=_base(dual.text, dual.text.stored_weights),
        tensors=checksum(tensors),
        embed=dual.embed if "image_proj.weight" in dual.own_weights else None,
        adapters={s: adapters.term(each.adapters) for s, each in sides.items() if each.adapters},
        format=FORMAT,
    )  # fmt: skip
    content = to_bytes(tensors, {"towers": json.dumps(asdict(header))})
    files.atomic_write(files.user_path(path), content)


def held(tensors: Mapping[str, Tensor], side: str) -> dict[str, Tensor]:
    """The weights of one tower among a checkpoint's tensors, named as in its network.

    Args:
        tensors: as `read` gives them.
        side: "image" or "text".
    """
    start = f"{side}.{ENCODER}"
    return {n.removeprefix(start): tensor for n, tensor in tensors.items() if n.startswith(start)}


def read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """A checkpoint's header and tensors; nothing in the file is executed.

    Raises:
        ValueError: it is missing, no safetensors, damaged, or not written by `save`.
    """
    if not is_safetensors(path):
        raise ValueError(
            f"expected a checkpoint in safetensors at {path}, got another format (pickles are "
            "never read); write it with models.save"
        )
    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("towers")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"expected a whole checkpoint at {path}, got {one_line(error)}; write it again"
        ) from None
    return _header(written, path), tensors


def restore(header: Header, tensors: dict[str, Tensor], image: ImageTower,
            text: TextTower, source: str) -> DualTower:  # fmt: skip
    """The pair that a checkpoint describes, on towers whose weights are those it was saved with.

    Args:
        header: as `read` gives it.
        tensors: as `read` gives them.
        image: the tower that the header names; filled where the checkpoint holds its weights.
        text: the tower that the header names; filled likewise.
        source: what to call the checkpoint in an error.

    Raises:
        ValueError: another checksum, or a missing, unexpected or misshaped key, by name.
    """
    bias = True if "image_proj.bias" in tensors else None  # else as the text tower has it
    with torch.device("meta"):
        expected = DualTower(image, text, header.embed, header.name, bias=bias).own_weights
    sides = (("image", image, header.image_base), ("text", text, header.text_base))
    for side, tower, _ in sides:
        given = held(tensors, side)
        if side in header.adapters:
            _adapt(tower, header.adapters[side], given, source)
        own = {n: each for n, each in tower.own_weights.items() if n in given}
        own |= tower.stored_weights  # what the name doesn't bring must be there
        expected |= {f"{side}.{ENCODER}{name}": tensor for name, tensor in own.items()}
    check_keys(expected, tensors, source)
    if (found := checksum(tensors)) != header.tensors:
        raise ValueError(
            f"expected tensors with checksum {header.tensors[:12]} in {source}, got {found[:12]}; "
            "the file was changed: write it again"
        )
    for side, tower, base in sides:
        _fill(tower, held(tensors, side), base, source)
    dual = DualTower(image, text, header.embed, header.name, bias=bias)
    own = {name: tensors[name] for name in dual.own_weights}
    dual.load_state_dict(own, strict=False)  # the towers have their weights
    return dual


def _base(tower: Tower, without: Mapping[str, Tensor]) -> str:
    """Checksum of a tower's own weights, without some of them."""
    if not (without or tower.borrows):
        return tower.checksum  # which is kept
    return checksum({n: each for n, each in tower.own_weights.items() if n not in without})


def _fill(tower: Tower, weights: dict[str, Tensor], base: str, source: str) -> None:
    """Weights into a tower, all or some of its own, if the others are those they stood on."""
    found = _base(tower, weights)
    if found != base:
        raise ValueError(
            f"expected weights of {tower.name} with checksum {base[:12]} for {source}, got "
            f"{found[:12]}; install the weights that it was trained on"
        )
    tower.encoder.load_state_dict(weights, strict=False)
    if weights.keys() == tower.own_weights.keys():
        tower.named = False
    else:
        tower.moved |= frozenset(weights)


def _adapt(tower: Tower, term: str, given: Mapping[str, Tensor], source: str) -> None:
    """Insert the adapters of a checkpoint, if the file is as large as they are."""
    wanted = adapters.read(term)
    needed = wanted.numbers(tower.encoder, tower.name)
    size = sum(tensor.numel() for tensor in given.values())
    if needed > size:
        raise ValueError(
            f"expected the {needed:,} weights of {term} for {tower.name} in {source}, got "
            f"{size:,}; adapters are never left out: write it again"
        )
    tower.adapt(wanted)


def _header(written: str | None, path: Path) -> Header:
    try:
        return checked.build(Header, json.loads(written or "null"), ValueError)
    except (ValueError, RecursionError):
        raise ValueError(
            f"expected a header of towers, format {FORMAT}, in {path}, got {str(written)[:80]!r}; "
            "write it with models.save"
        ) from None
