"""Tokens counted, and what is behind those that stand for something unknown."""

import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from towers.models import segments, vocabularies

ENGLISH = [
    f"a {size} {colour} {thing}"
    for size in ("small", "large")
    for colour in ("red", "green", "blue", "yellow")
    for thing in ("circle", "square", "star", "ring")
]
STRANGE = "ein großer 犬犬 bird"


@pytest.fixture
def pieces(home):
    return vocabularies.trained(ENGLISH, 60)


def counted(name, text, **options):
    found = segments.count(name, [text], **options)
    return tuple(int(column[0]) for column in (found.tokens, found.spelt, found.unread))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_bytes_lose_nothing(texts):
    found = segments.count("utf-8", texts)
    lengths = [len(text.encode("utf-8")) for text in texts]
    assert found.tokens.tolist() == found.spelt.tolist() == lengths
    assert not found.unread.any()


def test_clips_pairs_are_counted_without_their_marks():
    from open_clip import SimpleTokenizer

    texts = [*ENGLISH, STRANGE, "สวัสดี", ""]
    rows = SimpleTokenizer()(texts, 77).numpy()
    inside = (rows != 0).sum(1) - 2  # start and end
    found = segments.count("clip", texts)
    np.testing.assert_array_equal(found.tokens, inside)
    np.testing.assert_array_equal(found.spelt, inside)


def test_word_pieces_are_those_of_the_tower():
    from towers import models

    tower = models.text_tower("package:minilm")
    inside = tower.tokenize(ENGLISH)["attention_mask"].sum(1).numpy() - 2
    np.testing.assert_array_equal(segments.count("wordpiece", ENGLISH).tokens, inside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red star", (3, 3, 0)),
        # one token for a word of six letters, three bytes each
        ("ᐊᐅᐸᖅᑐᖅ", (1, 18, 6)),
        # the vowel sign in the middle is taken off, and is in no token
        ("सेब", (2, 2, 1)),
        ("", (0, 0, 0)),
        ("red " * 200, (200, 200, 0)),  # more than the tower reads
    ],
)
def test_what_word_pieces_cannot_read_is_counted(text, expected):
    assert counted("wordpiece", text) == expected


def test_what_pieces_cannot_read_is_counted(pieces):
    tokens, spelt, unread = counted(pieces, STRANGE)
    model = sentencepiece.SentencePieceProcessor(
        model_proto=vocabularies.tokens_of(pieces, 2, 60).path.read_bytes()
    )
    ids = model.encode(STRANGE)
    assert tokens == len(ids)
    alphabet = set("".join(ENGLISH))
    strange = [letter for letter in STRANGE if letter not in alphabet]
    assert unread == len(strange) > 2
    assert spelt == tokens - ids.count(model.unk_id()) + len("".join(strange).encode())


def test_spelling_is_what_byte_fallback_does(pieces):
    """SentencePiece's own fallback, with the same pieces, has as many tokens."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH), model_writer=model, model_type="unigram",
        vocab_size=60 + 256, hard_vocab_limit=False, byte_fallback=True, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, num_threads=1, minloglevel=2, shuffle_input_sentence=False,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ours = sentencepiece.SentencePieceProcessor(
        model_proto=vocabularies.tokens_of(pieces, 2, 60).path.read_bytes()
    )
    own = {ours.id_to_piece(number) for number in range(ours.piece_size())}
    others = {
        theirs.id_to_piece(number)
        for number in range(theirs.piece_size())
        if not theirs.is_byte(number)
    }
    assert own == others
    texts = [*ENGLISH, STRANGE, "日本語 a red", "ж", ""]
    assert segments.count(pieces, texts).spelt.tolist() == [
        len(row) for row in theirs.encode(texts)
    ]


def test_of_a_larger_model_only_the_first_ids_are_known(pieces):
    text = ENGLISH[0]
    tokens, spelt, unread = counted(pieces, text, vocabulary=3)
    assert (tokens, unread) == (counted(pieces, text)[0], segments.letters(text))
    assert spelt > tokens


def test_no_texts_have_no_lengths(pieces):
    for name in ("utf-8", "clip", "wordpiece", pieces):
        found = segments.count(name, [])
        assert (found.tokens.shape, found.spelt.shape, found.unread.shape) == ((0,),) * 3


def test_an_unknown_tokenizer_and_a_missing_model_are_named(home):
    with pytest.raises(ValueError, match=r"expected a tokenizer utf-8, .* got 'bpe'"):
        segments.count("bpe", ["a"])
    with pytest.raises(ValueError, match="expected a SentencePiece model at"):
        segments.count("sentencepiece:nowhere.model", ["a"])
