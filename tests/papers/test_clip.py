"""CLIP's models, tables and runs: settings as printed, counts as in open_clip's profile."""

import open_clip
import pytest
import torch
from open_clip_train.profiler import profile_torch_image, profile_torch_text

from towers import published, training
from towers.papers import clip

PROFILE = {  # open_clip's docs/model_profile.csv: image, text (millions); image, text (GFLOPs)
    "RN50": (38.32, 63.69, 12.22, 5.96),
    "RN101": (56.26, 63.43, 19.54, 5.96),
    "RN50x4": (87.14, 91.16, 42.56, 9.27),
    "RN50x16": (167.33, 123.65, 149.39, 13.3),
    "RN50x64": (420.38, 202.88, 529.11, 23.55),
    "ViT-B/32": (87.85, 63.43, 8.82, 5.96),
    "ViT-B/16": (86.19, 63.43, 35.13, 5.96),
    "ViT-L/14": (303.97, 123.65, 162.03, 13.3),
    "ViT-L/14-336px": (304.29, 123.65, 381.92, 13.3),
}
MODELS = clip.MODELS


@pytest.mark.parametrize("name", MODELS)
def test_counts_and_compute_are_those_of_open_clips_profile(name):
    counted = MODELS[name].compute()
    image, text, image_flops, text_flops = PROFILE[name]
    assert round(counted["image parameters"] / 1e6, 2) == image
    assert round(counted["text parameters"] / 1e6, 2) == text
    assert round(counted["image FLOPs"] / 1e9, 2) == image_flops
    assert round(counted["text FLOPs"] / 1e9, 2) == text_flops
    assert counted["parameters"] == counted["image parameters"] + counted["text parameters"] + 1


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32"])
def test_compute_is_what_open_clips_profiler_counts(name, capsys):
    with torch.device("meta"):
        model = open_clip.create_model(
            MODELS[name].architecture, device="meta", force_custom_text=True
        )
    counted = MODELS[name].compute()
    assert counted["image FLOPs"] == profile_torch_image(model.visual, (3, 224, 224))
    assert counted["text FLOPs"] == profile_torch_text(model.text, (77,))


def transformer_flops(width, layers, tokens):
    """Projections 4 W^2, perceptron 8 W^2, and attention 2 T W multiplications a token."""
    return 2 * layers * tokens * (12 * width**2 + 2 * tokens * width)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("ViT")])
