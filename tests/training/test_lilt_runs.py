"""LilT's runs: equal but for the policy, and the paper's own planned."""

import pytest
import torch

from towers import models, training
from towers.models import trainable
from towers.training import lilt_runs
from towers.training.starts import Start

IMAGE = "scratch:vit?image=32&patch=16&width=16&depth=2&heads=2"
TEXT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
START = Start(IMAGE, TEXT, pretrained="none")
RECIPE = training.Recipe(
    image=IMAGE, text=TEXT, data=("scenes:train?count=32&size=32&objects=1",), embed=8, steps=3,
    batch=8, warmup=1, checkpoint_every=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def test_runs_begin_alike_and_move_what_their_policy_says():
    policies = {"LiT": "image=locked,text=everything", "LilT": "layerwise+layer-norms"}
    done = lilt_runs.aligned(START, RECIPE, policies, [0, 1])
    assert list(done) == [("LiT", 0), ("LiT", 1), ("LilT", 0), ("LilT", 1)]
    first = START.pair(8, 0)
    lit, lilt = done["LiT", 0].dual, done["LilT", 0].dual
    assert lit.name == "LiT"
    assert lit.image.checksum == first.image.checksum
    assert lit.text.checksum != first.text.checksum
    lilt.image.plain()
    kept = {n for n, t in first.image.encoder.state_dict().items()
            if torch.equal(t, lilt.image.encoder.state_dict()[n])}  # fmt: skip
    norms = {n for n in first.image.encoder.state_dict() if "ln_" in n}
    assert kept == first.image.encoder.state_dict().keys() - norms


def test_the_papers_runs_are_planned():
    rows = lilt_runs.planned("aghk")
    found = {(row.model, row.metric): row.value for row in rows}
    clip, lilt = "(g) CLIP", "(h) LilT, layerwise adapters"
    lit, least = "(k) LiT", "(a) projections"
    assert {row.at["size"] for row in rows if row.model != "all"} == {"base"}
    models_of = models.lilt_models()
    assert found[clip, "share that moves"] == 1.0
    assert found[lilt, "share that moves"] == models_of["h"].share
    memory = {name: found[name, "memory per device (GB)"] for name in (clip, lilt, lit, least)}
    assert 48 > memory[clip] > memory[lilt] > memory[least]
    assert memory[clip] > memory[lit]
    hours = {name: found[name, "hours"] for name in (clip, lilt, lit, least)}
    assert hours[clip] > hours[lilt] > hours[least] > 0
    assert found["all", "updates"] == 15 * (591_753 // 512) == 17_325
    rates = {row.at["update"]: row.value for row in rows if row.metric == "learning rate"}
    assert tuple(rates) == lilt_runs.UPDATES
    rates = [*rates.values()]
    assert rates[0] == pytest.approx(1e-4 / 1156)
    assert rates[1] == 1e-4
    assert rates[2] == pytest.approx(1e-4 * 0.5 * (1 + torch.tensor(
        (8662 - 1155) / (17_325 - 1155) * torch.pi).cos().item()), rel=1e-5)  # fmt: skip
    assert 0 < rates[3] < 1e-11


def test_shares_are_those_of_the_papers_towers():
    frame = models.lilt.shares()
    rows = lilt_runs.shares(frame)
    found = {row.model: row for row in rows}
    assert len(rows) == len(frame) == 15
    assert {(row.metric, *row.at.items()) for row in rows} == {
        ("share that moves", ("size", "base"))
    }
    assert f"{found['layer norms'].value:.2%}" == "0.24%"
    assert f"{found['BitFit'].value:.2%}" == "0.31%"
    assert found["layerwise adapters alone"].value < 0.07
    assert found["CLIP"].n == 195_130_113


def test_less_memory_is_taken_where_less_moves():
    told = []
    for policy in ("projections", "image=locked,text=everything", "everything"):
        dual = trainable.apply(START.pair(8, 0), policy)
        told.append(lilt_runs.memory(dual, 8, model=policy, seed=0).value)
    assert told == sorted(told)
    assert told[0] < told[1] < told[2]


def test_a_letter_that_is_no_row_is_refused():
    with pytest.raises(ValueError, match=r"expected letters of a, b, c, .*, got z"):
        lilt_runs.planned("az")
