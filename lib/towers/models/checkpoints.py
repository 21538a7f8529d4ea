"""Our own checkpoints: one safetensors file that names the frozen towers and holds the rest.

The file's header carries, as JSON under "towers", the name and checksum of both towers, the name
of the pair and the length of the shared space; the tensors are the projections and `log_scale`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from towers import files
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower
from towers.models.weights import check_keys, is_safetensors, one_line

FORMAT = 1


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
        format: of this header.
    """

    name: str
    image: str
    text: str
    image_checksum: str
    text_checksum: str
    embed: int | None
    format: int = FORMAT


def save(dual: DualTower, path: Path) -> None:
    """Write a pair of frozen towers as a checkpoint, whole or not at all.

    Raises:
        ValueError: a tower is trainable; its weights are named in a checkpoint, not stored.
    """
    for tower in (dual.image, dual.text):
        if not tower.frozen:
            raise ValueError(
                f"expected frozen towers, got trainable weights in {tower.name}; call its "
                "freeze() if they are the pretrained ones"
            )
    projected = "image_proj.weight" in dual.own_weights
    header = Header(
        dual.name, dual.image.name, dual.text.name, dual.image.checksum, dual.text.checksum,
        dual.embed if projected else None,
    )  # fmt: skip
    tensors = {name: tensor.detach().cpu() for name, tensor in dual.own_weights.items()}
    files.atomic_write(Path(path), to_bytes(tensors, {"towers": json.dumps(asdict(header))}))


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
        image: the tower that the header names.
        text: the tower that the header names.
        source: what to call the checkpoint in an error.

    Raises:
        ValueError: another checksum, or a missing, unexpected or misshaped key, by name.
    """
    for tower, expected in ((image, header.image_checksum), (text, header.text_checksum)):
        if tower.checksum != expected:
            raise ValueError(
                f"expected weights of {tower.name} with checksum {expected[:12]} for {source}, "
                f"got {tower.checksum[:12]}; install the weights that it was trained on"
            )
    check_keys(_expected(header.embed, image.width, text.width), tensors, source)
    dual = DualTower(image, text, header.embed, header.name)
    dual.load_state_dict(tensors, strict=False)  # the towers' own keys are the ones not given
    return dual


def _expected(embed: int | None, image_width: int, text_width: int) -> dict[str, Tensor]:
    """The tensors that a checkpoint must hold, as shapes without memory."""
    shapes: dict[str, tuple[int, ...]] = {"log_scale": ()}
    if embed is not None:
        shapes |= {"image_proj.weight": (embed, image_width),
                   "text_proj.weight": (embed, text_width)}  # fmt: skip
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _header(written: str | None, path: Path) -> Header:
    kinds = {"name": {str}, "image": {str}, "text": {str}, "image_checksum": {str},
             "text_checksum": {str}, "embed": {int, type(None)}, "format": {int}}  # fmt: skip
    try:
        fields = json.loads(written or "null")
        fits = fields.keys() == kinds.keys() and all(
            type(fields[name]) in allowed for name, allowed in kinds.items()
        )
        fits = fits and fields["format"] == FORMAT
        fits = fits and (fields["embed"] is None or fields["embed"] > 0)
    except (ValueError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise ValueError(
            f"expected a header of towers, format {FORMAT}, in {path}, got {str(written)[:80]!r}; "
            "write it with models.save"
        )
    return Header(**fields)
