"""The protocol learns what features hold and nothing else; averages are the tables' own."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests import toy_towers
from towers import experiments, published, rendering, training
from towers.data import glue
from towers.data.sentences import Examples, Task
from towers.evaluation import comparisons, language
from towers.papers import clippo
from towers.records import Measurement

LETTERS = np.random.default_rng(5).normal(size=(26, 24)).astype(np.float32)


def encode(texts):
    """Features that know the first letter of a text, and nothing else."""
    return LETTERS[[ord(text[0]) - 97 for text in texts]]


def task(answer, classes=2, metric="accuracy", seconds=False, count=600, groups=None):
    """Words of three letters, alone or in pairs; `answer` says what is right."""
    rng = np.random.default_rng(2)
    words = ["".join(map(chr, letters)) for letters in rng.integers(97, 123, (2 * count, 3))]
    parts = []
    for start in (0, count // 2):
        first = words[start : start + count // 2]
        second = words[count + start : count + start + count // 2] if seconds else []
        targets = np.array([answer(*pair) for pair in zip(first, second or first, strict=True)])
        own = tuple(groups or map(str, range(len(first))))
        parts.append(Examples(tuple(first), tuple(second), targets, own))
    return Task("toy", metric, classes, parts[0], {"toy": parts[1]})


def of_first(first, _):
    return int(first[0] < "n")


QUICK = {"width": 48, "epochs": 12, "lr": 5e-3}


def test_what_the_features_hold_is_learnt_and_what_they_lack_is_not():
    (known,) = language.evaluate(encode, task(of_first), name="letters", **QUICK)
    assert known.value > 0.95
    assert (known.model, known.data, known.metric, known.n) == ("letters", "toy", "accuracy", 300)
    hidden = task(lambda first, _: int(first[2] < "n"))
    (unknown,) = language.evaluate(encode, hidden, name="letters", **QUICK)
    guess = language.guessing(hidden)["toy"]
    assert unknown.low < guess + 0.05  # chance, with room for 300 examples
    assert known.low > guess
    assert unknown.chance == guess


@pytest.mark.parametrize("metric", ["F1", "Matthews"])
def test_other_metrics_of_two_classes_are_scored(metric):
    (row,) = language.evaluate(encode, task(of_first, metric=metric), name="letters", **QUICK)
    assert row.metric == metric
    assert row.low > 0.8


def test_scores_are_learnt_whatever_their_unit():
    scored = task(lambda first, _: 100.0 + ord(first[0]), 0, "Spearman")
    (row,) = language.evaluate(encode, scored, name="letters", **QUICK)
    assert row.low > 0.8


def test_pairs_read_apart_show_both_sentences_and_a_page_the_first():
    later = task(lambda _, second: int(second[0] < "n"), seconds=True)
    (apart,) = language.evaluate(encode, later, name="letters", **QUICK, apart=True)
    (page,) = language.evaluate(encode, later, name="letters", **QUICK)
    assert apart.value > 0.9
    assert page.low < 0.55


def test_three_classes_have_three_answers():
    three = task(lambda first, _: min(2, (ord(first[0]) - 97) // 9), classes=3)
    (row,) = language.evaluate(encode, three, name="letters", **QUICK)
    assert row.value > 0.9


def test_one_seed_gives_one_number_and_leaves_the_random_state_alone():
    torch.manual_seed(9)
    before = torch.get_rng_state()
    rows = [language.evaluate(encode, task(of_first), name="a", seed=seed, width=8)[0]
            for seed in (1, 1, 2)]  # fmt: skip
    assert rows[0] == rows[1]
    assert rows[2].seed == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_intervals_are_over_groups_where_examples_come_in_groups():
    hidden = task(lambda first, _: int(first[2] < "n"), metric="Matthews")
    grouped = task(lambda first, _: int(first[2] < "n"), metric="Matthews",
                   groups=[str(row // 60) for row in range(300)])  # fmt: skip
    alone, together = (language.evaluate(encode, each, name="a", **QUICK)[0]
                       for each in (hidden, grouped))  # fmt: skip
    assert alone.value == together.value
    assert (alone.low, alone.high) != (together.low, together.high)


def test_the_rate_climbs_for_a_tenth_and_falls_to_nothing(monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def watched(self, *rest):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    language.evaluate(encode, task(of_first, count=126), name="a", epochs=10, batch=7, lr=2.0)
    assert rates[:9] == pytest.approx([2 * (update + 1) / 9 for update in range(9)])
    assert rates[9:] == pytest.approx([2 * (90 - update) / 81 for update in range(9, 90)])


def test_a_tower_is_read_through_its_features(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    tower = toy_towers.text_tower()
    before = tower.checksum
    early = task(lambda first, _: int(sum(letter < "n" for letter in first) > 1))
    (row,) = language.evaluate(tower, early, **QUICK)
    assert row.model == "toy:text"
    assert row.low > row.chance
    assert tower.frozen
    assert tower.checksum == before
    assert list(tmp_path.glob("features/*/*.safetensors"))


def test_what_a_page_shows_is_what_is_left_and_counted():
    long = task(of_first, seconds=True)
    pages = Examples(("mn" * 200,), ("m",), np.array([1]), ("a",))
    held = replace(long, tests={"toy": pages})
    left = language.shown(held, 64).tests["toy"]
    (count,) = rendering.drawn(pages.texts, 64)
    assert (left.texts, left.seconds) == ((("mn" * 200)[:count],), ("m",))
    assert (rendering.render(left.texts, 64) == rendering.render(pages.texts, 64)).all()
    (row,) = language.seen(held, 64)
    assert (row.metric, row.data, row.n) == ("characters seen", "toy", 1)
    assert row.value == (count + 1) / 401
    assert language.seen(task(of_first), 224)[0].value == 1


def test_a_gain_is_that_of_the_same_examples():
    """One of two models has eight more of 40 right, and all else alike: sure, as it is paired."""
    asked = task(of_first, count=80)
    (column,) = asked.tests
    targets = asked.tests[column].targets
    base, ours = 1 - targets, 1 - targets
    base[::2] = ours[::2] = targets[::2]
    ours[1:16:2] = targets[1:16:2]
    given = {column: ours}, {column: base}
    (row,) = language.gains(*given, asked, name="a", over="b", seed=3)
    assert (row.model, row.metric, row.at, row.seed) == ("a", "accuracy gain", {"over": "b"}, 3)
    assert row.value == pytest.approx(0.2)
    assert 0 < row.low < row.high < 0.4  # two intervals of 40 would reach 0.2 +- 0.22
    (same,) = language.gains(given[1], given[1], asked, name="a", over="b")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_averages_add_up_errors_of_gains_as_of_scores():
    columns = [f"task {number}" for number in range(4)]
    scores = measured("a", [0.5] * 4, 0.06)
    gains = [replace(row, metric="accuracy gain", at={"over": "b"}, chance=None)
             for row in measured("a", [0.1] * 4, 0.08)]  # fmt: skip
    mean, gain = language.averages([*scores, *gains], columns)
    assert (mean.metric, mean.value, mean.low) == ("average", 0.5, pytest.approx(0.47))
    assert (gain.model, gain.metric, gain.at) == ("a", "average gain", {"over": "b"})
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.06, 0.14))


def test_only_an_interval_above_guessing_counts():
    rows = [*measured("a", [0.6, 0.51, 0.4], 0.05), *measured("b", [0.9], 0.05, seed=1)]
    first, second = language.above_guessing(rows)
    assert (first.model, first.value, first.n) == ("a", 1, 3)
    assert (second.model, second.value, second.n) == ("b", 1, 1)
    again = [*rows, *measured("a", [0.52, 0.9, 0.9], 0.05, seed=1)]
    assert language.above_guessing(again)[0].value == 0  # no task with both seeds


def test_single_runs_are_those_of_one_seed():
    rows = [*measured("a", [0.6]), *measured("a", [0.5], seed=1), *measured("b", [0.9], seed=1)]
    means = comparisons.over_seeds(rows, ["accuracy"])
    assert len(means) == 1
    shown = language.single_runs(pd.DataFrame([asdict(row) for row in [*rows, *means]]))
    assert shown.run.tolist() == ["seed 0", "seed 1", "seed 1"]


def test_word_counts_know_words_and_not_their_order():
    rng = np.random.default_rng(0)
    names = [f"word{number}" for number in range(12)]
    said = [rng.permutation(names)[:4] for _ in range(200)]
    texts = tuple(" ".join(words) for words in said)
    part = Examples(texts, (), np.zeros(200, int), texts)
    counts = language.word_counts(part, width=8)
    features = counts([*texts[:3], " ".join(said[0][::-1])])
    assert features.shape == (4, 8)
    assert np.allclose(features[0], features[3])
    assert not np.allclose(features[0], features[1])


def test_word_similarity_is_the_correlation_of_cosines_with_ratings():
    firsts, seconds = tuple("abcdefgh"), tuple("hgfedcba")
    sims = (encode(firsts) * encode(seconds)).sum(1)
    sims /= np.linalg.norm(encode(firsts), axis=1) * np.linalg.norm(encode(seconds), axis=1)
    pairs = Examples(firsts, seconds, sims.astype(float), firsts)
    row = language.word_similarity(encode, pairs, "toy", name="letters")
    assert row.value == pytest.approx(1, abs=1e-6)  # float32 features
    assert (row.data, row.metric, row.n) == ("toy", "Spearman", 8)


def test_guessing_says_the_most_frequent_class_or_always_one():
    three = task(lambda first, _: min(2, (ord(first[0]) - 97) // 5), classes=3)
    counts = np.bincount(three.tests["toy"].targets)
    assert language.guessing(three) == {"toy": counts.max() / counts.sum()}
    share = task(of_first).tests["toy"].targets.mean()
    guess = language.guessing(task(of_first, metric="F1"))["toy"]
    assert guess == pytest.approx(2 * share / (1 + share))


def measured(model, values, half=None, seed=0):
    return [
        Measurement(model=model, data=f"task {number}", metric="accuracy", value=value, n=9,
                    chance=0.5,
                    low=None if half is None else value - half,
                    high=None if half is None else value + half, seed=seed)
        for number, value in enumerate(values)
    ]  # fmt: skip


def test_the_average_is_plain_and_its_errors_are_independent():
    columns = [f"task {number}" for number in range(4)]
    rows = measured("a", [0.1, 0.2, 0.3, 0.4], 0.02) + measured("b", [0.5] * 4, seed=1)
    mean, other = language.averages([*rows, *measured("c", [0.5] * 3)], columns)
    assert (mean.model, mean.value, mean.n) == ("a", pytest.approx(0.25), 4)
    assert mean.high - mean.value == pytest.approx(0.02 / 2)  # 0.02 / sqrt(4)
    assert mean.value - mean.low == pytest.approx(0.02 / 2)
    assert (other.model, other.low, other.seed) == ("b", None, 1)
    assert mean.chance == other.chance == 0.5


@pytest.mark.parametrize(("number", "wrong"), [(2, 2), (5, 0), (8, 6)])
def test_averages_of_the_published_rows_are_ours(number, wrong):
    frame = published.table("clippo", number).frame
    held = language.recomputed(frame, glue.COLUMNS)
    assert held["differs"].sum() == wrong
    for row, (_, cells) in zip(held.itertuples(), frame.iterrows(), strict=True):
        values = [cells[column] / 100 for column in glue.COLUMNS]
        rows = [Measurement(model="m", data=column, metric="x", value=value, n=1)
                for column, value in zip(glue.COLUMNS, values, strict=True)]  # fmt: skip
        (mean,) = language.averages(rows, glue.COLUMNS)
        assert 100 * mean.value == pytest.approx(row.mean)
        assert row.differs or abs(100 * mean.value - cells["avg"]) <= 0.1 + 1e-9


def test_the_chapter_s_paper_scale_is_the_paper_s():
    # "batch size of 10,240", "learning rate of 10^-3", "weight 10^-4", "norm of 1", "10k steps
    # linear warmup"; Table 3 has models of 100k steps; BERT's 3 epochs in batches of 32
    chapter = experiments.resolve(experiments.get("clippo/language"), "paper", {})
    paper = clippo.listed()["CLIPPO"]
    recipe = training.Recipe(
        chapter["image"], "shared:pixels", tuple(chapter["pictures"]),
        **chapter["run_length"], **chapter["optimiser"],
    )  # fmt: skip
    assert (recipe.image, recipe.embed, recipe.steps) == (paper.image, 768, 100_000)
    assert (recipe.batch, recipe.lr, recipe.warmup, recipe.weight_decay, recipe.clip_norm) == (
        paper.batch, paper.lr, paper.warmup, paper.weight_decay, paper.clip_norm,
    )  # fmt: skip
    assert (recipe.optimiser, recipe.schedule) == ("adafactor", "reciprocal-sqrt")
    assert chapter["glue_folder"] == "/data/glue"
    assert chapter["moving"]
    tuned = clippo.on_task("order", 8_551, image="a", text="b", **chapter["tuned"])
    assert tuned == clippo.on_task("order", 8_551, image="a", text="b")
    assert (tuned.hidden, tuned.batch, tuned.lr, tuned.dropout) == (768, 32, 3e-5, 0.1)
