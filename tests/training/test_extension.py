"""Runs that go on from what stood before a descent: longer, bit by bit, or with larger pictures."""

import pytest
import torch

from tests import toy_towers
from tests.training import toy_runs
from towers import models, training
from towers.training import logs, samples, states
from towers.training.schedules import SCHEDULES, descent

torch.set_num_threads(1)

SHORT = {"steps": 8, "warmup": 2, "schedule": "reciprocal-sqrt", "keep": 1}
ADAFACTOR = {"optimiser": "adafactor", "weight_decay": 1e-3}


def kept(folder):
    return states.Checkpoints(folder / "checkpoints", 1).steps()


@pytest.mark.parametrize("steps", [200, 35, 21])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_up_to_its_descent_a_longer_schedule_is_the_same(schedule, steps):
    rate = SCHEDULES[schedule]
    last = descent(schedule, steps, 20)
    same = [rate(step, steps, 20) == rate(step, 10 * steps, 20) for step in range(steps)]
    assert all(same[: last + 1])
    assert not any(same[max(21, last + 1) :])
    assert last == {"constant": steps, "reciprocal-sqrt": max(20, steps - 20)}.get(schedule, 0)


def test_the_papers_values_at_named_steps():
    """Rates of a run of 250,000 updates; big_vision's own climb is one step behind ours."""
    plan = training.Recipe(
        "toy:image", "toy:text", ("toys",), steps=250_000, lr=1e-3, schedule="reciprocal-sqrt",
        warmup=10_000,
    )  # fmt: skip
    assert plan.rate(0) == pytest.approx(1e-3 / 10_001)
    assert plan.rate(10_000) == 1e-3
    assert plan.rate(40_000) == pytest.approx(1e-3 / 2)
    assert plan.rate(150_000) == pytest.approx(1e-3 / 15**0.5)
    assert plan.rate(240_000) == pytest.approx(1e-3 / 24**0.5)
    assert plan.rate(245_000) == pytest.approx(1e-3 / 24.5**0.5 / 2)
    assert plan.rate(250_000) == 0
    assert plan.descent == 240_000


@pytest.mark.parametrize("changes", [{}, ADAFACTOR, {**ADAFACTOR, "precision": "bf16"}])
def test_a_run_goes_on_longer_bit_by_bit(tmp_path, changes):
    toy_runs.train(tmp_path / "short", **SHORT, **changes)
    assert kept(tmp_path / "short") == [8, 6]
    before = toy_runs.bits(tmp_path / "short", 8)
    longer = toy_runs.recipe(**SHORT | {"steps": 15} | changes)
    assert training.extended(tmp_path / "short", tmp_path / "long", longer) == 6
    finished = toy_runs.train(tmp_path / "long", **SHORT | {"steps": 15} | changes)
    assert finished.resumed == 6
    toy_runs.train(tmp_path / "whole", **SHORT | {"steps": 15} | changes)
    assert toy_runs.bits(tmp_path / "long", 15) == toy_runs.bits(tmp_path / "whole", 15)
    long, whole = (logs.read(tmp_path / name) for name in ("long", "whole"))
    losses = [[(line["step"], line["loss"]) for line in log] for log in (long, whole)]
    assert losses[0] == losses[1]
    assert toy_runs.bits(tmp_path / "short", 8) == before


def test_adafactor_resumes_bit_by_bit(tmp_path):
    """Also where a checkpoint holds rows, columns and moments in bfloat16."""
    wide = {"dual": None, **ADAFACTOR}
    dual = toy_towers.trainable(embed=40)
    del wide["dual"]
    toy_runs.train(tmp_path / "whole", dual=dual, **wide)
    toy_runs.seen(tmp_path / "cut", 7, **wide, dual=toy_towers.trainable(embed=40))
    finished = toy_runs.train(tmp_path / "cut", dual=toy_towers.trainable(embed=40), **wide)
    assert finished.resumed == 6
    assert toy_runs.bits(tmp_path / "cut", 12) == toy_runs.bits(tmp_path / "whole", 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 8}, "with more than its 8 steps, got 8"),
        ({"steps": 7}, "with more than its 8 steps, got 7"),
        ({"steps": 20, "lr": 0.5}, "got 20; lr 0.01 there, 0.5 here"),
    ],
)
def test_another_recipe_is_refused(tmp_path, changes, message):
    toy_runs.train(tmp_path / "short", **SHORT)
    longer = toy_runs.recipe(**SHORT | changes)
    with pytest.raises(training.TrainingError, match=message):
        training.extended(tmp_path / "short", tmp_path / "long", longer)
    assert not (tmp_path / "long").exists()


def test_a_cosine_cannot_be_extended(tmp_path):
    toy_runs.train(tmp_path / "short", steps=8)
    with pytest.raises(training.TrainingError, match="expected a checkpoint of at most 0 steps"):
        training.extended(tmp_path / "short", tmp_path / "long", toy_runs.recipe(steps=20))


def test_a_run_is_not_written_over(tmp_path):
    toy_runs.train(tmp_path / "short", **SHORT)
    with pytest.raises(training.TrainingError, match="expected a folder without a run"):
        training.extended(tmp_path / "short", tmp_path / "short", toy_runs.recipe(steps=20, **{
            name: value for name, value in SHORT.items() if name != "steps"
        }))  # fmt: skip
    with pytest.raises(training.TrainingError, match="expected a run in"):
        training.extended(tmp_path / "none", tmp_path / "long", toy_runs.recipe())


def test_a_pair_goes_on_with_larger_pictures(tmp_path):
    image = "scratch:map?image=16&patch=8&width=16&depth=1&heads=2"
    names = {"image": image, "text": "shared:words?context=4&vocabulary=600", "augment": "none"}

    def run(folder, dual, **changes):
        captions = [(f"toy {n}",) for n in range(20)]
        source = samples.CollectionSamples(
            toy_towers.collection(captions), samples.Squares(dual.image.transform)
        )
        return toy_runs.train(folder, dual=dual, source=source, **names | SHORT | changes)

    first = models.dual(image, names["text"], 6)
    run(tmp_path / "first", first)
    stood = training.before_descent(tmp_path / "first")
    state = states.Checkpoints(tmp_path / "first/checkpoints", 1).read(6)
    for name, weight in stood.named_parameters():
        assert torch.equal(weight, state.weights[f"dual.{name}"])
    assert stood.text.encoder.network is stood.image.encoder
    larger = models.continued(stood, 32)
    finished = run(tmp_path / "larger", larger, image=larger.image.name)
    loaded = models.load(f"file:{finished.folder}/final.safetensors")
    assert loaded.image.transform.size == 32
    assert loaded.checksum == finished.dual.checksum
