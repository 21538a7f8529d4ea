"""Adapters change what they should, begin as nothing if asked, and leave no trace."""

import copy
import hashlib
import importlib
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.transformers_small import KINDS, text_tower
from towers import models
from towers.models import adapters, scratch, stacks
from towers.models.adapters import Adapter, Deep, Layerwise

VIT = "scratch:map?image=16&patch=8&width=16&depth=3&heads=2"
PRE_NORM = [
    "timm:test_vit/random",
    VIT,
    "scratch:vit?image=16&patch=8&width=16&depth=3&heads=2",
    "scratch:transformer?width=16&depth=3&heads=2&context=8&vocabulary=600",
    "scratch:words?width=16&depth=3&heads=2&context=8&vocabulary=600",
    "scratch:pixels?image=16&patch=8&width=16&depth=3&heads=2&packed=true",
]
POST_NORM = [kind for kind in KINDS if kind != "albert"]
EACH = pytest.mark.parametrize("name", PRE_NORM + POST_NORM)
BOTH = pytest.mark.parametrize("kind", [Layerwise, Deep])


@pytest.fixture(autouse=True)
def striped(pages):
    """No fonts are needed."""


def tower(name):
    if name in KINDS:
        return text_tower(name)
    return models.load(name)


def features(model):
    """What a tower makes of fixed inputs.

    Without gradients: torch takes another way through its own attention where one is asked for,
    which rounds differently.
    """
    with torch.no_grad():
        return learnt(model)


def learnt(model):
    if isinstance(model, models.ImageTower):
        side = model.transform.size
        return model(torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)))
    return model(model.tokenize(["a small red square", "two"]))


@EACH
def test_zero_layerwise_adapters_are_the_identity_bit_by_bit(name):
    model = tower(name)
    before = features(model)
    assert torch.equal(features(model.adapt(Layerwise(zero=True))), before)
    assert len(model.adapters.names(model.encoder, name)) >= 4 * 2 * 3


@EACH
@BOTH
def test_adapters_change_features_and_leave_no_trace(name, kind):
    model = tower(name)
    before, weights = features(model), model.checksum
    assert not torch.allclose(features(model.adapt(kind())), before, rtol=0, atol=1e-6)
    assert model.checksum != weights
    assert torch.equal(features(model.plain()), before)
    assert (model.checksum, model.adapters, model.moved) == (weights, None, frozenset())


@pytest.mark.parametrize("name", PRE_NORM)
def test_zero_deep_adapters_of_pre_norm_towers_are_the_identity(name):
    model = tower(name)
    before = features(model)
    assert torch.equal(features(model.adapt(Deep(layers=2, zero=True))), before)


def test_a_zero_deep_adapter_of_a_post_norm_tower_is_two_norms():
    model = text_tower()
    before = features(model)
    after = features(model.adapt(Deep(zero=True)))
    eps = model.encoder.transformer.config.layer_norm_eps
    torch.testing.assert_close(after, F.layer_norm(F.layer_norm(before, (16,), eps=eps), (16,),
                                                   eps=eps))  # fmt: skip


def test_in_a_vision_transformer_they_change_the_input_of_both_norms():
    model = models.load(VIT).double().adapt(Layerwise())
    block = model.encoder.blocks[1]
    states = torch.rand(2, 4, 16, dtype=torch.float64)
    first, second = (by_hand(norm.adapter) for norm in (block.norm1, block.norm2))
    plain = copy.deepcopy(model).plain().encoder.blocks[1]
    between = states + plain.attn(plain.norm1(first(states)))
    expected = between + plain.mlp(plain.norm2(second(between)))
    torch.testing.assert_close(block(states), expected, atol=1e-14, rtol=0)


def test_in_bert_they_change_what_both_sublayers_give_before_the_residual():
    model = text_tower().double().adapt(Layerwise())
    layer = model.encoder.transformer.encoder.layer[1]
    states = torch.rand(2, 4, 16, dtype=torch.float64)
    first, second = (by_hand(each.dropout.adapter) for each in (layer.attention.output,
                                                                layer.output))  # fmt: skip
    plain = copy.deepcopy(model).plain().encoder.transformer.encoder.layer[1]
    seen, end = plain.attention.self(states)[0], plain.attention.output
    between = end.LayerNorm(first(end.dense(seen)) + states)
    wide, end = plain.intermediate(between), plain.output
    expected = end.LayerNorm(second(end.dense(wide)) + between)
    torch.testing.assert_close(layer(states), expected, atol=1e-14, rtol=0)