def test_compute_of_a_vision_transformer_has_a_closed_form(name):
    row, counted = MODELS[name].settings(), MODELS[name].compute()
    patch = int(name.split("/")[1][:2])
    places = (row["Input resolution"] // patch) ** 2
    width, embed = row["Vision Transformer width"], row["Embedding dimension"]
    blocks = transformer_flops(width, row["Vision Transformer layers"], places + 1)
    assert counted["image FLOPs"] == blocks + 2 * (places * 3 * patch**2 * width + width * embed)


@pytest.mark.parametrize("name", MODELS)
def test_compute_of_a_text_tower_has_a_closed_form(name):
    row, counted = MODELS[name].settings(), MODELS[name].compute()
    width = row["Text Transformer width"]
    blocks = transformer_flops(width, row["Text Transformer layers"], 77)
    assert counted["text FLOPs"] == blocks + 2 * width * row["Embedding dimension"]


@pytest.mark.parametrize("number", [19, 20])
def test_settings_are_those_of_the_papers_table(number):
    theirs, ours = published.table("clip", number).frame, clip.settings(number)
    assert list(ours) == list(theirs)
    assert ours.astype(object).to_numpy().tolist() == theirs.astype(object).to_numpy().tolist()


def test_the_recipe_is_that_of_table_18():
    theirs, ours = published.table("clip", 18).frame, clip.recipes()
    assert ours.to_numpy().tolist() == theirs.to_numpy().tolist()
    assert list(ours) == list(theirs)


def test_another_table_is_refused():
    with pytest.raises(ValueError, match="expected table 19 or 20 of the paper, got 18"):
        clip.settings(18)


def test_they_take_no_memory_and_can_be_trained():
    dual = MODELS["RN50x64"].build()
    assert all(tensor.is_meta for tensor in dual.state_dict().values())
    assert not dual.image.frozen
    assert dual.image.transform.size == 448


def test_heads_are_64_wide_in_every_tower():
    """Section 2.4 scales width and heads together; the attention pooling of ResNets does so too."""
    for model in MODELS.values():
        row = model.settings()
        for side in ("Vision", "Text"):
            if f"{side} Transformer width" in row:
                assert row[f"{side} Transformer width"] == 64 * row[f"{side} Transformer heads"]
        if model.table == 19:
            pool = model.build().image.encoder.attnpool
            assert row["ResNet width"] == 64 * pool.num_heads


def test_steps_are_those_of_32_epochs_over_400_million_pairs():
    assert MODELS["ViT-B/32"].steps == 32 * 400_000_000 // 32_768 == 390_625
    assert MODELS["ViT-L/14-336px"].steps == 400_000_000 // 32_768


@pytest.mark.parametrize(("number", "cells"), [(18, 9 * 2), (19, 5 * 8), (20, 4 * 9)])
def test_every_cell_of_the_papers_tables_agrees(number, cells):
    rows = clip.beside(number)
    assert len(rows) == cells
    assert rows[~rows.agrees].empty


def test_a_wrong_cell_and_a_missing_row_are_shown(monkeypatch):
    ours = clip.settings(20).iloc[:3].copy()
    ours.loc[1, "Vision Transformer heads"] = 16
    monkeypatch.setattr(clip, "settings", lambda number: ours)
    rows = clip.beside(20)
    wrong = rows[~rows.agrees]
    assert set(wrong.model) == {"ViT-B/16", "ViT-L/14-336px"}
    assert len(wrong) == 1 + 9
    one = wrong[wrong.model == "ViT-B/16"].iloc[0]
    assert (one.setting, one.published, one.ours) == ("Vision Transformer heads", 12, 16)


def test_measurements_of_tables_and_compute():
    rows = {(row.model, row.data, row.metric): row for row in clip.evaluate()}
    assert rows["CLIP", "Table 19", "cells that agree"].value == 1
    assert rows["CLIP", "Table 19", "cells that agree"].n == 40
    assert rows["RN50", "one pair", "image FLOPs over RN50"].value == 1
    assert rows["RN50x64", "one pair", "image FLOPs over RN50"].value == pytest.approx(
        529.107 / 12.2229, rel=1e-4
    )


def test_open_clips_defaults_share_adam_and_not_the_batch():
    theirs = {(row.data, row.metric): row.value for row in clip.elsewhere()}
    table = published.table("clip", 18)
    for family in ("ResNet", "ViT"):
        for name in ("Adam β_1", "Adam β_2", "Adam ϵ", "Weight decay", "Training epochs"):
            assert theirs[family, name] == table.value(family, hyperparameter=name)
        assert theirs[family, "Batch size"] != table.value(family, hyperparameter="Batch size")


@pytest.mark.slow
def test_the_reached_share_of_the_peak_follows_from_days_and_devices():
    rows = {(row.model, row.metric): row.value for row in clip.costs()}
    assert {model for model, _ in rows} == {"RN50x64", "ViT-L/14"}
    for name, devices, days in (("RN50x64", 592, 18), ("ViT-L/14", 256, 12)):
        flops = 3 * clip.MODELS[name].compute()["FLOPs"] * 32 * 400e6
        share = flops / (125e12 * devices * days * 86_400)
        assert rows[name, "utilisation"] == pytest.approx(share)
        assert rows[name, "pairs per device"] == 32_768 / devices
        assert rows[name, "memory per device (GB)"] > rows[name, "activations per device (GB)"]
    assert rows["RN50x64", "pairs per device"] % 1 > 0  # 592 does not divide the batch
    assert rows["RN50x64", "activations per device (GB)"] > rows["RN50x64", "device (GB)"]


@pytest.mark.parametrize("name", [n for n, m in clip.MODELS.items() if m.epochs == 32])
def test_a_papers_recipe_is_that_of_its_tables(name):
    model = clip.MODELS[name]
    recipe = clip.recipe(model, ["shards:/data/{0..9}.tar"], workers=2)
    assert (recipe.batch, recipe.epochs, recipe.warmup) == (32_768, 32, 2_000)
    assert (recipe.betas[1], recipe.eps) == ((0.999, 1e-8) if "RN" in name else (0.98, 1e-6))
    assert (recipe.lr, recipe.augment, recipe.workers) == (model.lr, "crop", 2)
    pair = training.pair(recipe, device="meta")
    assert sum(each.numel() for each in pair.parameters()) == model.compute()["parameters"]
    assert all(each.requires_grad for each in pair.parameters())
    able = [each for each in pair.modules() if hasattr(each, "grad_checkpointing")]
    assert len(able) == (1 if "RN" in name else 2)  # a ResNet has none
    assert all(each.grad_checkpointing for each in able)


def test_a_model_that_goes_on_from_another_has_no_recipe():
    with pytest.raises(ValueError, match="got ViT-L/14-336px, which goes on from another"):
        clip.recipe(clip.MODELS["ViT-L/14-336px"], ["shards:a.tar"])
