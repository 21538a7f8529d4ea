"""Towers of open_clip and timm: the libraries' architectures, weights read as data only."""

import contextlib
import json
import logging
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from towers.files import user_path
from towers.models import activations
from towers.models.duals import DualTower
from towers.models.encoders import ImageTower, TextTower
from towers.models.preprocessing import Preprocessing, Resize
from towers.models.weights import load_into, one_line, read

_OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")
"""Entries that only weights exported by OpenAI have."""


class OpenClipText(nn.Module):
    """The text half of an open_clip model: token ids to the projected state, not normalised.

    The scale of the logits, and its bias where there is one, are kept as plain tensors: nothing in
    this tower uses them, and a parameter that gets no gradient stops distributed training.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        del model.visual
        for name in ("logit_scale", "logit_bias"):
            if isinstance(unused := getattr(model, name, None), nn.Parameter):
                delattr(model, name)
                model.register_buffer(name, unused.detach())
        self.model = model

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch width"]:
        """What open_clip's `encode_text` gives."""
        return self.model.encode_text(ids)


def open_clip_dual(name: str, arch: str, tag: str, resize: Resize | None = None) -> DualTower:
    """A pretrained open_clip model, frozen.

    Features are what `encode_image` and `encode_text` give: in the shared space already, so the
    projections are identities. The bias of a sigmoid loss is left out: it moves all logits alike
    and changes no ranking and no softmax.

    Args:
        name: of the pair and of both towers.
        arch: as `open_clip.list_models()` has it.
        tag: a tag of that architecture, a weight file, or "random" (seed 0).
        resize: how pictures become square; None: the model's own way.

    Raises:
        ValueError: unknown architecture or tag, no weights within reach, weights that do not fit,
            or OpenAI's weights for an architecture without QuickGELU. A file that seems to be
            trained with another activation, or does not tell, is warned of.
    """
    import open_clip

    if arch not in open_clip.list_models():
        raise ValueError(
            f"expected an architecture of open_clip, got {arch!r}; "
            "open_clip.list_models() lists them"
        )
    return _open_clip_pair(name, arch, _open_clip_model(arch, tag), resize).requires_grad_(False)


def open_clip_shapes(name: str, arch: str) -> DualTower:
    """An open_clip model on the meta device: shapes without memory, trainable.

    Args:
        name: of the pair and of both towers.
        arch: as `open_clip.list_models()` has it.
    """
    with torch.device("meta"):
        model = _created(arch, "random", device="meta")
    return _open_clip_pair(name, arch, model, None).to("meta")


def _open_clip_pair(name: str, arch: str, model: nn.Module, resize: Resize | None) -> DualTower:
    """The two towers of an open_clip model, in evaluation mode."""
    import open_clip

    if not isinstance(model, open_clip.CLIP | open_clip.CustomTextCLIP):
        raise ValueError(
            f"expected an architecture with two plain towers, got {type(model).__name__} for "
            f"{arch!r}; choose one that is no captioner"
        )
    transform = _open_clip_preprocessing(model.visual.preprocess_cfg).resized(resize)
    tokenizer = _open_clip_tokenizer(arch)
    log_scale, visual = model.logit_scale.detach().reshape(()), model.visual
    width = open_clip.get_model_config(arch)["embed_dim"]
    recipe = json.dumps({"tokenizer": type(tokenizer).__name__,
                         "max_tokens": tokenizer.context_length})  # fmt: skip
    image = ImageTower(name, visual, width, transform)
    text = TextTower(name, OpenClipText(model), width, lambda t: {"ids": tokenizer(t)}, recipe)
    dual = DualTower(image.eval(), text.eval(), None, name)
    if not log_scale.is_meta:
        with torch.no_grad():
            dual.log_scale.copy_(log_scale)
    return dual


def timm_tower(name: str, arch: str, weights: str | None, resize: Resize | None) -> ImageTower:
    """An image encoder of timm without its head, frozen, with its own preprocessing.

    Args:
        name: of the tower.
        arch: as `timm.list_models()` or `timm.list_pretrained()` has it.
        weights: None for timm's own (from its cache or the network), a weight file, or "random"
            (seed 0). A file may hold the classifier, which is left out, and nothing else more.
        resize: how pictures become square; None: the model's own way.

    Raises:
        ValueError: unknown architecture, no weights within reach, or weights that do not fit.
    """
    import timm

    if arch not in timm.list_models() and arch not in timm.list_models(pretrained=True):
        raise ValueError(
            f"expected an architecture of timm, got {arch!r}; timm.list_models('*{arch[:6]}*') "
            "lists the nearest"
        )
    state = None
    if weights not in (None, "random"):
        state = read(path := user_path(weights))
        quick = "_clip_quickgelu_" in arch
        ways = ("_clip_quickgelu_", "_clip_") if quick else ("_clip_", "_clip_quickgelu_")
        if (other := arch.replace(*ways)) != arch and other in timm.list_models():
            activations.warn(path, quick, arch, other)
    try:
        with _reproducible():
            model = timm.create_model(arch, pretrained=weights is None, num_classes=0)
    except Exception as error:  # the hub's client raises dozens of classes
        raise ValueError(
            f"expected the weights of {arch} in timm's cache or on the network, got "
            f"{one_line(error)[:120]}; place the file and say timm:{arch}/PATH"
        ) from None
    if state is not None:
        heads = model.pretrained_cfg.get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else heads
        own = model.state_dict().keys()
        body = {k: v for k, v in state.items() if k in own or k.rpartition(".")[0] not in heads}
        load_into(model, body, str(weights))
    transform = _timm_preprocessing(arch, model).resized(resize)
    return ImageTower(name, model, model.num_features, transform).freeze()


