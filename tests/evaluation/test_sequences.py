"""Which of two sequences is shorter, and for how many languages: against counts by hand."""

import io

import numpy as np
import pandas as pd
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from towers import rendering
from towers.evaluation import sequences
from towers.models import segments

BLANK = "\U0010ffff"  # assigned to nobody for ever
TEXTS = {
    "en": ["a red circle", "a star", "two blue squares"],
    "en_GB": ["a red circle", "a star", "two blue squares"],
    "ru": ["красный круг", "звезда"],
    "iu": ["ᐊᐅᐸᖅᑐᖅ", "ᐊᐅ"],
}
TOKENIZERS = {"letters": "utf-8", "words": "wordpiece"}


@pytest.fixture(scope="module")
def frame():
    return sequences.by_language(TEXTS, TOKENIZERS)


def row(frame, language, model, way="one token"):
    chosen = frame[(frame.language == language) & (frame.model == model) & (frame.unknown == way)]
    assert len(chosen) == 1
    return chosen.iloc[0]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.5, 0.75, 0.9]),
)
def test_more_efficient_is_a_count_of_shorter_sequences(pairs, majority):
    ours, theirs = map(np.array, zip(*pairs, strict=True))
    won = 0
    for mine, other in pairs:
        won += mine < other
    assert sequences.more_efficient(ours, theirs, majority) == (won / len(pairs) > majority)


def test_three_of_four_are_not_over_three_quarters():
    assert not sequences.more_efficient(np.array([1, 1, 1, 2]), np.array([2, 2, 2, 2]))
    assert sequences.more_efficient(np.array([1, 1, 1, 1, 2]), np.array([2, 2, 2, 2, 2]))


@pytest.mark.parametrize(
    ("ours", "theirs", "majority"), [([], [], 0.5), ([1], [1, 2], 0.5), ([1], [2], 1.0)]
)
def test_other_texts_and_shares_are_refused(ours, theirs, majority):
    with pytest.raises(ValueError, match="expected lengths of the same texts"):
        sequences.more_efficient(np.array(ours), np.array(theirs), majority)


def test_a_length_ends_at_the_last_patch_with_ink():
    texts = ["a b", "", "   ", "W" * 40, "日本語テキスト " * 10]
    pages = rendering.render(texts)
    for page, length in zip(pages, sequences.patches(texts).tokens, strict=True):
        cut = page.reshape(14, 16, 14, 16).swapaxes(1, 2).reshape(196, -1)
        inked = [place for place, patch in enumerate(cut) if (patch != 127).any()]
        assert length == (inked[-1] + 1 if inked else 0)


def test_letters_off_the_page_and_without_a_glyph_are_unread():
    found = sequences.patches(["ab " * 8, f"a{BLANK}", "W" * 2000], 48)
    assert found.unread[1] == 1
    fits = rendering.drawn(["W" * 2000], 48)[0]
    assert found.unread[2] == 2000 - fits > 0
    assert found.unread[0] == sum(
        not letter.isspace() for letter in ("ab " * 8)[rendering.drawn(["ab " * 8], 48)[0] :]
    )


def test_rows_are_means_over_a_languages_texts(frame):
    ours = sequences.patches(TEXTS["ru"])
    assert row(frame, "ru", "pixels").length == ours.tokens.mean()
    own = row(frame, "ru", "letters")
    assert own.length == np.mean([len(text.encode()) for text in TEXTS["ru"]])
    assert (own.shorter, own.efficient, own.texts) == (1.0, True, 2)


def test_a_script_that_a_tokenizer_lacks_is_short_or_spelt(frame):
    short, spelt = (row(frame, "iu", "words", way) for way in sequences.WAYS)
    assert short.unread == spelt.unread == 1
    assert (short.length, spelt.length) == (1, np.mean([18, 6]))
    assert (short.efficient, spelt.efficient) == (False, True)


@pytest.mark.parametrize("fallback", [False, True], ids=["t5", "mt5"])
def test_files_of_t5_and_mt5_stand_among_the_tokenizers(tmp_path, fallback):
    """Theirs are laid out alike; mT5's spells what it lacks in bytes."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS["en"], *TEXTS["ru"]] * 9), model_writer=model,
        vocab_size=70 + 256 * fallback, hard_vocab_limit=False, byte_fallback=fallback, pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    (tmp_path / "spiece.model").write_bytes(model.getvalue())
    found = sequences.by_language(TEXTS, {"T5": f"sentencepiece:{tmp_path}/spiece.model"})
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    for code, texts in TEXTS.items():
        ours = row(found, code, "T5")
        assert ours.length == np.mean([len(own) for own in theirs.encode(texts)])
        assert ours.unread == (code == "iu" and not fallback)
    spelt = [row(found, "iu", "T5", way).length for way in sequences.WAYS]
    assert spelt[1] == np.mean([18, 6]) + 1  # and the mark of a word's start
    assert (spelt[0] == spelt[1]) == fallback


def test_records_give_shares_of_languages_with_variants_together(frame):
    rows = sequences.evaluate(frame, "toys")
    of = {(each.model, each.metric, *each.at.values()): each for each in rows}
    assert len(of) == len(rows)
    assert {each.data for each in rows} == {"toys"}
    assert {name for each in rows for name in each.at} == {"language", "unknown"}
    won = frame[(frame.model == "words") & (frame.unknown == "bytes")].efficient
    share = of["words", "languages where pixels are shorter", "bytes"]
    assert (share.value, share.n) == (won.mean(), 4)
    assert 0 <= share.low <= share.value <= share.high <= 1
    lengths = frame[frame.model == "pixels"].length.to_numpy()
    spread = of["pixels", "spread of lengths"]
    mean = lengths.sum() / 4
    assert spread.value == pytest.approx((((lengths - mean) ** 2).sum() / 3) ** 0.5 / mean)
    assert of["words", "unread letters", "iu"].value == 1
    letters = {code: sum(map(segments.letters, own)) for code, own in TEXTS.items()}
    assert of["words", "unread letters"].value == pytest.approx(
        letters["iu"] / sum(letters.values())
    )
    everything = of["letters", "languages where pixels are shorter"]
    assert (everything.value, everything.high) == (1, 1)
    assert everything.low == pytest.approx(0.025 ** (1 / 3))  # of three families, not four codes


def test_variants_belong_to_their_language():
    codes = pd.Series(["pt", "pt_BR", "sr@latin", "zh_Hant_TW", "ast"])
    assert sequences.families(codes) == ["pt", "pt", "sr", "zh", "ast"]
