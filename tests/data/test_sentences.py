"""Sentence tasks: what is in them, that parts stay apart, and how a pair becomes a page."""

import numpy as np
import pytest

from towers import rendering
from towers.data import DataError, sentences
from towers.data.sentences import Examples


def examples(count=10, seconds=True):
    texts = tuple(f"first {row}" for row in range(count))
    return Examples(
        texts, tuple(f"second {row}" for row in range(count)) if seconds else (),
        np.arange(count) % 2, texts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tasks():
    return {name: sentences.load(name) for name in sentences.TASKS}


def test_packaged_tasks_have_the_sizes_of_what_they_come_from(tasks):
    sizes = {name: (len(task.train), len(task.tests[name])) for name, task in tasks.items()}
    assert sizes["movies"] == (7533, 2508)
    assert sum(sizes["tweets"]) == 4200
    for name in ("next", "order", "titles"):
        assert min(sizes[name]) > 800
    kinds = {name: (task.metric, task.classes) for name, task in tasks.items()}
    assert kinds == {
        "movies": ("accuracy", 2), "next": ("accuracy", 2), "order": ("Matthews", 2),
        "titles": ("F1", 2), "tweets": ("Spearman", 0),
    }  # fmt: skip


def test_no_sentence_is_learnt_and_asked(tasks):
    for name in ("movies", "tweets", "order"):
        task = tasks[name]
        assert not {*task.train.texts} & {*task.tests[name].texts}
    for name in ("next", "order"):  # whole articles
        assert not {*tasks[name].train.groups} & {*tasks[name].tests[name].groups}


def test_half_of_the_pairs_are_torn_apart(tasks):
    for name in ("next", "titles"):
        for part in (tasks[name].train, tasks[name].tests[name]):
            assert abs(part.targets.mean() - 0.5) < 1e-3
    said = {each.text: (each.article, each.place) for each in
            sentences._rated("nytEditorialSnippets")}  # fmt: skip
    for first, second, target in zip(
        tasks["next"].train.texts, tasks["next"].train.seconds, tasks["next"].train.targets,
        strict=True,
    ):  # fmt: skip
        (article, place), (other, then) = said[first], said[second]
        assert (article == other) == bool(target)
        assert not target or then == place + 1


def test_words_out_of_order_are_the_same_words(tasks):
    printed = {each.text for each in sentences._rated("nytEditorialSnippets")}
    words = {tuple(sorted(text.split())) for text in printed}
    part = tasks["order"].tests["order"]
    for text, target in zip(part.texts, part.targets, strict=True):
        assert (text in printed) == bool(target)
        assert tuple(sorted(text.split())) in words


def test_film_sentences_have_the_sign_of_their_rating(tasks):
    ratings = {each.text: each.rating for each in sentences._rated("movieReviewSnippets")}
    part = tasks["movies"].train
    assert all((ratings[text] > 0) == target for text, target in zip(part.texts, part.targets,
                                                                     strict=True))  # fmt: skip
    assert min(abs(ratings[text]) for text in part.texts) > sentences.NEUTRAL


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [("wordsim353", 353, ("love", "sex", 6.77)), ("simlex999", 999, ("old", "new", 1.58))],
)
def test_rated_pairs_of_words_are_all_there(name, count, first):
    pairs = sentences.rated_pairs(name)
    assert len(pairs) == count
    assert (pairs.texts[0], pairs.seconds[0], pairs.targets[0]) == first
    assert 0 <= pairs.targets.min() <= pairs.targets.max() <= 10


def test_both_sentences_stand_on_one_page_with_a_mark_between():
    pair = Examples(("A cat.",), ("It sleeps.",), np.array([1]), ("a",))
    assert pair.pages == ["A cat. [SEP] It sleeps."]
    page, alone = rendering.render([*pair.pages, "A cat. "], 224)
    width = int((alone != 127).any(0).nonzero()[0].max()) + 1
    assert (page[:, :width] == alone[:, :width]).all()
    assert (page[:, width:] != 127).any()
    assert examples(2, seconds=False).pages == ["first 0", "first 1"]


def test_a_part_of_the_examples_is_drawn_by_a_seed_and_keeps_rows_together():
    whole = examples()
    part = whole.take(4, seed=3)
    assert part.pages == whole.take(4, seed=3).pages != whole.take(4, seed=4).pages
    assert len(part) == 4
    assert [page for page in whole.pages if page in part.pages] == part.pages
    for first, second, target in zip(part.texts, part.seconds, part.targets, strict=True):
        row = first.removeprefix("first ")
        assert (second, target) == (f"second {row}", int(row) % 2)
    assert whole.take(10) is whole


def test_the_digest_is_of_sentences_and_answers(tasks):
    task = tasks["tweets"]
    assert task.digest == sentences.load("tweets").digest != task.take(100, 100).digest


def test_unknown_names_and_ragged_examples_are_refused():
    with pytest.raises(DataError, match=r"expected a task among movies, .*; got 'films'"):
        sentences.load("films")
    with pytest.raises(DataError, match="expected rated pairs of wordsim353, simlex999; got 'x'"):
        sentences.rated_pairs("x")
    for texts, seconds, count in ((("a",), (), 2), (("a", "b"), ("c",), 2), ((), (), 0)):
        with pytest.raises(DataError, match="expected as many targets as texts"):
            Examples(texts, seconds, np.zeros(count), texts)
