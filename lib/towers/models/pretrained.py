"""One resolver for every model name.

The names are::

    package:efficientnet-lite0     image tower from a package, nothing to download
    package:minilm                 text tower from a package, nothing to download
    package:multilingual-e5-small  the same for a hundred languages; fetched when it is first used
    open_clip:ARCH/TAG             pair; TAG is one of open_clip's, a weight file, or random
    timm:NAME                      image tower with timm's weights
    timm:NAME/FILE                 the same with weights from a file, or random
    hf:NAME_OR_PATH                text tower of the BERT family, from transformers
    scratch:KIND?OPTIONS           untrained tower: vit, resnet, transformer, bow, or CLIPPO's map,
                                   pixels, words; see `scratch` and `family`
    shared:KIND?OPTIONS            text tower on the network of the image tower that it is paired
                                   with: pixels, words; see `family`
    big_vision:PATH                pair of a released CLIPPO checkpoint, an .npz file
    file:PATH                      pair that `models.save` wrote

Options follow a question mark, joined by "&". Image towers and open_clip take
`resize=crop|pad|squash` (how pictures become square, instead of the model's own way),
`package:efficientnet-lite0` and open_clip `image=PIXELS` (see `resolution.continued`), open_clip
`checkpointing=true`, with which its transformers keep less while they train and compute it again;
`hf:` takes `pooling=cls|mean`. Each name brings its own preprocessing or tokenizer, and weights are
read as data, never executed.
"""

from collections.abc import Callable

import torch

from towers import files, names
from towers.models import (
    adapters,
    big_vision,
    checkpoints,
    e5,
    family,
    libraries,
    packaged,
    resolution,
    scratch,
    sentences,
)
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower, Tower
from towers.models.preprocessing import Resize
from towers.models.weights import check_keys

AnyTower = ImageTower | TextTower | DualTower

GRAMMAR = (
    "package:NAME, open_clip:ARCH/TAG, timm:NAME[/FILE], "
    "hf:NAME_OR_PATH, scratch:KIND?OPTIONS, shared:KIND?OPTIONS, "
    "big_vision:PATH or file:PATH"
)


def load(name: str, device: str | torch.device | None = None) -> AnyTower:
    """The model of a name, frozen, in evaluation mode.

    Args:
        name: see the module's text for the grammar.
        device: where its weights go; None: to this machine's accelerator, or where there is none
            they stay with the CPU.

    Returns:
        An image tower, a text tower, or a pair, as the name says.

    Raises:
        ValueError: a name outside the grammar, or weights that are missing, damaged or unfit.
    """
    _refuse_no_text(name)
    device = device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
    parts = names.parse(name)
    if parts.scheme == "shared":
        raise ValueError(
            f"expected a tower with a network of its own, got {name!r}; name the image tower that "
            "it shares: models.dual(IMAGE, TEXT, EMBED)"
        )
    if parts.scheme == "scratch":
        return scratch.tower(name).freeze().to(device)
    if parts.scheme not in SCHEMES or not parts.place:
        files.user_path(name)  # a path of Windows has a colon too, and gets a line of its own
        raise ValueError(f"expected a model name of the form {GRAMMAR}, got {name!r}")
    resolve = SCHEMES[parts.scheme]
    model = resolve(name, parts.place, **names.options(resolve, parts))
    return model.requires_grad_(False).eval().to(device)


def _refuse_no_text(*names: object) -> None:
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"expected the name of one model, got {name!r}; write it as text")


def image_tower(name: str, device: str | torch.device | None = None) -> ImageTower:
    """The image tower of a name; of a pair, its image tower.

    Raises:
        ValueError: as `load`, or the name is that of a text tower.
    """
    return _half(load(name, device), ImageTower, name)


def text_tower(name: str, device: str | torch.device | None = None) -> TextTower:
    """The text tower of a name; of a pair, its text tower.

    Raises:
        ValueError: as `load`, or the name is that of an image tower.
    """
    return _half(load(name, device), TextTower, name)


def dual(
    image: str | ImageTower,
    text: str | TextTower,
    embed: int | None,
    seed: int = 0,
    *,
    name: str = "",
    bias: bool | None = None,
    device: str | torch.device = "cpu",
) -> DualTower:
    """A pair to train: towers from scratch are trainable, all others frozen.

    From scratch are `scratch:` and `open_clip:ARCH/random`, whose seed is always 0 and which takes
    no option but `checkpointing`; `shared:` is trainable if the image tower is.

    Args:
        image: image tower, or its name.
        text: text tower, or its name.
        embed: axis length of the shared space; None adds no projections.
        seed: of the projections, and of towers from scratch whose name has no `seed=`.
        name: of the pair; by default both towers' names.
        bias: whether projections have one; by default as the text tower has it.
        device: where the weights go; "meta" makes shapes without memory, from scratch only.

    Raises:
        ValueError: as `load`, or the names are not those of an image and a text tower.
    """
    first = _half(_to_train(image, seed, device), ImageTower, image)
    if isinstance(text, str) and text.startswith(family.PREFIX):
        halves = first, scratch.sharing(_seeded(text, seed), first)
    else:
        halves = first, _half(_to_train(text, seed, device), TextTower, text)
    said = " and ".join(each if isinstance(each, str) else each.name for each in (image, text))
    with torch.device("meta" if torch.device(device).type == "meta" else "cpu"):
        pair = DualTower(*halves, embed, name or said, seed, bias)
    return pair.to(device)