def _open_clip_model(arch: str, tag: str) -> nn.Module:
    """An open_clip model with its weights, whose activation is the one they were trained with."""
    import open_clip

    quick = bool(open_clip.get_model_config(arch).get("quick_gelu"))
    tagged = open_clip.get_pretrained_cfg(arch, tag)
    if tagged:
        if quick and not tagged.get("quick_gelu"):
            raise ValueError(
                f"expected weights trained with QuickGELU for {arch!r}, got the tag {tag!r}; "
                f"say open_clip:{arch.removesuffix('-quickgelu')}/{tag}"
            )
        return _created(arch, tag, pretrained=tag, force_quick_gelu=bool(tagged.get("quick_gelu")))
    if tag == "random":
        return _created(arch, tag)
    path = user_path(tag)
    if not path.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ValueError(
            f"expected a tag of {arch} ({tags}), a weight file, or random, got {tag!r}; "
            f"say open_clip:{arch}/TAG"
        )
    state = read(path)
    if not any(key in state for key in _OPENAI_ONLY):
        other = arch.removesuffix("-quickgelu") if quick else f"{arch}-quickgelu"
        activations.warn(path, quick, arch, other if other in open_clip.list_models() else None)
        return _created(arch, tag, pretrained=str(path))
    if not quick:
        raise ValueError(
            f"expected an architecture with QuickGELU for OpenAI's weights in {tag}, got {arch!r}; "
            f"say open_clip:{arch}-quickgelu/{tag}"
        )
    model = _created(arch, "random")
    load_into(model, {k: v for k, v in state.items() if k not in _OPENAI_ONLY}, tag)
    return model


def _created(arch: str, tag: str, **options) -> nn.Module:
    import open_clip

    try:
        with _reproducible():
            return open_clip.create_model(arch, precision="fp32", weights_only=True, **options)
    except Exception as error:  # from the hub's client, the reader, or a strict load
        raise ValueError(
            f"expected weights of {arch} for {tag!r}, in open_clip's cache, on the network or in "
            f"a file that fits, got {one_line(error)}; place the file and say "
            f"open_clip:{arch}/PATH"
        ) from None


def _open_clip_tokenizer(arch: str):
    import open_clip

    try:
        return open_clip.get_tokenizer(arch)
    except Exception as error:  # tokenizers that are fetched from the hub
        raise ValueError(
            f"expected the tokenizer of {arch} in the cache or on the network, got "
            f"{one_line(error)[:160]}; place it in the cache of transformers"
        ) from None


def _open_clip_preprocessing(config: dict) -> Preprocessing:
    """open_clip's evaluation transform, from the configuration that the model carries."""
    modes = {"shortest": "crop", "squash": "squash"}
    size = config["size"]
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1 or config["resize_mode"] not in modes:
        raise ValueError(
            f"expected a square input and resize_mode {' or '.join(modes)}, got {size} and "
            f"{config['resize_mode']!r}; choose another architecture"
        )
    # open_clip takes bicubic for whatever is not bilinear
    interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    return Preprocessing(
        sides.pop(), tuple(config["mean"]), tuple(config["std"]), interpolation,
        modes[config["resize_mode"]],
    )  # fmt: skip


def _timm_preprocessing(arch: str, model: nn.Module) -> Preprocessing:
    """timm's evaluation transform, from the configuration that the model carries."""
    import timm.data

    config = timm.data.resolve_model_data_config(model)
    modes = {"center": "crop", "squash": "squash"}
    channels, height, width = config["input_size"]
    if channels != 3 or height != width or config["crop_mode"] not in modes:
        raise ValueError(
            f"expected a square input of 3 channels and crop_mode {' or '.join(modes)}, got "
            f"{config['input_size']} and {config['crop_mode']!r} for {arch}; choose another"
        )
    return Preprocessing(
        height, tuple(config["mean"]), tuple(config["std"]), config["interpolation"],
        modes[config["crop_mode"]], config["crop_pct"],
    )  # fmt: skip


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    """Seed 0 for what is drawn at random inside, and no warnings that weights are random."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        logging.disable(disabled)
