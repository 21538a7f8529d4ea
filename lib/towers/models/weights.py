"""Weight files: read as data and never executed, loaded key by key, named by a checksum."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_TORCH = (b"PK\x03\x04", bytes.fromhex("80028a0a6cfc9c46f9206aa850192e"))
"""How torch archives start: a zip, or before torch 1.6 a pickled magic number."""
_MAX_HEADER = 100_000_000


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names, types, shapes and bytes, in the order of the names.

    It does not depend on the device or on the layout in memory.
    """
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        content.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file, on the CPU: safetensors, or a torch archive of tensors only.

    What the file is comes from its content, never from its name. Nothing in it is executed.

    Raises:
        ValueError: it is missing, damaged, or holds anything but named tensors.
    """
    path = Path(path)
    if is_safetensors(path):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"expected whole safetensors in {path}, got {one_line(error)}"
            ) from None
    state = _read_torch(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ValueError(f"expected a dict of tensors in {path}, got another object; {_ADVICE}")
    return dict(state)


_ADVICE = "save it with safetensors.torch.save_file(model.state_dict(), path)"


def is_safetensors(path: Path) -> bool:
    """Whether a file starts as safetensors do: the length of a JSON header, then that header.

    Raises:
        ValueError: there is no such file, or it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(
            f"expected a weight file at {path}, got {error.strerror}; check the path"
        ) from None
    return (
        len(start) == 9 and struct.unpack("<Q", start[:8])[0] <= _MAX_HEADER and start[8:] == b"{"
    )


def _read_torch(path: Path) -> object:
    with path.open("rb") as file:
        if not file.read(15).startswith(_TORCH):
            raise ValueError(
                f"expected safetensors or a torch archive in {path}, got neither (a bare pickle "
                f"is never read); {_ADVICE}"
            )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler names what it refused in one of many classes
        reason = one_line(error).removeprefix("Weights only load failed. ")
        raise ValueError(
            f"expected nothing but tensors in {path}, got {reason[:160]}; {_ADVICE}"
        ) from None


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict of which every key must be there, expected, and of the right shape.

    Args:
        module: filled in place; untouched where an error is raised.
        tensors: as named by `module.state_dict()`.
        source: what to call the tensors in an error.

    Raises:
        ValueError: naming the first key that is missing, unexpected or misshaped.
    """
    check_keys(module.state_dict(), tensors, source)
    module.load_state_dict(tensors)


def check_keys(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raise a ValueError that names the first missing, unexpected or misshaped key."""
    for fault, keys in (
        ("lacks the key", expected.keys() - given.keys()),
        ("has the unexpected key", given.keys() - expected.keys()),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ValueError(
                f"expected the {len(expected)} tensors of this model, but {source} {fault} "
                f"{min(keys)!r}{more}; give the weights of this very architecture"
            )
    for name, tensor in expected.items():
        if tensor.shape != given[name].shape:
            raise ValueError(
                f"expected {name!r} of shape {tuple(tensor.shape)}, but {source} has "
                f"{tuple(given[name].shape)}; give the weights of this very architecture"
            )


def one_line(error: BaseException) -> str:
    """An error's message without line breaks, at most 300 characters; else its class."""
    return " ".join(str(error).split())[:300] or type(error).__name__
