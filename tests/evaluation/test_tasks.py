"""Which of two models keeps more of some languages, against loops over tasks and draws."""

import numpy as np
import pandas as pd
import pytest

from tests import toy_towers
from towers import metrics
from towers.evaluation import retrieval, tasks
from towers.metrics import intervals

CODES = ["ru", "ko"]
WAYS = ["text retrieval", "image retrieval"]


def hits(share, model="few", items=40, seed=0, codes=CODES, missing=()):
    rng = np.random.default_rng(seed)
    rows = [
        (model, "recall", way, 10, code, item, f"g{item}", float(rng.random() < share), 0.1)
        for code in codes
        for way in WAYS
        for item in range(items)
        if (code, item) not in missing
    ]
    names = ["model", "metric", "direction", "k", "language", "item", "group", "hit", "chance"]
    return pd.DataFrame(rows, columns=names)


def found(rows):
    """What was measured over all tasks, by metric."""
    return {row.metric: row for row in rows if "direction" not in row.at}


def both(few=0.5, many=0.4, **options):
    return pd.concat([hits(few, **options), hits(many, "many", **options | {"seed": 1})])


def test_a_mean_counts_each_task_once_however_many_captions_it_has():
    frame = hits(0.5, missing={("ko", item) for item in range(30)})
    (row,) = tasks.overall(frame, "toys")
    means = frame.groupby(["language", "direction"]).hit.mean()
    assert row.value == pytest.approx(means.mean())
    assert row.value != pytest.approx(frame.hit.mean())
    assert (row.metric, row.n) == ("recall", 4)
    assert row.chance == pytest.approx(0.1)
    assert row.at == {"k": 10, "averaged": "tasks"}


def test_chance_is_that_of_the_languages():
    frame = hits(0.5)
    frame.loc[frame.language == "ko", "chance"] = 0.3
    (row,) = tasks.overall(frame[frame.language == "ko"], "toys")
    assert row.chance == 0.3
    assert row.at == {"k": 10, "language": "ko", "averaged": "tasks"}
    assert tasks.overall(frame, "toys")[0].chance == pytest.approx(0.2)


def test_a_model_that_was_not_asked_has_no_mean():
    frame = pd.concat([hits(0.5), hits(0.4, "many", codes=["ru"])])
    assert [row.model for row in tasks.overall(frame[frame.language == "ko"], "toys")] == ["few"]
    assert [row.model for row in tasks.overall(frame, "toys")] == ["few", "many"]


def test_the_interval_of_one_task_is_that_of_a_bootstrap_over_pictures():
    frame = hits(0.5, codes=["ru"], items=200)
    frame = frame[frame.direction == WAYS[0]]
    (row,) = tasks.overall(frame, "toys")
    expected = intervals.bootstrap(frame.hit.to_numpy(), n_resamples=2000)
    assert (row.low, row.high) == pytest.approx(expected, abs=0.015)  # another stream of draws


def test_a_gain_is_the_mean_difference_and_wins_are_counted():
    frame = both()
    of = found(tasks.compare(frame, "few", "many", "toys"))
    means = frame.groupby(["model", "language", "direction"]).hit.mean()
    apart = means["few"] - means["many"]
    gain = of["recall gain"]
    assert gain.value == pytest.approx(apart.mean())
    assert gain.low < gain.value < gain.high
    assert gain.at == {"k": 10, "over": "many", "averaged": "tasks"}
    assert of["tasks ahead"].at == {"k": 10, "over": "many"}
    assert of["tasks ahead"].value == (apart > 0).sum()
    assert of["tasks ahead"].n == 4
    assert of["tasks ahead"].low is of["tasks ahead"].high is None


def test_one_that_is_always_ahead_surely_is_and_the_other_surely_is_not():
    frame = both(1.0, 0.0)
    of = found(tasks.compare(frame, "few", "many", "toys"))
    assert of["tasks surely ahead"].value == of["tasks ahead"].value == 4
    assert of["tasks surely behind"].value == 0
    back = found(tasks.compare(frame, "many", "few", "toys"))
    assert back["tasks surely behind"].value == 4
    assert back["tasks ahead"].value == 0


def test_a_tie_is_no_win():
    frame = pd.concat([hits(0.5), hits(0.5, "many")])
    of = found(tasks.compare(frame, "few", "many", "toys"))
    assert of["tasks ahead"].value == of["recall gain"].value == 0


def test_what_is_asked_about_one_picture_is_drawn_together():
    frame = both(items=60)
    alone = found(tasks.compare(frame, "few", "many", "toys"))["recall gain"]
    pairs = frame.assign(group="g" + (frame.item // 20).astype(str))
    grouped = found(tasks.compare(pairs, "few", "many", "toys"))["recall gain"]
    copies = pd.concat([
        frame.assign(language=frame.language + end) for end in ("", "_copy")
    ])  # fmt: skip
    same = found(tasks.compare(copies, "few", "many", "toys"))["recall gain"]
    assert grouped.value == pytest.approx(alone.value)
    assert (grouped.low, grouped.high) != pytest.approx((alone.low, alone.high))
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))  # no new pictures


