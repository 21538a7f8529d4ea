"""SentencePiece vocabularies: trained the same way always, T5's layout of ids, files as given."""

import io
import json

import pytest
import sentencepiece
import torch

from tests import toy_towers
from towers import data, files, models
from towers.models import vocabularies
from towers.models.vocabularies import PieceTokens, tokens_of, trained
from towers.papers import clippo

TEXTS = [
    f"a {colour} {shape} {place} a {other} star"
    for colour in ("red", "green", "blue", "yellow")
    for shape in ("circle", "square", "triangle", "cross")
    for place in ("above", "below", "beside")
    for other in ("large", "small")
]

pytestmark = pytest.mark.usefixtures("home")


def ids(tokens, *texts):
    return tokens(list(texts))["ids"].tolist()


def test_ids_are_laid_out_as_t5s():
    tokens = tokens_of(trained(TEXTS, 60), 12, 60)
    model = sentencepiece.SentencePieceProcessor(model_proto=tokens.path.read_bytes())
    assert [model.id_to_piece(number) for number in range(3)] == ["<pad>", "</s>", "<unk>"]
    assert model.piece_size() <= 60
    text = "a red circle"
    (row,) = ids(tokens, text)
    assert row[: len(model.encode(text))] == model.encode(text)
    assert set(row[len(model.encode(text)) :]) == {1}
    assert 2 in ids(tokens, "€")[0]


def test_a_long_text_is_cut_before_its_end_mark():
    tokens = tokens_of(trained(TEXTS, 60), 4, 60)
    (row,) = ids(tokens, "a red circle above a large star")
    assert (len(row), row[-1]) == (4, 1)
    assert 1 not in row[:-1]
    assert ids(tokens, "") == [[1, 1, 1, 1]]
    assert tokens([])["ids"].shape == (0, 4)


def test_of_a_larger_model_the_first_ids_are_kept():
    name = trained(TEXTS, 60)
    whole, part = tokens_of(name, 12, 60), tokens_of(name, 12, 20)
    for full, kept in zip(ids(whole, *TEXTS), ids(part, *TEXTS), strict=True):
        assert kept == [each if each < 20 else 2 for each in full]
    assert any(2 in row for row in ids(part, *TEXTS))


def test_the_same_texts_give_the_same_bytes_and_are_learnt_from_once(tmp_path, monkeypatch):
    name = trained(TEXTS, 60)
    path = tokens_of(name, 12, 60).path
    first = path.read_bytes()
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "another"))
    assert trained(TEXTS, 60) == name
    assert tokens_of(name, 12, 60).path.read_bytes() == first
    monkeypatch.setattr(vocabularies, "_learnt", lambda *_: pytest.fail("learnt again"))
    assert trained(iter(TEXTS), 60) == name
    assert {name}.isdisjoint({trained_name(TEXTS[:-1]), trained_name(TEXTS[::-1])})


