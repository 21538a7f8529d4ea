"""Text encoders of the BERT family from `transformers`: `hf:NAME_OR_PATH`."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from towers import files
from towers.models.encoders import TextTower, Tokens
from towers.models.weights import one_line

Pooling = Literal["cls", "mean"]
FAMILY = ("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "mpnet",
          "roberta", "xlm-roberta")  # fmt: skip
"""Values of `model_type` that are read: encoders in two directions whose first token pools."""


class SentenceEncoder(nn.Module):
    """A token encoder with pooling: one feature vector a text."""

    def __init__(self, transformer: nn.Module, pooling: Pooling, normalize: bool) -> None:
        super().__init__()
        self.transformer, self.pooling, self.normalize = transformer, pooling, normalize

    def forward(
        self,
        input_ids: Int[Tensor, "batch tokens"],
        attention_mask: Int[Tensor, "batch tokens"],
        **others: Tensor,
    ) -> Float[Tensor, "batch width"]:
        """The first token's state, or the mean over the tokens that the mask keeps."""
        states = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, **others
        ).last_hidden_state.float()  # (batch, tokens, width)
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            kept = attention_mask[..., None].to(states.dtype)
            pooled = (states * kept).sum(1) / kept.sum(1).clamp(min=1)
        return F.normalize(pooled, dim=-1) if self.normalize else pooled


def sentence_tower(
    name: str, source: str, pooling: Pooling | None = None, local: bool = False
) -> TextTower:
    """A text tower from a folder or a name of the hub, frozen.

    A `modules.json` beside the weights, as sentence-transformers write it, says how tokens are
    pooled and whether the result is normalised; without one it is the first token's state.

    Args:
        name: of the tower.
        source: a folder, or a name that `transformers` knows; the local cache is asked first.
        pooling: instead of what the source says, and then without normalisation.
        local: never ask the network.

    Raises:
        ValueError: it cannot be found, is of another family, or its weights do not fit.
    """
    from transformers import AutoConfig, AutoTokenizer

    with _quiet():
        config = _found(AutoConfig, source, local)
        if config.model_type not in FAMILY:
            raise ValueError(
                f"expected a text encoder of {', '.join(FAMILY)}, got {config.model_type!r} in "
                f"{source}; name another model"
            )
        tokenizer = _found(AutoTokenizer, source, local)
        transformer = _transformer(source, local)
    own_pooling, normalize = _pipeline(source, local)
    if pooling is not None:
        own_pooling, normalize = pooling, False
    limit = _max_tokens(source, local, tokenizer, transformer)

    def tokenize(texts: list[str]) -> Tokens:
        return dict(
            tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        )

    recipe = json.dumps(
        {
            "max_tokens": limit,
            "normalize": normalize,
            "pooling": own_pooling,
            "tokenizer": _fingerprint(tokenizer),
        }
    )
    encoder = SentenceEncoder(transformer, own_pooling, normalize)
    return TextTower(name, encoder, config.hidden_size, tokenize, recipe).freeze()


def _found(kind: type, source: str, local: bool):
    """A part of a model, from a folder or the local cache, else from the network."""
    options = {"trust_remote_code": False}
    try:
        return kind.from_pretrained(source, local_files_only=True, **options)
    except Exception as error:  # transformers and its hub client raise dozens of classes
        if not local:
            with contextlib.suppress(Exception):
                return kind.from_pretrained(source, **options)
        raise ValueError(
            f"expected a folder of transformers, or a name in the cache or on the network, got "
            f"{source!r} ({one_line(error)[:120]}); place the model's folder and give its path"
        ) from None


def _transformer(source: str, local: bool) -> nn.Module:
    """The encoder without its unused pooler; every other weight must come from the source."""
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            source, local_files_only=local, trust_remote_code=False, weights_only=True,
            dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except Exception as error:  # damaged and hostile files raise anything
        raise ValueError(
            f"expected whole weights in {source}, got {one_line(error)[:160]}; "
            "place them as model.safetensors"
        ) from None
    own = {child for child, _ in model.named_children()} | {model.base_model_prefix}
    faults = {
        "lacks": {k for k in report["missing_keys"] if k.split(".")[0] != "pooler"},
        "has the unexpected": {k for k in report["unexpected_keys"] if k.split(".")[0] in own},
        "has a misshaped": {str(key) for key, *_ in report["mismatched_keys"]},
    }
    for fault, keys in faults.items():
        if keys:
            raise ValueError(
                f"expected the weights that the config of {source} asks for, but it {fault} key "
                f"{min(keys)!r}; give weights and config of one model"
            )
    if hasattr(model, "pooler"):
        model.pooler = None
    return model


def _pipeline(source: str, local: bool) -> tuple[Pooling, bool]:
    """Pooling and normalisation as the source's own modules.json declares them."""
    modules = _json(source, "modules.json", local)
    if modules is None:
        return "cls", False
    try:
        kinds = [module["type"].split(".")[-1] for module in modules]
    except (TypeError, KeyError):
        kinds = ["something else"]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(
            f"expected the modules Transformer, Pooling and perhaps Normalize in {source}, got "
            f"{', '.join(kinds)}; name another model"
        )
    declared = _json(source, f"{modules[1]['path']}/config.json", local) or {}
    modes = [key for key, on in declared.items() if key.startswith("pooling_mode") and on is True]
    known: dict[str, Pooling] = {
        "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean",
    }  # fmt: skip
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(
            f"expected one of {', '.join(known)} in {source}, got {', '.join(modes) or 'none'}; "
            "say ?pooling=cls or ?pooling=mean"
        )
    return known[modes[0]], len(kinds) == 3


def _max_tokens(source: str, local: bool, tokenizer, transformer: nn.Module) -> int:
    """Tokens a text may have: as the source declares, else as many as there are positions.

    Models after RoBERTa count positions from behind their padding token's number, so that the
    first ones, which their table of positions marks by a `padding_idx`, are never a token's.
    """
    declared = (_json(source, "sentence_bert_config.json", local) or {}).get("max_seq_length")
    if declared:
        return declared
    table = getattr(transformer.embeddings, "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    unused = 0 if padding is None else padding + 1
    return min(tokenizer.model_max_length, transformer.config.max_position_embeddings - unused)


def _fingerprint(tokenizer) -> str:
    """A hash of all that decides how texts become tokens."""
    if tokenizer.is_fast:
        return files.sha256(tokenizer.backend_tokenizer.to_str().encode())[:16]
    return files.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())[:16]


def _json(source: str, file: str, local: bool):
    """A small JSON file of the model; None if it has none."""
    from transformers.utils import cached_file

    path = cached_file(
        source, file, local_files_only=local, _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    try:
        return json.loads(Path(path).read_text()) if path else None
    except ValueError as error:
        raise ValueError(
            f"expected JSON in {file} of {source}, got {one_line(error)}; get the file again"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No loading bars and reports: what they would say is checked, and raised if it matters."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