def test_seeds_are_averaged_first():
    frame = pd.concat([both(), both(seed=2)])
    table = tasks.answers(frame, "few")
    assert table.shape == (40, 4)
    each = [tasks.answers(hits(0.5, seed=seed), "few") for seed in (0, 2)]
    assert np.allclose(table, (each[0] + each[1]) / 2)


def of_three_seeds(**options):
    return pd.concat([
        frame.assign(seed=seed)
        for seed in (2, 5, 8)
        for frame in (hits(0.5, seed=seed, **options), hits(0.4, "many", seed=seed + 50, **options))
    ])  # fmt: skip


def test_the_interval_of_several_seeds_is_over_seeds_and_pictures():
    frame = of_three_seeds()
    rows = tasks.compare(frame, "few", "many", "toys")
    means = frame.groupby(["model", "seed", "item"]).hit.mean().unstack()
    apart = (means.loc["few"] - means.loc["many"]).to_numpy()
    gain = found(rows)["recall gain"]
    assert gain.at == {"k": 10, "over": "many", "seeds": 3, "averaged": "tasks"}
    assert gain.value == pytest.approx(apart.mean())
    assert (gain.low, gain.high) == pytest.approx(metrics.crossed(apart))
    single = next(row for row in rows if "direction" in row.at)
    part = frame[(frame.language == "ru") & (frame.direction == WAYS[0])]
    table = part.pivot_table(index=["model", "seed"], columns="item", values="hit")
    apart = (table.loc["few"] - table.loc["many"]).to_numpy()
    assert (single.low, single.high) == pytest.approx(metrics.crossed(apart))


def test_with_several_seeds_too_each_task_counts_once():
    frame = of_three_seeds(missing={("ko", item) for item in range(30)})
    gain = found(tasks.compare(frame, "few", "many", "toys"))["recall gain"]
    means = frame.groupby(["model", "language", "direction"]).hit.mean()
    assert gain.value == pytest.approx((means["few"] - means["many"]).mean())
    assert gain.low < gain.value < gain.high


def test_each_task_has_its_own_record():
    frame = both()
    rows = [row for row in tasks.compare(frame, "few", "many", "toys") if "direction" in row.at]
    means = frame.groupby(["model", "language", "direction"]).hit.mean()
    apart = means["few"] - means["many"]
    assert [row.at["language"] for row in rows] == ["ru", "ru", "ko", "ko"]
    assert {(row.metric, row.n, row.at["k"], row.at["over"]) for row in rows} == {
        ("recall gain", 40, 10, "many")
    }
    for row in rows:
        assert row.value == pytest.approx(apart[row.at["language"], row.at["direction"]])
        assert row.low <= row.value <= row.high


def test_another_column_tells_further_tasks_apart():
    frame = pd.concat([both(seed=part).assign(locked=part) for part in (2, 3)])
    rows = tasks.compare(frame, "few", "many", "toys")
    assert found(rows)["tasks ahead"].n == 8
    each = [row for row in rows if "locked" in row.at]
    assert sorted(row.at["locked"] for row in each) == [2] * 4 + [3] * 4
    apart = [row.value for row in each if row.at["locked"] == 3]
    alone = tasks.compare(both(seed=3), "few", "many", "toys")
    assert apart == pytest.approx([row.value for row in alone if "direction" in row.at])


def test_other_queries_are_refused():
    frame = pd.concat([hits(0.5), hits(0.4, "many", missing={("ko", 3)})])
    with pytest.raises(ValueError, match="expected few and many on the same queries"):
        tasks.compare(frame, "few", "many", "toys")
    with pytest.raises(ValueError, match="expected hits of 'lots'"):
        tasks.answers(frame, "lots")


def test_hits_are_what_recall_averages(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    toys = toy_towers.collection([("an owl", "owl"), ("two boats",), (), ("cat",), ("the sea",)])
    dual = toy_towers.dual()
    frame = retrieval.hits(dual, toys, k=2, dtype="fp32")
    rows = retrieval.evaluate(dual, toys, ks=(2,), dtype="fp32")
    rows = {row.at["direction"]: row for row in rows if row.metric == "recall"}
    for way in WAYS:
        own = frame[frame.direction == way]
        assert own.hit.mean() == rows[way].value
        assert len(own) == rows[way].n
        assert set(own.chance) == {rows[way].chance}
    assert list(frame[frame.direction == "image retrieval"].item) == [0, 0, 1, 3, 4]