def trained_name(texts):
    """The name alone, as learning is not allowed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabularies, "_learnt", lambda *_: b"")
        return trained(texts, 60)


def test_a_collections_captions_are_learnt_from_once_each(monkeypatch):
    made = toy_towers.collection([{"en": (text, text), "de": ("ein Haus",)} for text in TEXTS])
    seen = []
    monkeypatch.setattr(data, "load", lambda name: made)
    monkeypatch.setattr(vocabularies, "_learnt", lambda lines, _: seen.append(lines) or b"x")
    english = vocabularies.of_collections(["toys", "toys"], ["en"], 60)
    both = vocabularies.of_collections(["toys"], None, 60)
    assert seen == [TEXTS, [TEXTS[0], "ein Haus", *TEXTS[1:]]]
    assert english != both


def test_a_file_is_named_by_its_path_and_known_by_its_content(tmp_path):
    name = trained(TEXTS, 60)
    copy = tmp_path / "spiece.model"
    copy.write_bytes(tokens_of(name, 12, 60).path.read_bytes())
    by_path, by_digest = PieceTokens(str(copy), 12, 60), tokens_of(name, 12, 60)
    assert ids(by_path, *TEXTS) == ids(by_digest, *TEXTS)
    assert by_path.recipe == by_digest.recipe
    assert json.loads(by_path.recipe)["model"] == files.sha256(copy)[:16]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A folder with `spiece.model` as T5's is laid out, made without our own trainer."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=60, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("t5")
    (folder / "spiece.model").write_bytes(model.getvalue())
    return folder


STRANGE = ["", "a", " a   red\ncircle\t", "ﬁne € 日本 ＡＢ", "a red circle above a small star " * 9]


def test_t5s_file_gives_the_ids_of_transformers_tokenizer(t5):
    """Theirs is padded with another token, and reads marks such as </s> that a text contains."""
    from transformers import T5Tokenizer

    theirs = T5Tokenizer.from_pretrained(t5)
    wanted = theirs([*TEXTS, *STRANGE])["input_ids"]
    longest = max(map(len, wanted))
    assert longest > 100
    ours = ids(tokens_of(f"sentencepiece:{t5}/spiece.model", longest, 32_000), *TEXTS, *STRANGE)
    assert ours == [row + [theirs.eos_token_id] * (longest - len(row)) for row in wanted]
    cut = theirs(STRANGE, truncation=True, max_length=8)["input_ids"]
    short = ids(tokens_of(f"sentencepiece:{t5}/spiece.model", 8, 32_000), *STRANGE)
    assert short == [row + [1] * (8 - len(row)) for row in cut]
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.unk_token_id) == (0, 1, 2)


def test_towers_read_pieces_by_name(tmp_path):
    name = trained(TEXTS, 60)
    image = "scratch:map?image=32&patch=8&width=16&depth=1&heads=2"
    words = f"context=12&vocabulary=60&tokens={name}"
    for text in (f"shared:words?{words}", f"scratch:words?width=16&depth=1&heads=2&{words}"):
        dual = models.dual(image, text, 8)
        embeds = dual.embed_texts(dual.text.tokenize(TEXTS[:3]))
        assert embeds.shape == (3, 8)
        models.save(dual, tmp_path / "pair.safetensors")
        loaded = models.load(f"file:{tmp_path}/pair.safetensors")
        assert torch.equal(loaded.embed_texts(loaded.text.tokenize(TEXTS[:3])), embeds)


def test_a_models_count_needs_no_file():
    model = clippo.listed("sentencepiece:/nowhere/spiece.model")["1T-CLIP"]
    assert model.millions == 118


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sentencepiece:/nowhere/spiece.model", "/nowhere/spiece.model, got No such file"),
        ("sentencepiece:0123456789abcdef", "0123456789abcdef.model, got No such file"),
        ("sentencepiece:{}/broken", "expected a SentencePiece model at"),
    ],
)
def test_a_missing_or_damaged_model_is_one_line(tmp_path, name, message):
    (tmp_path / "broken").write_bytes(b"no model")
    with pytest.raises(ValueError, match=message) as error:
        tokens_of(name.format(tmp_path), 12, 60)(["text"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("texts", "size"), [([], 60), (["a"], 3), (TEXTS, 5)])
def test_texts_that_nothing_can_be_learnt_from_are_refused(texts, size):
    with pytest.raises(ValueError, match=r"expected texts that a vocabulary of \d+ can") as error:
        trained(texts, size)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "context"), [("bpe", 12), ("sentencepiece:", 12),
                                               ("sentencepiece:x", 1), ("", 12)])  # fmt: skip
def test_unfit_tokens_are_refused(name, context):
    with pytest.raises(ValueError, match="expected"):
        tokens_of(name, context, 60)


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PieceTokens("~/t5/spiece.model", 8).path == tmp_path / "t5/spiece.model"
