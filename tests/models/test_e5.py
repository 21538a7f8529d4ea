"""The multilingual sentence encoder: its file read number by number, its pieces, what it knows."""

import struct

import numpy as np
import pytest
import torch

from towers import models
from towers.models import e5

HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 32, 1, 2, 64, 16
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁dog", -1.0),
          ("▁query:", -1.0), ("s", -2.0), ("d", -4.0), ("o", -4.0), ("g", -4.0)]  # fmt: skip
NORMAL = {ord("Ｄ"): "d", ord("\t"): " ", ord("\u200b"): ""}


def packed(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Numbers in blocks of 4 bits, and what they are after that; written in a plain loop."""
    stored, rounded = b"", []
    for block in values.reshape(-1, 32):
        scale = np.float16(max(abs(block)) / 7)
        fours = [round(float(value) / float(scale)) for value in block]
        halves = zip(fours[:16], fours[16:], strict=True)
        stored += struct.pack("<e", scale) + bytes((a + 8) | (b + 8) << 4 for a, b in halves)
        rounded += [four * float(scale) for four in fours]
    return stored, np.array(rounded, np.float32)


def content(words: int = len(PIECES)) -> tuple[bytes, dict[str, np.ndarray]]:
    """A whole file, and the numbers that its tensors stand for."""
    draws = np.random.default_rng(0)
    square, wide = (HIDDEN, HIDDEN), (INNER, HIDDEN)
    shapes = {"emb.word": (words, HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN)}
    shapes |= {f"l0.{part}.w": square for part in ("q", "k", "v", "ao")}
    shapes |= {"l0.fi.w": wide, "l0.fo.w": wide[::-1]}
    flat = {f"l0.{part}.b": HIDDEN for part in ("q", "k", "v", "ao", "fo", "aln", "oln")}
    flat |= {"l0.fi.b": INNER, "emb.ln.w": HIDDEN, "emb.ln.b": HIDDEN}
    flat |= {"l0.aln.w": HIDDEN, "l0.oln.w": HIDDEN}
    bodies, wanted = {}, {}
    for name, shape in shapes.items():
        bodies[name], wanted[name] = packed(draws.normal(size=np.prod(shape)))
    for name, length in flat.items():
        wanted[name] = draws.normal(size=length).astype("<f4")
        bodies[name] = wanted[name].tobytes()
    strings = [piece.encode() for piece, _ in PIECES]
    ends = np.cumsum([0, *map(len, strings)])
    head = b"E5S1" + struct.pack("<I7i", 1, HIDDEN, LAYERS, HEADS, INNER, words, POSITIONS, 2)
    head += struct.pack("<fi5i", 1e-12, 32, len(PIECES), 0, 2, 1, 3)
    head += struct.pack("<Q", ends[-1]) + struct.pack(f"<{len(ends)}I", *ends)
    head += struct.pack(f"<{len(PIECES)}f", *(score for _, score in PIECES)) + b"".join(strings)
    rows = [struct.pack(f"<IB{len(to)}I", letter, len(to), *map(ord, to))
            for letter, to in NORMAL.items()]  # fmt: skip
    head += struct.pack("<iI", len(rows), sum(map(len, rows))) + b"".join(rows)
    head += struct.pack("<i", len(bodies))
    start = len(head) + sum(2 + len(name) + 21 for name in bodies)
    for name, body in bodies.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, len(wanted[name]), start, len(body))
        start += len(body)
    return head + b"".join(bodies.values()), wanted


@pytest.fixture
def small(tmp_path):
    """A file of a tiny model."""
    path = tmp_path / "small.bin"
    path.write_bytes(content()[0])
    return path


def test_every_number_of_a_file_is_read(small):
    wanted, read = content()[1], e5.read(small)
    assert read.sizes == (HIDDEN, LAYERS, HEADS, INNER, len(PIECES), POSITIONS, 2)
    assert read.special == (0, 2, 1, 3)
    assert read.pieces == PIECES
    assert read.normal == NORMAL
    assert read.tensors.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(read.tensors[name], values, rtol=1e-6, err_msg=name)


def test_weights_stand_where_transformers_has_them(small):
    wanted, state = content()[1], e5.tower("small", small).encoder.transformer.state_dict()
    for ours, theirs in {
        "emb.word": "embeddings.word_embeddings.weight",
        "l0.q.w": "encoder.layer.0.attention.self.query.weight",
        "l0.aln.b": "encoder.layer.0.attention.output.LayerNorm.bias",
        "l0.fi.w": "encoder.layer.0.intermediate.dense.weight",
        "l0.fo.w": "encoder.layer.0.output.dense.weight",
        "l0.oln.w": "encoder.layer.0.output.LayerNorm.weight",
    }.items():  # fmt: skip
        given = state[theirs].numpy()
        np.testing.assert_allclose(given, wanted[ours].reshape(given.shape), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("dogs", ["▁dog", "s"]), ("\tＤogs", ["▁dog", "s"]), ("d\u200bog", ["▁dog"]),
        ("dog   dog", ["▁dog", "▁dog"]), ("", []), ("cat", ["▁", "<unk>"]),
    ],
)  # fmt: skip
def test_words_are_cut_into_the_most_probable_pieces(small, text, pieces):
    """Between the marks, behind the prefix; letters are replaced and spaces joined before."""
    tokens = e5.tower("small", small).tokenize([text])
    names = [PIECES[number][0] for number in tokens["input_ids"][0]]
    assert names[:2] + names[-1:] == ["<s>", "▁query:", "</s>"]
    assert [name for name in names[2:-1] if name != "▁" or "▁" in pieces] == pieces


def test_texts_are_padded_and_cut_to_the_positions_there_are(small):
    tokens = e5.tower("small", small).tokenize(["dog", "dog " * 30])
    assert tokens["input_ids"].shape == (2, POSITIONS)
    assert tokens["attention_mask"][0].sum() < POSITIONS == tokens["attention_mask"][1].sum()
    assert set(tokens["input_ids"][0][tokens["attention_mask"][0] == 0].tolist()) == {1}


def test_padding_changes_no_feature(small):
    tower = e5.tower("small", small)
    with torch.no_grad():
        alone = tower(tower.tokenize(["dogs"]))
        padded = tower(tower.tokenize(["dogs", "dog dog dog"]))[:1]
    torch.testing.assert_close(alone, padded, rtol=0, atol=1e-6)  # sums in another order
    assert alone.norm() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("damage", [lambda data: b"E5S2" + data[4:], lambda data: data[:200],
                                    lambda data: data[:-8], lambda data: b""])  # fmt: skip
def test_a_damaged_file_is_named(small, damage):
    small.write_bytes(damage(small.read_bytes()))
    with pytest.raises(ValueError, match=r"small\.bin"):
        e5.read(small)


@pytest.fixture(scope="module")
def tower():
    """The real one."""
    return models.load("package:multilingual-e5-small")


def test_the_package_s_tower_has_the_published_sizes(tower):
    count = sum(weight.numel() for weight in tower.parameters())
    words, inner, layers = 250_037 * 384, 4 * 384, 12
    block = 4 * (384 * 384 + 384) + 2 * 384 * inner + inner + 384 + 4 * 384
    assert count == words + (512 + 2) * 384 + 2 * 384 + layers * block
    assert tower.frozen


def test_it_knows_what_a_sentence_says_in_other_languages(tower):
    said = {
        "dog": ["A dog runs across the meadow.", "Ein Hund läuft über die Wiese.",
                "Собака бежит по лугу.", "犬が草原を走る。", "Un cane corre sul prato."],
        "tax": ["The tax report is due on Friday.", "Der Steuerbericht ist am Freitag fällig.",
                "Налоговый отчёт нужно сдать в пятницу.", "税務報告書の期限は金曜日です。",
                "La dichiarazione dei redditi scade venerdì."],
    }  # fmt: skip
    with torch.no_grad():
        dog, tax = (tower(tower.tokenize(texts)) for texts in said.values())
    for first, second in ((dog, tax), (tax, dog)):
        assert (first @ first.T).min() > (first @ second.T).max()
