"""Plans of pairs and of other networks: sums to check by hand, what options move, refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests import toy_towers
from tests.training import ranks, toy_runs
from towers import models, training
from towers.models.counting import example, parameters
from towers.papers import clip, clippo
from towers.training import plans, tracing

torch.set_num_threads(1)

VIT = "scratch:vit?image=32&patch=8&width=32&depth=3&heads=4"
WORDS = "scratch:transformer?width=32&depth=2&heads=4&context=12&vocabulary=700"
RESNET = "scratch:resnet?image=32&width=8&layers=1,1,1,1"
MAP = "scratch:map?image=32&patch=16&width=16&depth=2&heads=2"
BAG = "scratch:bow?width=32&context=12&vocabulary=700"


@pytest.fixture(scope="module")
def dual():
    return models.dual(VIT, WORDS, 16, device="meta")


def plan(dual, **options):
    given = {"batch": 64, "seen": 6_450, "precision": "fp32", "overhead": 0.0} | options
    return training.plan(dual, **given)


def test_what_outlives_a_step_is_counted_by_parameters(dual):
    count = sum(parameter.numel() for parameter in dual.parameters())
    made = plan(dual)
    assert (made.parameters, made.held["weights"], made.held["gradients"]) == (
        count,
        4 * count,
        4 * count,
    )
    assert (made.held["moments"], made.held["transient"]) == (8 * count, 0)


def test_what_a_step_takes_is_traced(dual):
    made, traced = plan(dual, ranks=4), tracing.trace(dual, 16)
    assert (made.held["activations"], made.held["inputs"]) == (traced.peak, traced.inputs)
    assert made.flops == traced.flops + 4 * 2 * 16 * 64 * 16
    assert made.held["embeddings"] == 2 * 2 * 4 * 64 * 16
    assert made.held["loss"] == 3 * 4 * 64**2


def test_memory_is_the_sum_of_its_parts(dual):
    made = plan(dual, ranks=2, overhead=5e8)
    parts = made.frame().set_index("quantity").value
    assert made.memory == pytest.approx(1e9 * parts[list(plans.MEMORY)].sum())
    assert parts["memory"] == pytest.approx(made.memory / 1e9)
    assert made.memory > 5e8


def test_time_and_cost_follow_from_what_is_stated(dual):
    device = plans.Accelerator("mine", 1e6, {"fp32": 1e9}, 6.0)
    made = plan(dual, accelerator=device, ranks=2, utilisation=0.5)
    assert made.steps == 6_450 // 64
    assert made.seconds_per_step == made.flops / 5e8
    assert made.days == pytest.approx(made.steps * made.flops / 5e8 / 86_400)
    assert made.cost == pytest.approx(2 * 24 * made.days * 6.0)
    assert plan(dual, accelerator=device, dollars=3.0).cost == pytest.approx(
        plan(dual, accelerator=device).cost / 2
    )
    assert not made.fits
    assert replace(made, accelerator=replace(device, memory=math.inf)).fits


def test_more_ranks_share_the_batch_and_not_the_weights(dual):
    one, four = plan(dual), plan(dual, ranks=4)
    assert four.held["weights"] == one.held["weights"]
    assert four.held["transient"] == four.held["gradients"]  # the buckets in which gradients travel
    assert four.held["activations"] < 0.35 * one.held["activations"]
    assert four.held["embeddings"] == one.held["embeddings"]
    assert four.seconds_per_step == pytest.approx(one.seconds_per_step / 4, rel=0.01)


def test_full_sharding_divides_what_outlives_a_step():
    dual = models.dual(VIT, WORDS.replace("width=32", "width=16"), 16, device="meta")
    ddp, fsdp = (plan(dual, ranks=4, sharding=way) for way in ("ddp", "fsdp"))
    for part in ("weights", "gradients", "moments"):
        assert fsdp.held[part] == ddp.held[part] / 4
    assert fsdp.held["activations"] == ddp.held["activations"]
    assert fsdp.held["transient"] == ddp.held["weights"] + ddp.held["gradients"]
    assert plan(dual, sharding="fsdp").memory == plan(dual).memory  # nobody to share with


@pytest.mark.slow
def test_full_sharding_holds_what_its_plan_says(tmp_path):
    """The most of weights and gradients that a real update has together, on each of two ranks."""
    ended = ranks.run(toy_runs.together, tmp_path, ranks=2)
    assert [one.code for one in ended] == [0, 0], ended
    expected = plans._state(toy_towers.trainable(), 2, "fsdp", "adamw")["transient"]
    assert [one.value for one in ended] == [expected] * 2


def test_a_chunk_bounds_activations_and_costs_one_more_forward(dual):
    whole, cached = plan(dual), plan(dual, chunk=8)
    assert cached.held["activations"] == tracing.trace(dual, 8).peak
    assert cached.held["inputs"] == whole.held["inputs"]
    assert cached.flops - whole.flops == tracing.trace(dual, 64).forward_flops
    assert plan(dual, chunk=64) == plan(dual, chunk=999) == whole


def test_checkpointing_is_tried_and_taken_back(dual):
    plain, saving = plan(dual), plan(dual, checkpointing=True)
    assert saving.held["activations"] < 0.7 * plain.held["activations"]
    assert saving.flops > plain.flops
    assert plan(dual) == plain
    always = models.dual(f"{VIT}&checkpointing=true", f"{WORDS}&checkpointing=true", 16)
    assert plan(always).held["activations"] == saving.held["activations"]
    assert plan(always, checkpointing=False).held["activations"] == plain.held["activations"]


def test_low_precision_makes_activations_smaller_and_keeps_weights(dual):
    full, low = plan(dual), plan(dual, precision="bf16")
    assert low.held["weights"] == full.held["weights"]
    assert 0.4 * full.held["activations"] < low.held["activations"] < 0.9 * full.held["activations"]
    assert low.flops == full.flops


def test_frozen_towers_are_held_but_not_trained():
    dual = models.dual("timm:test_vit/random", BAG, 16)
    made = plan(dual)
    frozen = sum(parameter.numel() for parameter in dual.image.parameters())
    assert made.held["weights"] - made.held["gradients"] == 4 * frozen
    assert made.held["moments"] == 2 * made.held["gradients"]


def test_a_frozen_image_tower_works_in_every_update_unless_its_features_are_cached():
    dual = models.dual("timm:test_vit/random", BAG, 16)
    working, cached = plan(dual), plan(dual, cached=True)
    assert (working.held["weights"], working.held["gradients"]) == (
        cached.held["weights"],
        cached.held["gradients"],
    )
    for made, traced in (
        (working, tracing.trace(dual, 64)), (cached, tracing.trace(dual, 64, cached=True))
    ):  # fmt: skip
        assert made.flops == traced.flops + 4 * 2 * 64 * 64 * 16
        assert (made.held["activations"], made.held["inputs"]) == (traced.peak, traced.inputs)
    assert working.flops > 10 * cached.flops
    assert "image tower are computed in every update" in working.assumptions[-1]
    assert "image tower come from a cache" in cached.assumptions[-1]


def test_the_laptops_step_takes_what_its_plan_says(dual):
    """All memory of a real update: weights, gradients, moments and the traced peak."""
    pair = models.dual(VIT, WORDS, 16).train()
    made = plan(pair, batch=8, seen=80)
    step = tracing.Step(pair)
    inputs = (torch.randn(8, 3, 32, 32), pair.text.tokenize(["word " * 50] * 8))
    got = tracing.measured(step, dict(tracing.state(step)), inputs, "fp32")
    (pair.embed_images(inputs[0]).sum() + pair.embed_texts(inputs[1]).sum()).backward()
    optimiser = torch.optim.AdamW(pair.parameters())
    for parameter in (unused := [p for p in pair.parameters() if p.grad is None]):
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    moments = [t for s in optimiser.state.values() for t in s.values() if t.ndim or t.numel() > 1]
    assert len(unused) == 1  # the scale, which only the loss uses
    assert made.held["gradients"] == sum(p.grad.nbytes for p in pair.parameters())
    assert made.held["moments"] - sum(t.nbytes for t in moments) == pytest.approx(8, abs=8)
    assert made.held["activations"] == got.peak


@pytest.mark.slow
def test_the_paper_plan_reads_like_the_paper():
    """Section 2.5: 12 days on 256 V100 for ViT-L/14; a fifth of the peak is what they reached."""
    model = clip.MODELS["ViT-L/14"]
    made = training.plan(
        model.build(), model.batch, 32 * 400_000_000, ranks=256, precision="fp16",
        accelerator="V100-32GB", checkpointing=True, utilisation=0.2,
    )  # fmt: skip
    assert made.steps == 390_625
    assert made.fits
    assert 10 < made.days < 16


def test_the_assumptions_are_said(dual):
    said = " ".join(plan(dual, utilisation=0.25, dollars=1.5, overhead=3e9).assumptions)
    for words in ("19.5 TFLOP/s in fp32", "25%", "1.5 dollars", "3 GB"):
        assert words in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 63, "ranks": 2}, "that they share evenly"),
        ({"batch": 1}, "a batch >= 2"),
        ({"ranks": 0}, "expected ranks >= 1"),
        ({"seen": 63}, "samples for one batch"),
        ({"chunk": -1}, "chunk >= 0.*got 0.3 and -1"),
        ({"utilisation": 0.0}, r"utilisation in \(0, 1\]"),
        ({"utilisation": 1.1}, r"utilisation in \(0, 1\]"),
        ({"sharding": "zero"}, "sharding ddp or fsdp.*got 'zero'"),
        ({"optimiser": "lion"}, "adamw, sgd, adafactor, got .* 'lion'"),
        ({"accelerator": "TPU"}, "expected an accelerator of V100-32GB, A100-80GB, H100-80GB"),
        (
            {"accelerator": "V100-32GB", "precision": "bf16"},
            r"precision of V100-32GB \(fp32, fp16\)",
        ),
        ({"precision": "int8"}, "expected a precision of A100-80GB"),
    ],
)
def test_impossible_plans_are_refused_in_one_line(dual, options, message):
    with pytest.raises(ValueError, match=message) as error:
        plan(dual, **options)
    assert "\n" not in str(error.value)


def test_towers_that_cannot_checkpoint_are_refused():
    with pytest.raises(ValueError, match="expected a tower that can checkpoint"):
        plan(models.dual(RESNET, BAG, 8, device="meta"), checkpointing=True)


def test_a_pair_without_anything_to_train_is_refused():
    frozen = models.dual(VIT, BAG, 8).requires_grad_(False)
    with pytest.raises(ValueError, match="expected something to train"):
        plan(frozen)


def test_plans_become_records_and_rows(dual):
    made = plan(dual, ranks=4)
    rows = {row.metric: row for row in made.records("memory per device (GB)", "days", at={"k": 2})}
    assert {(row.model, row.data, row.n) for row in rows.values()} == {
        (dual.name, "A100-80GB", 4)
    }  # fmt: skip
    assert all(row.at == {"k": 2} for row in rows.values())
    assert rows["memory per device (GB)"].value == made.memory / 1e9
    assert rows["days"].value == made.summary()["days"] == made.days
    assert [row.metric for row in made.records()] == [
        "parameters", "updates", "batch", "memory per device (GB)", "days"
    ]  # fmt: skip


def test_adafactor_keeps_a_quarter_of_adams_moments_and_little_more():
    dual = clippo.listed()["CLIPPO"].build()
    adam, ada = (
        training.plan(dual, 64, 640, chunk=1, optimiser=name) for name in ("adamw", "adafactor")
    )
    assert adam.held["moments"] == 8 * dual_numbers(dual)
    assert 2 * dual_numbers(dual) < ada.held["moments"] < 2.1 * dual_numbers(dual)
    assert ada.held["weights"] == adam.held["weights"]


def dual_numbers(dual):
    return sum(weight.numel() for weight in dual.parameters())


def network(device="cpu"):
    """A pixel tower with a layer on it, and the input of one item."""
    tower = models.dual(MAP, f"scratch:pixels?{MAP.partition('?')[2]}", 8, device=device).text
    return nn.Sequential(tower, nn.Linear(tower.width, 3, device=device)), example(tower, 1)


def fine_tuning(network, item, batch, updates, **options):
    return training.plan(network, batch, batch * updates, item=item, precision="fp32", **options)


def test_a_network_s_plan_counts_what_a_real_step_takes():
    real, item = network()
    inputs = {name: each.expand(4, *each.shape[1:]).contiguous() for name, each in item.items()}
    step = tracing.Step(real.train())
    taken = tracing.measured(step, dict(tracing.state(step)), inputs, "fp32")
    made = fine_tuning(*network("meta"), 4, 10, overhead=0, utilisation=1.0)
    count = parameters(real)
    assert (made.model, made.parameters, made.steps, made.ranks) == ("Sequential", count, 10, 1)
    assert (made.held["inputs"], made.held["activations"], made.flops) == (
        taken.inputs, taken.peak, taken.flops
    )  # fmt: skip
    assert made.memory == 4 * count * (1 + 1 + 2) + taken.inputs + taken.peak
    peak = plans.ACCELERATORS["A100-80GB"].flops["fp32"]
    assert made.days * plans.DAY == pytest.approx(10 * taken.flops / peak)


def test_operations_are_those_of_the_matrices():
    plain = nn.Linear(6, 5, bias=False)
    made = fine_tuning(plain, torch.empty(1, 6), 8, 1, name="toy")
    # forward, and the weights' gradient; the inputs have none
    assert (made.model, made.flops) == ("toy", 2 * (2 * 8 * 6 * 5))
    assert plain.weight.grad is None


def test_momentum_is_half_of_adams_moments():
    kept = [fine_tuning(nn.Linear(4, 4), torch.empty(1, 4), 2, 1, optimiser=each)
            for each in ("sgd", "adamw")]  # fmt: skip
    assert [each.held["moments"] for each in kept] == [4 * 20, 8 * 20]


def test_a_network_keeps_its_modes_and_weights():
    made, item = network()
    made.eval()
    made[1].train()
    before = [each.clone() for each in made.parameters()]
    fine_tuning(made, item, 2, 1)
    assert [each.training for each in made] == [False, True]
    assert all(torch.equal(*pair) for pair in zip(made.parameters(), before, strict=True))
    assert all(each.grad is None for each in made.parameters())


@pytest.mark.parametrize("options", [{"batch": 0}, {"updates": 0}, {"chunk": 1}])
def test_impossible_plans_of_a_network_are_refused(options):
    given = {"batch": 2, "updates": 1} | options
    with pytest.raises(ValueError, match=r"got .*[01]"):
        fine_tuning(nn.Linear(4, 4), torch.empty(1, 4), **given)
