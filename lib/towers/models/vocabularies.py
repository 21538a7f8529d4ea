"""SentencePiece vocabularies, trained on a collection's own texts or read from a file as T5's.

    tokens=clip                      CLIP's byte pairs, see `tokens`
    tokens=sentencepiece:PATH        a model file, such as T5's or mT5's spiece.model
    tokens=sentencepiece:DIGEST      a model that `trained` put into the cache

Ids are T5's: 0 is kept for padding, 1 ends a text, 2 is unknown. A text is cut or filled with its
end mark to one length, so that the last token is always the end. Of a larger model the first ids
are kept, and the others become unknown, as the paper does with mT5's.

Source: Kudo and Richardson 2018; Tschannen et al. 2023, sections 4.1 and C.4.
"""

import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from towers import data, files
from towers.models.encoders import Tokens
from towers.models.tokens import ClipTokens
from towers.models.weights import one_line

PREFIX = "sentencepiece:"
SIZE = 32_000
"""Ids of the paper's vocabularies."""
LONGEST = 16_384
"""Bytes of a text that is learnt from; longer ones are left out."""

_DIGEST = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class PieceTokens:
    """Texts to ids of a SentencePiece model.

    Attributes:
        source: path of a model file, or the digest of one in the cache; it is read when the first
            text comes.
        context: length of every row of ids, at least 2.
        vocabulary: number of ids, at least 3.
    """

    source: str
    context: int
    vocabulary: int = SIZE

    def __post_init__(self) -> None:
        if self.context < 2 or self.vocabulary < 3 or not self.source:
            raise ValueError(
                f"expected {PREFIX}PATH or {PREFIX}DIGEST with context >= 2 and vocabulary >= 3, "
                f"got {self.source!r} with {self.context} and {self.vocabulary}"
            )

    def __call__(self, texts: list[str]) -> Tokens:
        """Ids of all texts, {"ids": (texts, context)}.

        Raises:
            ValueError: there is no such model, or it is damaged.
        """
        model = processor(self.path)
        end, unknown = model.eos_id(), model.unk_id()
        rows = []
        for ids in model.encode(texts):
            kept = [each if each < self.vocabulary else unknown for each in ids[: self.context - 1]]
            rows.append(kept + [end] * (self.context - len(kept)))
        return {"ids": torch.tensor(rows, dtype=torch.long).reshape(-1, self.context)}

    @property
    def path(self) -> Path:
        """Where the model lies."""
        named = _DIGEST.fullmatch(self.source)
        return _cached(self.source) if named else files.user_path(self.source)

    @property
    def recipe(self) -> str:
        """All of the above in one canonical line, for keys and provenance; files by content."""
        model = files.sha256(self.path)[:16] if self.path.is_file() else self.source
        return json.dumps({"tokenizer": "sentencepiece", "model": model,
                           "max_tokens": self.context, "vocabulary": self.vocabulary})  # fmt: skip


def tokens_of(name: str, context: int, vocabulary: int) -> ClipTokens | PieceTokens:
    """The tokenizer of a name.

    Args:
        name: "clip", or as the module's text has it.
        context: length of every row of ids.
        vocabulary: number of ids.

    Raises:
        ValueError: an unknown name, or a length or number that it cannot have.
    """
    if name == "clip":
        return ClipTokens(context, vocabulary)
    if name.startswith(PREFIX):
        return PieceTokens(name.removeprefix(PREFIX), context, vocabulary)
    raise ValueError(f"expected tokens as clip, {PREFIX}PATH or {PREFIX}DIGEST, got {name!r}")


def trained(texts: Iterable[str], vocabulary: int = SIZE) -> str:
    """Train a vocabulary on texts, unless the cache has it, and give its name.

    The same texts in the same order give the same model: one thread learns, and nothing is drawn.

    Args:
        texts: learnt from.
        vocabulary: the most ids; few texts give fewer.

    Returns:
        "sentencepiece:DIGEST"; the digest is one of the texts and of all settings.

    Raises:
        ValueError: too few texts to learn from, or fewer ids than the texts have characters.
    """
    import sentencepiece

    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    settings = {
        "vocab_size": vocabulary, "model_type": "unigram", "hard_vocab_limit": False,
        "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "max_sentence_length": LONGEST,
        "shuffle_input_sentence": False, "num_threads": 1, "minloglevel": 2,
    }  # fmt: skip
    about = [sentencepiece.__version__, settings, lines]
    digest = files.sha256(json.dumps(about, sort_keys=True).encode())[:16]
    path = _cached(digest)
    with files.locked(path):
        if not path.is_file():
            files.atomic_write(path, _learnt(lines, settings))
    return f"{PREFIX}{digest}"


def of_collections(
    names: Sequence[str], languages: Sequence[str] | None = None, vocabulary: int = SIZE
) -> str:
    """`trained` on the captions of collections, each caption once.

    Args:
        names: as `data.load` takes them.
        languages: of the captions; None: all that there are.
        vocabulary: the most ids.

    Raises:
        ValueError: an unknown collection, or as `trained`.
    """
    found = (
        text
        for name in names
        for item in data.load(name)
        for language, texts in item.captions.items()
        if languages is None or language in languages
        for text in texts
    )
    return trained(dict.fromkeys(found), vocabulary)


def size(name: str) -> int:
    """How many ids the model of a name has.

    Args:
        name: "sentencepiece:PATH" or "sentencepiece:DIGEST".

    Raises:
        ValueError: there is no such model, or it is damaged.
    """
    return processor(PieceTokens(name.removeprefix(PREFIX), 2).path).get_piece_size()


def _cached(digest: str) -> Path:
    return files.cache_home() / "vocabularies" / f"{digest}.model"


def _learnt(lines: list[str], settings: dict[str, object]) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, **settings
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"expected texts that a vocabulary of {settings['vocab_size']} can be learnt from, got "
            f"{len(lines)} lines ({one_line(error)[-160:]}); give more texts or another size"
        ) from None
    return model.getvalue()


@lru_cache(maxsize=8)
def processor(path: Path):
    """The SentencePiece model in a file.

    Raises:
        ValueError: there is no such model, or it is damaged.
    """
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except OSError as error:
        cause = error.strerror
    except (RuntimeError, ValueError) as error:
        cause = one_line(error)[:120]
    raise ValueError(
        f"expected a SentencePiece model at {path}, got {cause}; place the file, or train one with "
        "vocabularies.trained"
    )
