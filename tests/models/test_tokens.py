"""CLIP's tokens: open_clip's at full size, and an encoding of its own at any smaller one."""

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from towers.models.tokens import BYTES, FULL, ClipTokens

TEXTS = ["a red circle", "", "naïve café 🐶 日本語", "  Two  SQUARES!  ", "long " * 200]


@pytest.mark.parametrize("context", [3, 16, 77])
def test_the_full_vocabulary_is_open_clips(context):
    theirs = open_clip.get_tokenizer("ViT-B-32")(TEXTS, context_length=context)
    assert torch.equal(ClipTokens(context)(TEXTS)["ids"], theirs)


@pytest.mark.parametrize("vocabulary", [BYTES + 2, 1000, 4096])
@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=40))
def test_a_smaller_vocabulary_loses_nothing(vocabulary, text):
    """Pieces decode to the very text that the full vocabulary's decode to."""
    full, small = ClipTokens(512), ClipTokens(512, vocabulary)
    ids = small([text])["ids"][0]
    assert ids.max() == small.end == vocabulary - 1
    assert decoded(small, ids) == decoded(full, full([text])["ids"][0])


def decoded(tokens, ids):
    from towers.models.tokens import _tokenizer

    end = ids.argmax()
    return _tokenizer(tokens.vocabulary).decode(ids[1:end].tolist())


def test_the_first_merges_keep_their_ids():
    """A text whose pieces all lie among the first merges has the same ids, its marks apart."""
    full, small = ClipTokens(16)(["a man and the dog"])["ids"], ClipTokens(16, 4096)(
        ["a man and the dog"]
    )["ids"]  # fmt: skip
    assert torch.equal(full[0, 1:6], small[0, 1:6])
    assert (full[0, 0], small[0, 0]) == (FULL - 2, 4094)


def test_a_long_text_is_cut_before_its_end_mark():
    ids = ClipTokens(8, 600)(["word " * 50])["ids"]
    assert ids.shape == (1, 8)
    assert ids[0, -1] == ids.max() == 599


def test_the_full_tokenizer_is_not_touched_by_a_smaller_one():
    before = ClipTokens(16)(TEXTS)["ids"]
    ClipTokens(16, 700)(TEXTS)
    assert torch.equal(ClipTokens(16)(TEXTS)["ids"], before)
    assert open_clip.tokenizer._tokenizer.vocab_size == FULL


@pytest.mark.parametrize(("context", "vocabulary"), [(2, FULL), (8, 513), (8, FULL + 1)])
def test_impossible_sizes_are_refused(context, vocabulary):
    with pytest.raises(ValueError, match="expected context >= 3 and vocabulary from 514 to 49408"):
        ClipTokens(context, vocabulary)


def test_the_recipe_says_all_that_decides_the_ids():
    recipes = {ClipTokens(c, v).recipe for c in (8, 9) for v in (600, 700)}
    assert len(recipes) == 4
