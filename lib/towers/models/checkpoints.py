"""Our own checkpoints: one safetensors file that names the frozen towers and holds the rest.

The file's header carries, as JSON under "towers", the name and checksum of both towers, the name
of the pair and the length of the shared space; the tensors are the projections and `log_scale`.
Where a name does not bring a tower's weights back, because it was trained or comes from scratch,
the header lists it under "stored" ("image", "text"), and its weights are among the tensors, under
the keys that they have in the pair. A text tower that borrows the image tower's network stores,
and has checksummed, what it adds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from towers import files
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
        image_checksum: of the image tower's weights.
        text_checksum: of the text tower's weights.
        embed: axis length of the shared space; None where there are no projections.
        stored: which towers' weights are in the file: "image", "text", both or none.
        format: of this header.
    """

    name: str
    image: str
    text: str
    image_checksum: str
    text_checksum: str
    embed: int | None
    stored: tuple[str, ...] = ()
    format: int = FORMAT


def save(dual: DualTower, path: Path) -> None:
    """Write a pair as a checkpoint, whole or not at all.

    The weights of a tower are stored if it is trainable, was trained, comes from scratch or from a
    checkpoint that stored it; of any other the name and the checksum stand in the header.
    """
    sides = {"image": dual.image, "text": dual.text}
    kept = tuple(side for side, tower in sides.items() if not (tower.frozen and tower.named))
    projected = "image_proj.weight" in dual.own_weights
    header = asdict(Header(
        dual.name, dual.image.name, dual.text.name, dual.image.checksum, dual.text.own_checksum,
        dual.embed if projected else None, kept,
    ))  # fmt: skip
    if not kept:
        del header["stored"]
    tensors = dict(dual.own_weights)
    for side in kept:
        tensors |= {f"{side}.{ENCODER}{n}": each for n, each in sides[side].own_weights.items()}
    tensors = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    files.atomic_write(Path(path), to_bytes(tensors, {"towers": json.dumps(header)}))


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
    for side in header.stored:
        shapes = sides[side].own_weights
        expected |= {f"{side}.{ENCODER}{name}": tensor for name, tensor in shapes.items()}
    check_keys(expected, tensors, source)
    for side, digest in (("image", header.image_checksum), ("text", header.text_checksum)):
        if side in header.stored:
            _fill(sides[side], stored(tensors, side), digest, source)
        elif sides[side].own_checksum != digest:
            raise ValueError(
                f"expected weights of {sides[side].name} with checksum {digest[:12]} for {source}, "
                f"got {sides[side].own_checksum[:12]}; install the weights that it was trained on"
            )
    dual = DualTower(image, text, header.embed, header.name)
    own = {name: tensors[name] for name in dual.own_weights}
    dual.load_state_dict(own, strict=False)  # the towers have their weights
    return dual


def _fill(tower: Tower, weights: dict[str, Tensor], digest: str, source: str) -> None:
    """A tower's stored weights into the tower, which its name no longer describes."""
    given = checksum(weights)
    if given != digest:
        raise ValueError(
            f"expected the stored weights of {tower.name} with checksum {digest[:12]} in {source}, "
            f"got {given[:12]}; the file was changed: write it again"
        )
    check_keys(tower.own_weights, weights, source)
    tower.encoder.load_state_dict(weights, strict=False)  # what it borrows is there already
    tower.named = False


def _header(written: str | None, path: Path) -> Header:
    kinds = {"name": {str}, "image": {str}, "text": {str}, "image_checksum": {str},
             "text_checksum": {str}, "embed": {int, type(None)}, "format": {int}}  # fmt: skip
    try:
        fields = json.loads(written or "null")
        sides = fields.pop("stored", [])
        fits = fields.keys() == kinds.keys() and all(
            type(fields[name]) in allowed for name, allowed in kinds.items()
        )
        fits = fits and fields["format"] == FORMAT
        fits = fits and (fields["embed"] is None or fields["embed"] > 0)
        fits = fits and sides in ([], ["image"], ["text"], ["image", "text"])
    except (ValueError, TypeError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise ValueError(
            f"expected a header of towers, format {FORMAT}, in {path}, got {str(written)[:80]!r}; "
            "write it with models.save"
        )
    return Header(**fields, stored=tuple(sides))
