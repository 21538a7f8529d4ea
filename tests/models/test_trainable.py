"""A policy lets move what it names, by type and place; the report counts it."""

import pytest
import torch
from torch import nn

from tests.models.conftest import small_image_tower
from tests.models.transformers_small import text_tower
from towers import models
from towers.models import DualTower, trainable
from towers.models.adapters import Deep, Layerwise

VIT = "scratch:map?image=16&patch=8&width=16&depth=3&heads=2"
CLIP = "scratch:vit?image=16&patch=8&width=16&depth=3&heads=2"
HEAD = {"image_proj.weight", "text_proj.weight", "log_scale"}


@pytest.fixture
def dual():
    return DualTower(models.load(VIT), text_tower(), 8, "test:pair")


def moving(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def side(dual, policy):
    """What moves in each tower's encoder."""
    trainable.apply(dual, policy)
    return moving(dual.image.encoder), moving(dual.text.encoder)


def block_norms(*layers):
    return {f"blocks.{n}.{norm}.{part}" for n in layers for norm in ("norm1", "norm2")
            for part in ("weight", "bias")}  # fmt: skip


def bert_norms(*layers):
    places = ("attention.output", "output")
    return {f"transformer.encoder.layer.{n}.{place}.LayerNorm.{part}" for n in layers
            for place in places for part in ("weight", "bias")}  # fmt: skip


def test_layer_norms_are_all_of_them_and_nothing_else(dual):
    image, text = side(dual, "layer-norms")
    pool = {f"{norm}.{part}" for norm in ("norm", "attn_pool.norm") for part in ("weight", "bias")}
    start = {f"transformer.embeddings.LayerNorm.{part}" for part in ("weight", "bias")}
    assert image == block_norms(0, 1, 2) | pool
    assert text == bert_norms(0, 1, 2) | start


def test_they_are_told_by_their_type_not_by_their_name():
    class Trap(nn.Module):
        def __init__(self):
            super().__init__()
            self.layernorm_proj, self.calm = nn.Linear(3, 3), nn.LayerNorm(3)
            self.norm = nn.Parameter(torch.ones(3))
            self.bias = nn.Parameter(torch.ones(3))
            self.biased = nn.Embedding(3, 3)

        def forward(self, images):
            return self.calm(self.layernorm_proj(images.mean((2, 3)))) * self.norm + self.bias

    image = small_image_tower(3)
    image.encoder = Trap()
    dual = DualTower(image, text_tower(), 8, "test:trap")
    assert side(dual, "layer-norms")[0] == {"calm.weight", "calm.bias"}
    assert side(dual, "bitfit")[0] == {"calm.bias", "layernorm_proj.bias"}


@pytest.mark.parametrize(("layers", "numbers"), [
    ("2:", (2,)), (":2", (0, 1)), ("1:2", (1,)), ("0:9", (0, 1, 2)),
])  # fmt: skip
def test_layer_norms_by_depth_are_those_inside_the_layers(dual, layers, numbers):
    image, text = side(dual, f"image=layer-norms?layers={layers},text=layer-norms")
    assert image == block_norms(*numbers)
    assert bert_norms(0, 1, 2) < text


def test_patterns_a_and_b_are_each_others_opposite(dual):
    """Fig. 5: A locks the deepest of the texts and the shallowest of the images."""
    a = side(dual, "image=layer-norms?layers=1:,text=layer-norms?layers=:2")
    assert a == (block_norms(1, 2), bert_norms(0, 1))
    b = side(dual, "image=layer-norms?layers=:2,text=layer-norms?layers=1:")
    assert b == (block_norms(0, 1), bert_norms(1, 2))


def test_depth_is_counted_without_deep_adapters(dual):
    image, _ = side(dual, "deep+layer-norms?layers=2:")
    added = {name for name in image if name.startswith("blocks.3.")}
    assert image - added == block_norms(2)
    assert added == dual.image.moved
    with pytest.raises(ValueError, match="expected at most 3 random layers"):
        trainable.apply(dual, "deep+random?layers=4")


@pytest.mark.parametrize("name", [VIT, CLIP])
def test_bitfit_moves_all_additive_biases(name):
    dual = DualTower(models.load(name), text_tower(), 8, "test:pair")
    for encoder, names in zip((dual.image.encoder, dual.text.encoder), side(dual, "bitfit"),
                              strict=True):  # fmt: skip
        named = dict(encoder.named_parameters())
        ends = {n for n in named if n.split(".")[-1] in ("bias", "in_proj_bias")}
        assert names == ends
        assert len(names) >= 3 * 6


def test_random_layers_are_whole_and_drawn_by_their_seed(dual):
    drawn = set()
    for seed in range(12):
        image, text = side(dual, f"random?layers=2&seed={seed}")
        layers = {int(name.split(".")[1]) for name in image}
        blocks = dual.image.encoder.blocks.named_parameters()
        assert image == {f"blocks.{n}" for n, _ in blocks if int(n.split(".")[0]) in layers}
        assert len(layers) == 2
        assert side(dual, f"random?layers=2&seed={seed}") == (image, text)
        drawn.add(frozenset(layers))
    assert len(drawn) == 3  # all pairs of three
    assert side(dual, "random?layers=1") == side(dual, "random?layers=1&seed=0")
    assert trainable.read("random?layers=1", 4).image[0].seed == 4
    assert trainable.read("random?layers=1&seed=2", 4).image[0].seed == 2


@pytest.mark.parametrize(("policy", "kind"), [("layerwise", Layerwise), ("deep", Deep)])
def test_adapters_are_inserted_and_move_alone(dual, policy, kind):
    image, text = side(dual, policy)
    assert dual.image.adapters == dual.text.adapters == kind()
    assert (image, text) == (dual.image.moved, dual.text.moved)
    norms = side(dual, f"{policy}+layer-norms")
    assert (norms[0] > image, norms[1] > text) == (True, True)
    assert block_norms(0, 1, 2) <= norms[0]
    locked = side(dual, "projections")
    assert (locked, dual.image.adapters) == ((set(), set()), kind())  # they stay, and stand still


def test_one_tower_is_lit(dual):
    image, text = side(dual, "image=locked,text=everything")
    assert image == set()
    assert text == {name for name, _ in dual.text.encoder.named_parameters()}


@pytest.mark.parametrize(("policy", "towers", "head"), [
    ("everything", True, True), ("projections", False, True), ("nothing", False, False),
])  # fmt: skip
def test_whole_pairs(dual, policy, towers, head):
    trainable.apply(dual, policy)
    assert (dual.image.frozen, dual.text.frozen) == (not towers, not towers)
    names = {name for name in moving(dual) if ".encoder." not in name}
    assert names == (HEAD if head else set())


def test_scratch_changes_nothing():
    dual = models.dual(VIT, "package:minilm", 8)
    before = moving(dual)
    assert moving(trainable.apply(dual, "scratch")) == before
    assert all(name.startswith(("image.", *HEAD)) for name in before)


def test_what_is_locked_stays_in_evaluation_mode(dual):
    trainable.apply(dual, "image=locked,text=layer-norms?layers=1:2").train()
    layers = dual.text.encoder.transformer.encoder.layer
    assert not dual.image.training
    assert [layer.output.dropout.training for layer in layers] == [False, True, False]
    assert not layers[1].attention.self.training  # whose own weights are locked
    trainable.apply(dual, "everything").train()
    assert all(module.training for module in dual.modules())


@pytest.mark.parametrize(("policy", "counts"), [
    ("bitfit", False), ("layer-norms", None), ("everything", True), ("projections", False),
])  # fmt: skip
def test_statistics_are_counted_only_where_their_norm_may_learn(policy, counts):
    name = "scratch:resnet?image=32&width=4&layers=1,1,1,1"
    dual = DualTower(models.load(name), text_tower(), 8, "test:pair")
    if counts is None:
        with pytest.raises(ValueError, match=r"expected weights of LayerNorms\(layers=':'\)"):
            trainable.apply(dual, policy)
        return
    trainable.apply(dual, policy).train()
    modes = {m.training for m in dual.image.encoder.modules() if isinstance(m, nn.BatchNorm2d)}
    assert modes == {counts}


def test_the_report_counts_each_weight_once(dual):
    trainable.apply(dual, "layerwise+layer-norms")
    table = trainable.report(dual).set_index("part")
    sums = table.drop("pair")[["tensors", "trainable tensors", "parameters", "trainable"]].sum()
    assert (sums == table.loc["pair", sums.index]).all()
    weights = list(dual.parameters())
    assert table["parameters"]["pair"] == sum(w.numel() for w in weights)
    assert table["trainable tensors"]["pair"] == len(moving(dual))
    assert table["trainable"]["text tower"] == sum(
        w.numel() for w in dual.text.parameters() if w.requires_grad
    )
    assert (table["share"] == table["trainable"] / table["parameters"]).all()


def test_the_report_of_a_shared_network_and_of_no_projections():
    dual = models.dual(VIT, "shared:words?context=4&vocabulary=600", 8)
    table = trainable.report(dual).set_index("part")
    assert table["parameters"]["text tower"] == 600 * 16
    assert table["parameters"].drop("pair").sum() == table["parameters"]["pair"]
    bare = trainable.report(DualTower(models.load(VIT), text_tower(), None, "bare"))
    assert bare["parameters"].tolist()[2] == 1
    assert bare["share"].tolist()[2] == 1.0


def test_towers_that_share_a_network_move_together_or_not_at_all():
    dual = models.dual(VIT, "shared:words?context=4&vocabulary=600", 8)
    for policy in ("layer-norms", "image=locked,text=everything"):
        with pytest.raises(ValueError, match="for towers that share a network, as those of"):
            trainable.apply(dual, policy)
    assert dual.image.frozen == dual.text.frozen == False  # noqa: E712
    assert trainable.apply(dual, "projections").text.frozen
    assert not trainable.apply(dual, "everything").text.frozen


@pytest.mark.parametrize(("policy", "message"), [
    ("", "terms among locked"),
    ("layernorm", "got 'layernorm'"),
    ("layer-norms+", "got ''"),
    ("everything+nothing", "got 'nothing'"),
    ("image=locked", "expected scratch, everything, projections, nothing, TERMS or image=TERMS"),
    ("text=locked,image=locked", "image=TERMS,text=TERMS, got"),
    ("locked,everything", "image=TERMS,text=TERMS, got"),
    ("image=locked,text=bitfit,image=deep", "image=TERMS,text=TERMS, got"),
    ("layer-norms?layers=a:b", "expected layers as a slice such as 4: or 0:6, got 'a:b'"),
    ("random", "the option layers="),
    ("random?layers=0", "layers as a whole number from 1 to 256"),
    ("layerwise+deep", "expected adapters of one kind"),
    ("bitfit?all=true", "expected an option among none; got 'all'"),
])  # fmt: skip
def test_other_policies_are_refused_in_one_line(policy, message):
    with pytest.raises(ValueError, match="expected") as error:
        trainable.read(policy)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("policy", "message"), [
    ("random?layers=4", "expected at most 3 random layers"),
    ("layer-norms?layers=3:", r"expected weights of LayerNorms\(layers='3:'\)"),
])  # fmt: skip
def test_what_a_tower_has_not_is_refused(dual, policy, message):
    with pytest.raises(ValueError, match=message):
        trainable.apply(dual, policy)


def test_a_refused_policy_leaves_the_pair_as_it_was():
    dual = DualTower(models.load(VIT), text_tower("albert"), 8, "test:pair")
    before = dual.checksum, moving(dual)
    for policy in ("layerwise", "image=deep,text=random?layers=1"):
        with pytest.raises(ValueError, match="expected one stack of transformer layers"):
            trainable.apply(dual, policy)
    assert (dual.checksum, moving(dual)) == before
    assert (dual.image.adapters, dual.image.moved) == (None, frozenset())
