"""The paper's own runs: what is stated, and what follows from it."""

import pytest

from towers import models
from towers.models import paper_models
from towers.training import making, paper_runs


def test_the_reached_share_of_the_peak_follows_from_days_and_devices():
    rows = {(row.model, row.metric): row.value for row in paper_runs.evaluate()}
    assert {model for model, _ in rows} == {"RN50x64", "ViT-L/14"}
    for name, devices, days in (("RN50x64", 592, 18), ("ViT-L/14", 256, 12)):
        flops = 3 * paper_models()[name].compute()["FLOPs"] * 32 * 400e6
        share = flops / (125e12 * devices * days * 86_400)
        assert rows[name, "utilisation"] == pytest.approx(share)
        assert rows[name, "pairs per device"] == 32_768 / devices
        assert rows[name, "memory per device (GB)"] > rows[name, "activations per device (GB)"]
    assert rows["RN50x64", "pairs per device"] % 1 > 0  # 592 does not divide the batch
    assert rows["RN50x64", "activations per device (GB)"] > rows["RN50x64", "device (GB)"]


@pytest.mark.parametrize("name", [n for n, m in models.paper_models().items() if m.epochs == 32])
def test_a_papers_recipe_is_that_of_its_tables(name):
    model = models.paper_models()[name]
    recipe = paper_runs.recipe(model, ["shards:/data/{0..9}.tar"], workers=2)
    assert (recipe.batch, recipe.epochs, recipe.warmup) == (32_768, 32, 2_000)
    assert (recipe.betas[1], recipe.eps) == ((0.999, 1e-8) if "RN" in name else (0.98, 1e-6))
    assert (recipe.lr, recipe.augment, recipe.workers) == (model.lr, "crop", 2)
    pair = making.pair(recipe, device="meta")
    assert sum(each.numel() for each in pair.parameters()) == model.compute()["parameters"]
    assert all(each.requires_grad for each in pair.parameters())
    able = [each for each in pair.modules() if hasattr(each, "grad_checkpointing")]
    assert len(able) == (1 if "RN" in name else 2)  # a ResNet has none
    assert all(each.grad_checkpointing for each in able)


def test_a_model_that_goes_on_from_another_has_no_recipe():
    with pytest.raises(ValueError, match="got ViT-L/14-336px, which goes on from another"):
        paper_runs.recipe(models.paper_models()["ViT-L/14-336px"], ["shards:a.tar"])