def by_hand(adapter):
    """x + up(GELU(down(x))), with the error function written out."""
    down, up = adapter.down, adapter.up

    def apply(states):
        squeezed = states @ down.weight.T + down.bias
        active = squeezed * (1 + torch.erf(squeezed / math.sqrt(2))) / 2
        return states + active @ up.weight.T + up.bias

    return apply


@EACH
@BOTH
def test_they_survive_copies_pickles_and_state_dicts(name, kind):
    model = tower(name).adapt(kind())
    wanted = features(model)
    copied = copy.deepcopy(model)
    assert torch.equal(features(copied), wanted)
    copied.plain()
    assert torch.equal(features(model), wanted)
    model.encoder = pickle.loads(pickle.dumps(model.encoder))
    assert torch.equal(features(model), wanted)
    state = model.encoder.state_dict()
    with pytest.raises(RuntimeError, match="Unexpected key"):
        copied.encoder.load_state_dict(state)
    copied.adapt(kind(seed=5)).encoder.load_state_dict(state)
    assert torch.equal(features(copied), wanted)
    assert torch.equal(features(model.plain()), features(tower(name)))


@BOTH
def test_names_and_numbers_are_those_of_what_is_added(kind):
    for name in (VIT, "bert", "distilbert"):
        model = tower(name)
        before = dict(model.encoder.named_parameters())
        wanted = kind().numbers(model.encoder, name)
        model.adapt(kind())
        added = {n: w for n, w in model.encoder.named_parameters() if n not in before}
        assert added.keys() == model.moved == model.adapters.names(model.encoder, name)
        assert sum(weight.numel() for weight in added.values()) == wanted
        assert all(weight.requires_grad for weight in added.values())
        assert not any(weight.requires_grad for weight in before.values())
        if kind is Layerwise:
            assert wanted == 2 * 3 * (2 * 16 * 4 + 4 + 16)


@pytest.mark.parametrize("name", ["timm:test_vit/random", "bert"])
@BOTH
def test_first_weights_are_normal_with_zero_biases(name, kind):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    model = tower(name)
    torch.set_rng_state(state)
    model.adapt(kind(seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    own = model.encoder.state_dict()
    matrices = [own[n] for n in model.moved if own[n].ndim == 2]
    drawn = torch.cat([matrix.flatten() for matrix in matrices])
    assert abs(drawn.mean()) < 5 * 0.02 / math.sqrt(len(drawn))  # five standard errors
    assert drawn.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * len(drawn)))
    others = {float(own[n].unique()) for n in model.moved if own[n].ndim == 1
              and n.split(".")[-1] == "bias"}  # fmt: skip
    assert others == {0.0}
    again, other = (tower(name).adapt(kind(seed=seed)) for seed in (1, 2))
    assert (again.checksum == model.checksum, other.checksum == model.checksum) == (True, False)


@pytest.mark.parametrize("name", [VIT, "bert"])
@BOTH
def test_gradients_reach_every_weight_of_zero_adapters_after_one_step(name, kind):
    model = tower(name).adapt(kind(zero=True))
    moving = [weight for weight in model.encoder.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in moving]
    descent = torch.optim.AdamW(moving, lr=1e-2, weight_decay=0)
    for _ in range(3):
        descent.zero_grad()
        found = learnt(model)
        (found.square() + found * torch.arange(16)).sum().backward()
        descent.step()
    moved = [not torch.equal(*pair) for pair in zip(before, moving, strict=True)]
    assert all(moved)


def test_deep_adapters_keep_the_layer_scale_of_the_last_layer():
    import timm

    torch.manual_seed(0)
    network = timm.create_model("deit3_small_patch16_224", img_size=32, num_classes=0, depth=3)
    with torch.no_grad():
        network.blocks[-1].ls1.gamma.fill_(0.25)
    Deep().insert(network, "deit3")
    assert len(network.blocks) == 4
    assert network.blocks[-1].ls1.gamma.unique().item() == 0.25
    assert network.blocks[-1].norm1.weight.unique().item() == 1


