"""CLIP's byte-pair tokens at any length, and with as few merges as a small tower can afford."""

import json
from dataclasses import dataclass, field
from functools import lru_cache

from towers.models.encoders import Tokens

BYTES, SPECIAL = 512, 2
"""Single symbols (each byte, inside a word and at its end), and the marks of start and end."""
FULL = 49408
"""CLIP's whole vocabulary."""


@dataclass(frozen=True)
class ClipTokens:
    """Texts to ids of CLIP's byte-pair encoding, bracketed by start and end, padded with zeros.

    The merges of a byte-pair encoding are ordered by how often they were needed, so that the first
    of them are an encoding themselves: with a smaller `vocabulary` every text still has its ids,
    rare words in more pieces. The end mark has the highest id of all, also there. What stands after
    it is padding; a text that is too long is cut before it.

    Attributes:
        context: length of every row of ids, at least 3.
        vocabulary: number of ids, from 514 (bytes only) to 49,408 (CLIP's own).

    Source: Radford et al. 2021, section 2.4; Sennrich et al. 2015.
    """

    context: int
    vocabulary: int = FULL
    end: int = field(init=False)

    def __post_init__(self) -> None:
        if self.context < 3 or not BYTES + SPECIAL <= self.vocabulary <= FULL:
            raise ValueError(
                f"expected context >= 3 and vocabulary from {BYTES + SPECIAL} to {FULL}, got "
                f"{self.context} and {self.vocabulary}"
            )
        object.__setattr__(self, "end", self.vocabulary - 1)

    def __call__(self, texts: list[str]) -> Tokens:
        """Ids of all texts, {"ids": (texts, context)}."""
        return {"ids": _tokenizer(self.vocabulary)(texts, self.context)}

    @property
    def recipe(self) -> str:
        """All of the above in one canonical line, for keys and provenance."""
        return json.dumps({"tokenizer": "clip", "max_tokens": self.context,
                           "vocabulary": self.vocabulary})  # fmt: skip


@lru_cache
def _tokenizer(vocabulary: int):
    """open_clip's tokenizer, of whose merges only the first are kept."""
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    if vocabulary == tokenizer.vocab_size:
        return tokenizer
    symbols = list(tokenizer.encoder)
    marks = symbols[-SPECIAL:]
    kept = symbols[: vocabulary - SPECIAL] + marks
    merges = list(tokenizer.bpe_ranks)[: vocabulary - SPECIAL - BYTES]
    tokenizer.encoder = {symbol: number for number, symbol in enumerate(kept)}
    tokenizer.decoder = dict(enumerate(kept))
    tokenizer.bpe_ranks = {merge: rank for rank, merge in enumerate(merges)}
    tokenizer.cache = {mark: mark for mark in marks}
    tokenizer.vocab_size = vocabulary
    tokenizer.all_special_ids = [tokenizer.encoder[mark] for mark in marks]
    tokenizer.sot_token_id, tokenizer.eot_token_id = tokenizer.all_special_ids
    return tokenizer
