"""Our own checkpoints: one safetensors file that names the frozen towers and holds the rest.

The file's header carries, as JSON under "towers", the name and checksum of both towers, the name
of the pair and the length of the shared space; the tensors are the projections and `log_scale`.
Where a name does not bring a tower's weights back, because it was trained or comes from scratch,
the header lists it under "stored" ("image", "text"), and its weights are among the tensors, under
the keys that they have in the pair. A text tower that borrows the image tower's network stores,
and has checksummed, what it adds.

Where a name brings all but some of a tower's weights, because only these were trained or are those
of adapters, only these are stored. "moved" then has their checksum, the tower's own checksum is
that of all others, which they stand on, and "adapters" says which ones are to be inserted. Both
must be as they were: a checkpoint is never put on other weights, nor without its adapters.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from towers import files
from towers.models import adapters
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tower
from towers.models.weights import check_keys, checksum, is_safetensors, one_line

FORMAT = 1
ENCODER = "encoder."
"""How a tower names the keys of its network."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint says about itself.

    Attributes:
        name: of the pair.
        image: name of the image tower, as `models.load` takes it.
        text: name of the text tower.
        image_checksum: of the image tower's weights; of those that are not stored, if some are.
        text_checksum: of the text tower's weights; likewise.
        embed: axis length of the shared space; None where there are no projections.
        stored: which towers' weights are in the file: "image", "text", both or none.
        moved: for each tower of which some weights are in the file, their checksum.
        adapters: for each tower that has some, what `adapters.read` takes.
        format: of this header.
    """

    name: str
    image: str
    text: str
    image_checksum: str
    text_checksum: str
    embed: int | None
    stored: tuple[str, ...] = ()
    moved: dict[str, str] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


def save(dual: DualTower, path: Path) -> None:
    """Write a pair as a checkpoint, whole or not at all.

    The weights of a tower are stored if it comes from scratch or from a checkpoint that stored it;
    of any other those that are trainable, were trained, or belong to adapters. Of the rest the name
    and the checksum stand in the header.
    """
    sides = {"image": dual.image, "text": dual.text}
    kept = {side: tower.stored_weights for side, tower in sides.items()}
    whole = tuple(side for side, tower in sides.items() if _whole(tower, kept[side]))
    moved = {side: checksum(each) for side, each in kept.items() if each and side not in whole}
    inserted = {s: adapters.term(each.adapters) for s, each in sides.items() if each.adapters}
    projected = "image_proj.weight" in dual.own_weights
    header = asdict(Header(
        dual.name, dual.image.name, dual.text.name,
        *(_ground(tower, kept[side] if side in moved else {}) for side, tower in sides.items()),
        dual.embed if projected else None, whole, moved, inserted,
    ))  # fmt: skip
    header = {name: value for name, value in header.items() if value not in ((), {})}
    tensors = dict(dual.own_weights)
    for side, weights in kept.items():
        tensors |= {f"{side}.{ENCODER}{name}": each for name, each in weights.items()}
    tensors = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    files.atomic_write(files.user_path(path), to_bytes(tensors, {"towers": json.dumps(header)}))


def _whole(tower: Tower, kept: Mapping[str, Tensor]) -> bool:
    """Whether all weights of a tower are stored; where its name says none, there may be none."""
    return not tower.named or (bool(kept) and kept.keys() == tower.own_weights.keys())


def _ground(tower: Tower, without: Mapping[str, Tensor]) -> str:
    """Checksum of a tower's own weights, without some of them."""
    if not without:
        return tower.own_checksum
    return checksum({n: each for n, each in tower.own_weights.items() if n not in without})


def stored(tensors: Mapping[str, Tensor], side: str) -> dict[str, Tensor]:
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
        image: the tower that the header names; filled where the checkpoint stores its weights.
        text: the tower that the header names; filled likewise.
        source: what to call the checkpoint in an error.

    Raises:
        ValueError: another checksum, or a missing, unexpected or misshaped key, by name.
    """
    with torch.device("meta"):
        expected = DualTower(image, text, header.embed, header.name).own_weights
    sides = {"image": image, "text": text}
    for side, tower in sides.items():
        given = stored(tensors, side)
        if side in header.adapters:
            _adapt(tower, header.adapters[side], given, source)
        shapes = _expected(tower, side, header, given)
        expected |= {f"{side}.{ENCODER}{name}": tensor for name, tensor in shapes.items()}
    check_keys(expected, tensors, source)
    for side, tower in sides.items():
        _restore(tower, side, header, stored(tensors, side), source)
    dual = DualTower(image, text, header.embed, header.name)
    own = {name: tensors[name] for name in dual.own_weights}
    dual.load_state_dict(own, strict=False)  # the towers have their weights
    return dual


def _expected(
    tower: Tower, side: str, header: Header, given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a tower that a checkpoint must hold: all, some that it chose, or none.

    Those of adapters must be there.
    """
    if side in header.stored:
        return tower.own_weights
    own = tower.own_weights if side in header.moved else {}
    return {name: each for name, each in own.items() if name in given or name in tower.moved}


def _restore(
    tower: Tower, side: str, header: Header, weights: dict[str, Tensor], source: str
) -> None:
    """A tower as the checkpoint has it, if what the checkpoint stands on is what the tower has."""
    digest = header.image_checksum if side == "image" else header.text_checksum
    if side in header.stored:
        _fill(tower, weights, digest, source)
        tower.named = False
        return
    ground = _ground(tower, weights)
    if ground != digest:
        raise ValueError(
            f"expected weights of {tower.name} with checksum {digest[:12]} for {source}, got "
            f"{ground[:12]}; install the weights that it was trained on"
        )
    if side in header.moved:
        _fill(tower, weights, header.moved[side], source)
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


def _fill(tower: Tower, weights: dict[str, Tensor], digest: str, source: str) -> None:
    """Stored weights into a tower, all or some of its own."""
    given = checksum(weights)
    if given != digest:
        raise ValueError(
            f"expected the stored weights of {tower.name} with checksum {digest[:12]} in {source}, "
            f"got {given[:12]}; the file was changed: write it again"
        )
    tower.encoder.load_state_dict(weights, strict=False)  # the others are there already


def _header(written: str | None, path: Path) -> Header:
    kinds = {"name": {str}, "image": {str}, "text": {str}, "image_checksum": {str},
             "text_checksum": {str}, "embed": {int, type(None)}, "format": {int}}  # fmt: skip
    try:
        fields = json.loads(written or "null")
        sides, parts = fields.pop("stored", []), fields.pop("moved", {})
        inserted = fields.pop("adapters", {})
        fits = fields.keys() == kinds.keys() and all(
            type(fields[name]) in allowed for name, allowed in kinds.items()
        )
        fits = fits and fields["format"] == FORMAT
        fits = fits and (fields["embed"] is None or fields["embed"] > 0)
        fits = fits and sides in ([], ["image"], ["text"], ["image", "text"])
        fits = fits and {*parts} <= {"image", "text"} - {*sides}
        fits = fits and {*inserted} <= {*parts, *sides}
        values = [*parts.values(), *inserted.values()]
        fits = fits and all(type(value) is str for value in values)
    except (ValueError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise ValueError(
            f"expected a header of towers, format {FORMAT}, in {path}, got {str(written)[:80]!r}; "
            "write it with models.save"
        )
    return Header(**fields, stored=tuple(sides), moved=parts, adapters=inserted)
