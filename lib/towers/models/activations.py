"""Which activation the weights in a file were trained with, as far as anything tells.

OpenAI's, MetaCLIP's and DFN's weights were trained with QuickGELU, most others with GELU. Weights
of either fit a network of the other and lose some points of accuracy in silence, and nothing in
the tensors of a fine-tuned file says what they are. What lies around it may.
"""

import contextlib
import json
import re
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

_QUICK = re.compile(r"quick_?gelu|(?<![a-z])(openai|metaclip|dfn[25]b)(?![a-z])", re.IGNORECASE)
_PLAIN = re.compile(r"laion2b|laion5b|datacomp|commonpool|webli", re.IGNORECASE)
_OF_TRAINING = re.compile(r"^(?:model|pretrained|name|force_quick_gelu: True).*", re.MULTILINE)


def trained_with_quick_gelu(path: Path) -> bool | None:
    """Whether the weights in a file were trained with QuickGELU; None where nothing tells.

    What tells are, in this order: open_clip's `open_clip_config.json` beside the file, what its
    training noted in `params.txt`, what the file says of itself, and the names of the file and the
    two folders around it.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
        config = json.loads((path.parent / "open_clip_config.json").read_text(encoding="utf-8"))
        return bool(config["model_cfg"].get("quick_gelu", False))
    for folder in (path.parent, path.parent.parent):
        with contextlib.suppress(OSError, ValueError):
            noted = (folder / "params.txt").read_text(encoding="utf-8")
            return bool(_QUICK.search("\n".join(_OF_TRAINING.findall(noted))))
    names = " ".join((_said(path), *path.absolute().parts[-3:]))
    return True if _QUICK.search(names) else False if _PLAIN.search(names) else None


def warn(path: Path, quick: bool, name: str, other: str | None) -> None:
    """Warn where weights were, or may have been, trained with another activation than is computed.

    Args:
        path: of the weights.
        quick: whether the name asks for QuickGELU.
        name: of the architecture.
        other: the same architecture with the other activation, where there is one.
    """
    kinds = {True: "QuickGELU", False: "GELU"}
    told, instead = trained_with_quick_gelu(path), f"say {other} instead of {name}"
    advice = instead if other else f"choose an architecture with {kinds[not quick]}"
    if told is not None and told != quick:
        line = f"was trained with {kinds[told]}, as it seems, and {name} computes {kinds[quick]}"
    elif told is None and other and not quick:
        line = f"does not tell its activation, and {name} computes GELU"
        advice = f"if it comes from weights of OpenAI, MetaCLIP or DFN, {instead}"
    else:
        return
    print(f"towers: warning: {str(path)!a} {line}; {advice}", file=sys.stderr)


def _said(path: Path) -> str:
    """What a file says of itself: safetensors' metadata, or the name of open_clip's run."""
    with contextlib.suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        return json.dumps(file.metadata() or {})
    with contextlib.suppress(Exception):  # what it refuses to read, it raises in many classes
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return str(found.get("name", ""))
    return ""