def _to_train(name: str | Tower, seed: int, device: str | torch.device) -> AnyTower:
    if isinstance(name, ImageTower | TextTower):
        return name
    _refuse_no_text(name)
    if name.startswith(scratch.PREFIX):
        return scratch.tower(_seeded(name, seed), device)
    parts = names.parse(name)
    arch, _, tag = parts.place.partition("/")
    if (parts.scheme, tag) != ("open_clip", "random") or {*parts.options} - {"checkpointing"}:
        return load(name, device)
    if torch.device(device).type == "meta":
        pair = libraries.open_clip_shapes(name, arch)
        _checkpointing(pair, **names.options(_checkpointing, parts))
    else:
        pair = load(name, device).requires_grad_(True)
    pair.image.named = pair.text.named = False
    return pair


def _checkpointing(pair: DualTower, *, checkpointing: bool = False) -> DualTower:
    for part in pair.modules():
        if hasattr(part, "grad_checkpointing"):
            part.grad_checkpointing = checkpointing
    return pair


def _seeded(name: str, seed: int) -> str:
    parts = names.parse(name)
    return name if "seed" in parts.options else parts.having(seed=seed)


def _half(model: AnyTower, kind: type, name: str):
    halves = (model.image, model.text) if isinstance(model, DualTower) else (model,)
    for half in halves:
        if isinstance(half, kind):
            return half
    raise ValueError(
        f"expected a name that gives {kind.__name__}, got {name!r}, which gives "
        f"{type(model).__name__}; name another model"
    )


def _package(
    name: str, package: str, *, resize: Resize | None = None, image: names.Size | None = None
) -> ImageTower | TextTower:
    make = names.pick(PACKAGES, package, "a package", name)
    if make is packaged.efficientnet_lite0:
        return make(name, resize, image)
    if resize or image:
        raise ValueError(f"expected package:{package} without options, got {name!r}")
    return make(name)


def _open_clip(
    name: str, place: str, *, resize: Resize | None = None, image: names.Size | None = None,
    checkpointing: bool = False,
) -> DualTower:  # fmt: skip
    arch, _, tag = place.partition("/")
    if not arch or not tag:
        raise ValueError(
            f"expected open_clip:ARCH/TAG, where TAG is a tag of open_clip, a weight file or "
            f"random, got {name!r}"
        )
    pair = libraries.open_clip_dual(name, arch, tag, resize)
    pair = resolution.continued(pair, image) if image else pair
    return _checkpointing(pair, checkpointing=checkpointing)


def _timm(name: str, place: str, *, resize: Resize | None = None) -> ImageTower:
    arch, slash, weights = place.partition("/")
    if not arch or bool(slash) != bool(weights):
        raise ValueError(f"expected timm:NAME, timm:NAME/FILE or timm:NAME/random, got {name!r}")
    return libraries.timm_tower(name, arch, weights or None, resize)


def _hf(name: str, place: str, *, pooling: sentences.Pooling | None = None) -> TextTower:
    place = str(files.user_path(place)) if place.startswith("~") else place
    return sentences.sentence_tower(name, place, pooling)


def _big_vision(name: str, place: str) -> DualTower:
    return big_vision.pair(name, files.user_path(place))


def _file(_: str, place: str) -> DualTower:
    path = files.user_path(place)
    header, tensors = checkpoints.read(path)
    for side, tower in (("image", header.image), ("text", header.text)):
        if names.parse(tower).scheme == "file":
            raise ValueError(
                f"expected towers by name in {path}, got the checkpoint {tower!r}; "
                "write it with models.save"
            )
        if tower.startswith(scratch.PREFIX):  # as large as the file is, before memory is asked for
            shapes = scratch.tower(tower, "meta")
            if side in header.adapters:
                shapes.adapt(adapters.read(header.adapters[side]))
            shapes = shapes.encoder.state_dict()
            check_keys(shapes, checkpoints.held(tensors, side), f"{side} in {path}")
    image = image_tower(header.image, "cpu")
    if header.text.startswith(family.PREFIX):
        text = scratch.sharing(header.text, image)
    else:
        text = text_tower(header.text, "cpu")
    return checkpoints.restore(header, tensors, image, text, str(path))


PACKAGES = {
    "efficientnet-lite0": packaged.efficientnet_lite0,
    "minilm": packaged.minilm,
    "multilingual-e5-small": e5.multilingual_e5_small,
}
SCHEMES: dict[str, Callable[..., AnyTower]] = {
    "package": _package,
    "open_clip": _open_clip,
    "timm": _timm,
    "hf": _hf,
    "big_vision": _big_vision,
    "file": _file,
}
"""Scheme -> what makes the model of a name and its place; its keyword arguments are the options.

`scratch:` and `shared:` have their own. Rooms above may add a scheme.
"""
