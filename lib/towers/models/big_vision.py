"""CLIPPO's released checkpoints, archives of big_vision's weights, as pairs of this house.

Every weight below "params/" is used exactly once. The released files hold the optimiser's moments
and a clock too; these are left alone. What differs from the release by more than rounding is the
preparation of pictures, whose resize there is not antialiased.

Source: google-research/big_vision, `models/vit.py` and `models/proj/clippo/one_tower.py`.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from towers.models import scratch
from towers.models.duals import DualTower
from towers.models.weights import check_keys, one_line

ROOT, BLOCK = "params/", "img/Transformer/encoderblock_"
OTHERS = ("opt/", "chrono/")
"""Below these names lies what belongs to training alone."""


Leaf = tuple[str, tuple[str, ...], Callable[..., ndarray]]
"""One of our weights: its name in the pair, those of big_vision's below `ROOT` that it comes from,
and how their arrays become it."""


def pair(name: str, path: Path) -> DualTower:
    """The pair of a checkpoint: one network for pictures and rendered captions, frozen.

    Args:
        name: of the pair.
        path: of the archive (.npz).

    Raises:
        ValueError: no such archive, or a weight that is missing, unknown or of another shape.
    """
    arrays = _read(Path(path))
    image, embed = _architecture(arrays, path)
    tower = scratch.tower(image)
    dual = DualTower(tower, scratch.sharing("shared:pixels", tower), embed, name)
    state = _converted(arrays, len(tower.encoder.blocks), path)
    named = dual.state_dict().items()
    expected = {n: t for n, t in named if n.split(".")[0] in ("image", "image_proj", "log_scale")}
    check_keys(expected, state, str(path))
    dual.load_state_dict(state, strict=False)  # the text side is the same weights
    return dual.requires_grad_(False).eval()


def leaves(depth: int) -> Iterator[Leaf]:
    """All weights of a released model, each once."""
    yield from _norm("image.encoder.norm", "img/Transformer/encoder_norm")
    yield from _norm("image.encoder.attn_pool.norm", "img/MAPHead_0/LayerNorm_0")
    yield "image.encoder.pos_embed", ("img/pos_embedding",), np.asarray
    yield "image.encoder.attn_pool.latent", ("img/MAPHead_0/probe",), np.asarray
    yield from _linear(
        "image.encoder.patch_embed.proj",
        "img/embedding",
        lambda kernel: kernel.transpose(3, 2, 0, 1),
    )
    yield from _linear("image_proj", "img/head")
    yield "log_scale", ("t",), lambda scale: scale.reshape(())
    for number in range(depth):
        ours, theirs = f"image.encoder.blocks.{number}", f"{BLOCK}{number}"
        yield from _norm(f"{ours}.norm1", f"{theirs}/LayerNorm_0")
        yield from _norm(f"{ours}.norm2", f"{theirs}/LayerNorm_1")
        yield from _attention(f"{ours}.attn", theirs, {"qkv": ("query", "key", "value")})
        yield from _mlp(f"{ours}.mlp", theirs)
    parts = {"q": ("query",), "kv": ("key", "value")}
    yield from _attention("image.encoder.attn_pool", "img/MAPHead_0", parts)
    yield from _mlp("image.encoder.attn_pool.mlp", "img/MAPHead_0")


def _read(path: Path) -> dict[str, ndarray]:
    """The arrays below `ROOT`, or all of them where there is no root; nothing is executed."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            rooted = any(name.startswith(ROOT) for name in archive.files)
            wanted = [n for n in archive.files if not (rooted and n.startswith(OTHERS))]
            return {name.removeprefix(ROOT): archive[name] for name in wanted}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise ValueError(
            f"expected an archive of big_vision's weights at {path}, got {cause}; give an .npz file"
        ) from None


def _architecture(arrays: Mapping[str, ndarray], path: Path) -> tuple[str, int]:
    """Name of the image tower, and length of the shared space, from the shapes of the weights."""
    try:
        patch, _, _, width = arrays["img/embedding/kernel"].shape
        places = arrays["img/pos_embedding"].shape[1]
        heads = arrays["img/MAPHead_0/MultiHeadDotProductAttention_0/query/kernel"].shape[1]
        embed = arrays["img/head/kernel"].shape[1]
    except KeyError as error:
        raise ValueError(
            f"expected a CLIPPO checkpoint of big_vision at {path}, but it lacks {error.args[0]!r}"
        ) from None
    except ValueError:
        raise ValueError(
            f"expected 'img/embedding/kernel' of four axes in {path}, got "
            f"{arrays['img/embedding/kernel'].shape}"
        ) from None
    depth = len({name.split("/")[2] for name in arrays if name.startswith(BLOCK)})
    image = round(places**0.5) * patch
    return (
        f"scratch:map?image={image}&patch={patch}&width={width}&depth={depth}&heads={heads}",
        embed,
    )


def _converted(arrays: dict[str, ndarray], depth: int, path: Path) -> dict[str, Tensor]:
    rest, state = dict(arrays), {}
    for name, sources, turned in leaves(depth):
        missing = [source for source in sources if source not in rest]
        if missing:
            raise ValueError(f"expected {missing[0]!r} in {path}, which lacks it; get it again")
        try:
            array = turned(*(rest.pop(source) for source in sources))
            state[name] = torch.from_numpy(np.array(array, dtype=np.float32))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"expected {sources[0]!r} as {name!r} in {path}, got {one_line(error)}"
            ) from None
    if rest:
        more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
        raise ValueError(
            f"expected weights of CLIPPO only in {path}, got {min(rest)!r}{more}, which nothing "
            "here takes"
        )
    return state


def _norm(ours: str, theirs: str) -> Iterator[Leaf]:
    yield f"{ours}.weight", (f"{theirs}/scale",), np.asarray
    yield f"{ours}.bias", (f"{theirs}/bias",), np.asarray


def _linear(ours: str, theirs: str, turned: Callable = np.transpose) -> Iterator[Leaf]:
    yield f"{ours}.weight", (f"{theirs}/kernel",), turned
    yield f"{ours}.bias", (f"{theirs}/bias",), np.asarray


def _mlp(ours: str, theirs: str) -> Iterator[Leaf]:
    for number in (1, 2):
        yield from _linear(f"{ours}.fc{number}", f"{theirs}/MlpBlock_0/Dense_{number - 1}")


def _attention(ours: str, theirs: str, parts: dict[str, tuple[str, ...]]) -> Iterator[Leaf]:
    """Kernels are (width, heads, head_dim) there, and (heads, head_dim, width) on the way out."""
    theirs = f"{theirs}/MultiHeadDotProductAttention_0"
    for name, sources in parts.items():
        kernels = tuple(f"{theirs}/{source}/kernel" for source in sources)
        biases = tuple(f"{theirs}/{source}/bias" for source in sources)
        yield (
            f"{ours}.{name}.weight",
            kernels,
            lambda *many: np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in many]),
        )
        yield f"{ours}.{name}.bias", biases, lambda *many: np.concatenate(many).reshape(-1)
    yield f"{ours}.proj.weight", (f"{theirs}/out/kernel",), lambda k: k.reshape(-1, k.shape[-1]).T
    yield f"{ours}.proj.bias", (f"{theirs}/out/bias",), np.asarray
