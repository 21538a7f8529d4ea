"""How many tokens texts have, by the tokenizers that models of tokens read them with.

    utf-8                    bytes
    clip                     CLIP's byte pairs
    wordpiece                the pieces of words of the packaged MiniLM, which are BERT's
    sentencepiece:PATH       a model file, such as T5's or mT5's
    sentencepiece:DIGEST     a model of the cache, see `vocabularies`

Marks of start and end are not counted. A tokenizer without a piece for a letter has one token for
something unknown, and the shortest sequence of all is that of a text which is unknown from end to
end. So what is lost is counted too, and how long the text would be if nothing were: byte fallback
spells what is unknown in the bytes of UTF-8, one token each.

Source: Tschannen et al. 2023, section 4.4; Kudo and Richardson 2018 (byte fallback).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from towers.models import packaged, vocabularies

UNKNOWN = "[UNK]"
"""WordPiece's token for a word that it cannot take apart."""

Parts = tuple[int, list[str], int]
"""Of one text: its tokens, what of it stands behind those that are unknown, and unread letters."""


@dataclass(frozen=True)
class Counted:
    """Tokens of some texts.

    Attributes:
        tokens: of each text.
        spelt: the same, with bytes of UTF-8 in the place of each unknown token.
        unread: letters that are in no token, or in an unknown one; white space is no letter.
    """

    tokens: Int[np.ndarray, " texts"]
    spelt: Int[np.ndarray, " texts"]
    unread: Int[np.ndarray, " texts"]


def count(name: str, texts: Sequence[str], vocabulary: int = vocabularies.SIZE) -> Counted:
    """The tokens of each text.

    Args:
        name: of the tokenizer, as the module's text has it.
        texts: any.
        vocabulary: of a larger SentencePiece model so many ids are kept, as the paper does with
            mT5's; the others are unknown.

    Raises:
        ValueError: an unknown name, no such model, or fewer than 3 ids.
    """
    rows = [
        (tokens, tokens + sum(len(part.encode()) - 1 for part in unknown), unread)
        for tokens, unknown, unread in _splitter(name, vocabulary)(list(texts))
    ]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Counted(*columns)


def letters(text: str) -> int:
    """Characters that are no white space."""
    return sum(not letter.isspace() for letter in text)


def _splitter(name: str, vocabulary: int) -> Callable[[list[str]], Iterator[Parts]]:
    plain = {"utf-8": _bytes, "clip": _byte_pairs, "wordpiece": _word_pieces}
    if name in plain:
        return plain[name]
    if not name.startswith(vocabularies.PREFIX):
        raise ValueError(
            f"expected a tokenizer {', '.join(plain)} or {vocabularies.PREFIX}..., got {name!r}"
        )
    model = vocabularies.processor(vocabularies.tokens_of(name, 2, vocabulary).path)
    return lambda texts: _pieces(model, vocabulary, texts)


def _bytes(texts: list[str]) -> Iterator[Parts]:
    return ((len(text.encode()), [], 0) for text in texts)


def _byte_pairs(texts: list[str]) -> Iterator[Parts]:
    encode = _clip().encode
    return ((len(encode(text)), [], 0) for text in texts)


def _word_pieces(texts: list[str]) -> Iterator[Parts]:
    """Marks that stand for themselves and are taken off are unread; accents of letters are not."""
    encoded = _minilm().encode_batch(texts, add_special_tokens=False)
    for text, found in zip(texts, encoded, strict=True):
        read, unknown = set(), []
        for token, (first, end) in zip(found.tokens, found.offsets, strict=True):
            if token == UNKNOWN:
                unknown.append(text[first:end])
            else:
                read.update(range(first, end))
        seen = sum(not text[place].isspace() for place in read)
        yield len(found), unknown, letters(text) - seen


def _pieces(model, vocabulary: int, texts: list[str]) -> Iterator[Parts]:
    """What is spelt is the normalised letter, what is unread the one that was written."""
    for split in model.encode(texts, return_type="proto"):
        unknown = [
            piece for piece in split.pieces if piece.id == model.unk_id() or piece.id >= vocabulary
        ]
        lost = sum(letters(piece.surface) for piece in unknown)
        yield len(split.pieces), [piece.piece for piece in unknown], lost


@lru_cache
def _clip():
    from open_clip import SimpleTokenizer

    return SimpleTokenizer()


@lru_cache
def _minilm():
    from transformers import PreTrainedTokenizerFast

    file = str(packaged.minilm_folder() / "tokenizer.json")
    made = PreTrainedTokenizerFast(tokenizer_file=file).backend_tokenizer
    made.no_truncation()
    made.no_padding()
    return made