@pytest.mark.parametrize(("name", "given", "message"), [
    ("albert", Layerwise(), "expected one stack of transformer layers .* in test:albert, got 0"),
    ("package:efficientnet-lite0", Deep(), "got 0; choose another tower"),
    (VIT, Layerwise(reduction=17), "expected reduction of at most 16"),
])  # fmt: skip
def test_towers_that_cannot_have_them_are_refused(name, given, message):
    model = tower(name)
    before = model.checksum
    with pytest.raises(ValueError, match=message) as error:
        model.adapt(given)
    assert "\n" not in str(error.value)
    assert (model.checksum, model.adapters) == (before, None)


def test_a_second_kind_is_refused_and_the_same_kind_stays():
    model = models.load(VIT).adapt(Layerwise())
    weights = model.checksum
    assert model.adapt(Layerwise(zero=True, seed=3)).checksum == weights
    with pytest.raises(ValueError, match=r"without other adapters, to insert Deep.*call its plain"):
        model.adapt(Deep())
    with pytest.raises(ValueError, match="without other adapters"):
        model.adapt(Layerwise(reduction=2))


def test_a_borrowed_network_is_refused():
    image = models.load(VIT)
    text = scratch.sharing("shared:words?context=4&vocabulary=600", image)
    with pytest.raises(ValueError, match=r"got shared:words.* with a network of another tower"):
        text.adapt(Layerwise())


@pytest.mark.parametrize("term", ["layerwise", "deep?layers=2&zero=true", "layerwise?reduction=8"])
def test_terms_say_all_options(term):
    made = adapters.read(term)
    said = adapters.term(made)
    again = adapters.read(said)
    assert (again, again.zero, again.seed) == (made, made.zero, made.seed)
    assert adapters.term(again) == said


def test_terms_of_the_defaults_say_what_they_are():
    assert adapters.term(Layerwise()) == "layerwise?reduction=4&zero=false&seed=0"
    assert adapters.term(Deep()) == "deep?layers=1&zero=false&seed=0"


@BOTH
def test_those_that_only_begin_otherwise_are_equal(kind):
    assert kind(zero=True, seed=3) == kind()
    assert Layerwise(reduction=2) != Layerwise()
    assert Deep(layers=2) != Deep()


def test_first_weights_are_those_of_the_seed_and_the_class_of_the_network():
    """What a seed draws is part of every trained result."""
    model = models.load(VIT).adapt(Layerwise(seed=3))
    name = f"adapters 3 {type(model.encoder).__name__}"
    number = int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)
    draws = torch.Generator().manual_seed(number)
    first = model.encoder.blocks[0].norm1.adapter
    for weight in (first.down.weight, first.up.weight):
        assert torch.equal(weight, torch.empty(weight.shape).normal_(std=0.02, generator=draws))


def test_a_bottleneck_of_one_and_a_stack_of_one_layer_are_enough():
    name = "scratch:map?image=16&patch=8&width=16&depth=1&heads=2"
    model = models.load(name)
    kind = Layerwise(reduction=16)
    numbers = kind.numbers(model.encoder, name)
    model.adapt(kind)
    assert numbers == 2 * (2 * 16 + 1 + 16)
    assert sum(w.numel() for w in model.encoder.parameters() if w.requires_grad) == numbers


@pytest.mark.parametrize("term", ["", "wide", "deep?width=3", "layerwise?zero=1", "deep?layers=0"])
def test_other_terms_are_refused(term):
    with pytest.raises(ValueError, match="expected"):
        adapters.read(term)


@pytest.mark.parametrize("path", stacks.LAYERS)
def test_every_known_class_of_layers_is_there(path):
    module, _, name = path.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), name), nn.Module)


def test_hidden_adapters_of_a_loaded_state_are_not_dropped():
    """torch's own strict loading names them."""
    state = models.load(VIT).adapt(Layerwise()).encoder.state_dict()
    with pytest.raises(RuntimeError, match=r"norm1\.adapter\.down\.weight"):
        models.load(VIT).encoder.load_state_dict(state)
    assert isinstance(models.load(VIT).adapt(Layerwise()).encoder.blocks[0].norm1.adapter, Adapter)
