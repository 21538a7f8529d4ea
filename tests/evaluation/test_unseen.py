"""Which of two models keeps more of some languages, against loops over tasks and draws."""

import numpy as np
import pandas as pd
import pytest

from tests import toy_towers
from towers.evaluation import retrieval, unseen
from towers.metrics import intervals

CODES = ["ru", "ko"]
WAYS = ["text retrieval", "image retrieval"]


def hits(share, model="few", items=40, seed=0, codes=CODES, missing=()):
    rng = np.random.default_rng(seed)
    rows = [
        (model, code, way, item, f"g{item}", float(rng.random() < share), 0.1)
        for code in codes
        for way in WAYS
        for item in range(items)
        if (code, item) not in missing
    ]
    columns = ["model", "language", "direction", "item", "group", "hit", "chance"]
    return pd.DataFrame(rows, columns=columns)


def found(rows, data="toys"):
    return {row.metric: row for row in rows if row.data == data}


def both(few=0.5, many=0.4, **options):
    return pd.concat([hits(few, **options), hits(many, "many", **options | {"seed": 1})])


def test_a_mean_counts_each_task_once_however_many_captions_it_has():
    frame = hits(0.5, missing={("ko", item) for item in range(30)})
    of = found(unseen.overall(frame, "toys"))
    means = frame.groupby(["language", "direction"]).hit.mean()
    assert of["R@10 over tasks"].value == pytest.approx(means.mean())
    assert of["R@10 over tasks"].value != pytest.approx(frame.hit.mean())
    assert of["R@10 over tasks"].n == 4
    assert of["R@10 chance over tasks"].value == pytest.approx(0.1)


def test_chance_is_that_of_the_chosen_languages():
    frame = hits(0.5)
    frame.loc[frame.language == "ko", "chance"] = 0.3
    assert found(unseen.overall(frame, "toys", ["ko"]))["R@10 chance over tasks"].value == 0.3
    assert found(unseen.overall(frame, "toys"))["R@10 chance over tasks"].value == pytest.approx(
        0.2
    )


def test_a_model_that_was_not_asked_has_no_mean():
    frame = pd.concat([hits(0.5), hits(0.4, "many", codes=["ru"])])
    assert [row.model for row in unseen.overall(frame, "toys", ["ko"])] == ["few", "few"]


def test_the_interval_of_one_task_is_that_of_a_bootstrap_over_pictures():
    frame = hits(0.5, codes=["ru"], items=200)
    frame = frame[frame.direction == WAYS[0]]
    (row, _) = unseen.overall(frame, "toys")
    expected = intervals.bootstrap(frame.hit.to_numpy(), n_resamples=2000)
    assert (row.low, row.high) == pytest.approx(expected, abs=0.015)  # another stream of draws


def test_a_gain_is_the_mean_difference_and_wins_are_counted():
    frame = both()
    of = found(unseen.compare(frame, "few", "many", "toys"))
    means = frame.groupby(["model", "language", "direction"]).hit.mean()
    apart = means["few"] - means["many"]
    gain = of["R@10 gain over many"]
    assert gain.value == pytest.approx(apart.mean())
    assert gain.low < gain.value < gain.high
    assert of["tasks ahead of many"].value == (apart > 0).sum()
    assert of["tasks ahead of many"].n == 4
    assert of["tasks ahead of many"].low is of["tasks ahead of many"].high is None


def test_one_that_is_always_ahead_surely_is_and_the_other_surely_is_not():
    frame = both(1.0, 0.0)
    of = found(unseen.compare(frame, "few", "many", "toys"))
    assert of["tasks surely ahead of many"].value == of["tasks ahead of many"].value == 4
    assert of["tasks surely behind many"].value == 0
    back = found(unseen.compare(frame, "many", "few", "toys"))
    assert back["tasks surely behind few"].value == 4
    assert back["tasks ahead of few"].value == 0


def test_a_tie_is_no_win():
    frame = pd.concat([hits(0.5), hits(0.5, "many")])
    of = found(unseen.compare(frame, "few", "many", "toys"))
    assert of["tasks ahead of many"].value == of["R@10 gain over many"].value == 0


def test_what_is_asked_about_one_picture_is_drawn_together():
    frame = both(items=60)
    alone = found(unseen.compare(frame, "few", "many", "toys"))["R@10 gain over many"]
    pairs = frame.assign(group="g" + (frame.item // 20).astype(str))
    grouped = found(unseen.compare(pairs, "few", "many", "toys"))["R@10 gain over many"]
    copies = pd.concat([
        frame.assign(language=frame.language + end) for end in ("", "_copy")
    ])  # fmt: skip
    same = found(unseen.compare(copies, "few", "many", "toys"))["R@10 gain over many"]
    assert grouped.value == pytest.approx(alone.value)
    assert (grouped.low, grouped.high) != pytest.approx((alone.low, alone.high))
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))  # no new pictures


def test_seeds_are_averaged_first():
    frame = pd.concat([both(), both(seed=2)])
    table = unseen.answers(frame, "few")
    assert table.shape == (40, 4)
    each = [unseen.answers(hits(0.5, seed=seed), "few") for seed in (0, 2)]
    assert np.allclose(table, (each[0] + each[1]) / 2)


def test_each_task_has_its_own_record():
    rows = unseen.compare(both(), "few", "many", "toys")
    frame = pd.DataFrame([vars(row) for row in rows])
    tasks = unseen.by_task(frame, "many")
    assert list(tasks.language) == ["ru", "ru", "ko", "ko"]
    assert set(tasks.direction) == set(WAYS)
    assert set(tasks.n) == {40}
    assert unseen.by_task(frame, "man").empty


def test_means_stand_beside_their_chance():
    frame = both()
    frame.loc[frame.language == "ko", "chance"] = 0.3
    rows = unseen.overall(frame, "all") + unseen.overall(frame, "one", ["ru"])
    found = unseen.means(pd.DataFrame([vars(row) for row in rows]))
    chance = found.set_index(["model", "data"]).chance
    assert chance["few", "one"] == pytest.approx(0.1)
    assert chance["many", "all"] == pytest.approx(0.2)
    assert len(found) == 4


def test_other_queries_are_refused():
    frame = pd.concat([hits(0.5), hits(0.4, "many", missing={("ko", 3)})])
    with pytest.raises(ValueError, match="expected few and many on the same queries"):
        unseen.compare(frame, "few", "many", "toys")
    with pytest.raises(ValueError, match="expected hits of 'lots'"):
        unseen.answers(frame, "lots")


def test_hits_are_what_recall_averages(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    toys = toy_towers.collection([("an owl", "owl"), ("two boats",), (), ("cat",), ("the sea",)])
    dual = toy_towers.dual()
    frame = retrieval.hits(dual, toys, k=2, dtype="fp32")
    rows = {row.metric: row for row in retrieval.evaluate(dual, toys, ks=(2,), dtype="fp32")}
    for way in WAYS:
        own = frame[frame.direction == way]
        assert own.hit.mean() == rows[f"{way} R@2"].value
        assert len(own) == rows[f"{way} R@2"].n
        assert set(own.chance) == {rows[f"{way} chance R@2"].value}
    assert list(frame[frame.direction == "image retrieval"].item) == [0, 0, 1, 3, 4]
