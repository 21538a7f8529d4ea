"""Averages and agreement over languages, against loops and float64 oracles."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from towers import data, experiments
from towers.data.items import Collection, Item
from towers.data.reports import Report
from towers.evaluation import languages
from towers.experiments import resolve
from towers.metrics import pearson
from towers.papers import clippo
from towers.records import SCALES

CODES = ["en", "de", "pt", "pt_BR", "ru"]
VALUES = {
    "pixels": [0.30, 0.20, 0.25, 0.26, 0.40],
    "words": [0.35, 0.18, 0.20, 0.22, 0.11],
}
CHANCE = [0.1, 0.1, 0.1, 0.1, 0.3]


def recalls(values=VALUES, seeds=(0,), codes=CODES, reach=0.05):
    return pd.DataFrame(
        [
            {
                "model": model, "data": "toys", "language": code, "seed": seed,
                "direction": "text retrieval", "k": 1, "chance": chance,
                "value": value + 0.01 * seed, "low": value + 0.01 * seed - reach,
            }
            for model, own in values.items()
            for seed in seeds
            for code, value, chance in zip(codes, own, CHANCE, strict=False)
        ]
    )  # fmt: skip


def found(frame):
    """Records by model and metric, and by what else they were measured at."""
    rows = languages.evaluate(frame)
    of = {}
    for row in rows:
        rest = dict(row.at)
        assert (rest.pop("direction"), rest.pop("k")) == ("text retrieval", 1)
        averaged = rest.pop("averaged", None)
        assert averaged == ("languages" if row.metric.startswith("recall") else None)
        of[(row.model, row.metric, *rest.values())] = row
    assert len(of) == len(rows)
    assert {row.data for row in rows} == {"toys"}
    return of


def test_a_mean_counts_each_language_once():
    of = found(recalls())
    assert of["pixels", "recall"].value == pytest.approx(sum(VALUES["pixels"]) / 5)
    assert of["pixels", "recall"].n == 5
    assert of["words", "recall"].chance == pytest.approx(sum(CHANCE) / 5)
    gain = of["pixels", "recall gain", "words"]
    pairs = zip(*VALUES.values(), strict=True)
    assert gain.value == pytest.approx(sum(ours - theirs for ours, theirs in pairs) / 5)
    assert gain.low <= gain.value <= gain.high


def test_agreement_is_pearsons_of_what_is_above_chance():
    of = found(recalls())
    above = [np.array(own) - CHANCE for own in VALUES.values()]
    row = of["pixels", "correlation of recalls", "words"]
    assert row.value == pytest.approx(stats.pearsonr(*above)[0])
    assert row.value != pytest.approx(stats.pearsonr(*VALUES.values())[0])


def test_a_language_is_above_chance_where_the_interval_is_with_every_seed():
    of = found(recalls())
    assert of["pixels", "languages above chance"].value == 1
    assert of["words", "languages above chance"].value == 4 / 5
    second = recalls({"pixels": [0.30, 0.20, 0.25, 0.26, 0.34]}).assign(seed=1)
    both = pd.concat([recalls({"pixels": VALUES["pixels"]}), second])  # ru: 0.35, then 0.29
    assert found(both)["pixels", "languages above chance"].value == 4 / 5


def test_seeds_are_averaged_first():
    of = found(recalls(seeds=(0, 1, 2)))
    assert of["pixels", "recall"].value == pytest.approx(sum(VALUES["pixels"]) / 5 + 0.01)
    assert of["pixels", "recall"].n == 5
    for name, seed in (("lowest", 0), ("highest", 2)):
        own = of["words", "recall", f"{name} seed"]
        assert own.value == pytest.approx(sum(VALUES["words"]) / 5 + 0.01 * seed)


def test_variants_are_drawn_together():
    apart, together = (
        found(recalls(codes=codes)) for codes in (["en", "de", "pt", "fr", "ru"], CODES)
    )
    for key in (("recall",), ("recall gain", "words"), ("correlation of recalls", "words")):
        alone, both = (rows["pixels", *key] for rows in (apart, together))
        assert alone.value == both.value
        assert (alone.low, alone.high) != (both.low, both.high)


def test_models_on_other_languages_are_refused():
    frame = recalls()
    lacking = frame[(frame.model == "pixels") | (frame.language != "ru")]
    with pytest.raises(ValueError, match="the same 3 languages or more"):
        languages.evaluate(lacking)
    with pytest.raises(ValueError, match="the same 3 languages or more"):
        languages.evaluate(frame[frame.language.isin(["en", "de"])])


@given(
    st.lists(
        st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)), min_size=3, max_size=30
    )
)
def test_agreement_is_a_loops_correlation(pairs):
    first, second = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    covariance = sum((a - first.mean()) * (b - second.mean()) for a, b in pairs)
    spreads = [sum((each - side.mean()) ** 2 for each in side) for side in (first, second)]
    value = pearson(*np.array(pairs).T)
    assert -1 <= value <= 1
    if min(spreads) > 1e-12:  # below, rounding decides what varies
        assert value == pytest.approx(covariance / (spreads[0] * spreads[1]) ** 0.5, abs=1e-6)


def test_what_does_not_vary_agrees_with_nothing():
    assert pearson(*np.array([[0.1, 0.3], [0.1, 0.5], [0.1, 0.9]]).T) == 0


def collection():
    """English, a variant that repeats it, a language of its own, and one that is rare."""
    english = ["a dog", "a cat", "a cow", "a bee"]
    said = {
        "en": english,
        "en_GB": ["a dog", "a cat", "a cow", "one bee"],
        "de": ["ein Hund", "eine Katze", "a cow", "a bee"],
        "fr": ["un chien"],
    }
    items = tuple(
        Item(
            key=f"{row:016x}", name=english[row], image=b"",
            captions={code: (own[row],) for code, own in said.items() if row < len(own)},
        )
        for row in range(4)
    )  # fmt: skip
    return Collection("toys", items, Report(4))


def test_captions_are_those_of_languages_with_enough_of_their_own():
    found = languages.captions(collection(), least=4)
    assert found == {
        "en": ["a dog", "a cat", "a cow", "a bee"],
        "de": ["ein Hund", "eine Katze", "a cow", "a bee"],
    }
    assert set(languages.captions(collection(), 1, copied=0.75)) == {"en", "de", "en_GB", "fr"}


def test_too_few_captions_are_refused():
    with pytest.raises(ValueError, match="with 5 captions in toys, got at most 4"):
        languages.captions(collection(), least=5)


@pytest.mark.parametrize("scale", SCALES)
def test_the_vocabularies_that_the_prose_quotes_are_made_at_every_scale(scale):
    chapter = experiments.get("clippo/languages")
    quoted = re.findall(r"`all pieces, ([\d,]+);", chapter.notebook.read_text("utf-8"))
    made = resolve(chapter, scale)["vocabulary_sizes"]
    assert {int(size.replace(",", "")) for size in quoted} == set(made)


@pytest.mark.slow
def test_the_paper_s_scale_stops_at_once_where_its_data_are_missing():
    """What is read first there is no collection that comes with the house."""
    chapter = resolve(experiments.get("clippo/languages"), "paper")
    for name in (*chapter["learnt_from"], *chapter["train_on"]):
        with pytest.raises(ValueError, match=r"expected 1 to \d+ shards at '/data/webli"):
            data.load(name)
    assert all(Path(file.partition(":")[2]).is_absolute()
               for file in chapter["vocabulary_files"].values())  # fmt: skip


def test_the_paper_s_scale_is_the_paper_s():
    chapter, paper = resolve(experiments.get("clippo/languages"), "paper"), clippo.Model
    model = clippo.listed()["1T-CLIP"]
    assert chapter["image"] == model.image
    ids = clippo.VOCABULARY
    assert chapter["words"] == {"scenes": ids, "stamps": ids, "context": clippo.CONTEXT}
    for length in (chapter["on_scenes"], chapter["on_stamps"]):
        for field in ("steps", "batch", "lr", "weight_decay", "warmup"):
            assert length[field] == getattr(paper, field)
        assert (length["optimiser"], length["schedule"]) == ("adafactor", "reciprocal-sqrt")
