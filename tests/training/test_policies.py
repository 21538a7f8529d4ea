"""Frozen means frozen: a run moves what its policy names, and nothing else by a single bit."""

import copy
import dataclasses

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.models.transformers_small import text_tower
from tests.training import ranks, toy_runs
from towers import losses, models, training
from towers.papers import lilt_models
from towers.training import command, logs, states
from towers.training.extension import before_descent
from towers.training.runs import pair as prepared

VIT = "scratch:map?image=16&patch=8&width=16&depth=2&heads=2"
RESNET = "scratch:resnet?image=32&width=4&layers=1,1,1,1"
STEPS = 20


def pair(image=VIT):
    """Towers whose dropout and batch statistics would move if anything let them."""
    dual = models.DualTower(models.load(image), text_tower(), 6, "toy")
    for norm in dual.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(norm.weight)  # CLIP's begin at 0, and let no gradient through
    return dual


def recipe(policy, **changes):
    changes = {"steps": STEPS, "accumulate": 1, "checkpoint_every": STEPS} | changes
    return toy_runs.recipe(policy=policy, **changes)


def train(folder, dual, policy, **changes):
    return training.train(
        recipe(policy, **changes), folder, dual=dual, source=toy_runs.source(dual), progress=False
    )


@pytest.mark.parametrize(("policy", "image"), [
    ("layer-norms", VIT),
    ("bitfit", VIT),
    ("bitfit", RESNET),
    ("projections", RESNET),
    ("image=locked,text=everything", RESNET),
    ("image=random?layers=1,text=layer-norms?layers=1:2", VIT),
    ("layerwise+layer-norms", VIT),
    ("deep?zero=true", VIT),
    ("layerwise", VIT),
])  # fmt: skip
def test_what_is_locked_stays_bit_by_bit_and_what_moves_moves(tmp_path, policy, image):
    dual = prepared(recipe(policy), pair(image))
    before = copy.deepcopy(dual.state_dict())
    moving = {name for name, weight in dual.named_parameters() if weight.requires_grad}
    done = train(tmp_path, dual, policy)
    after = done.dual.state_dict()
    assert after.keys() == before.keys()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == moving
    kept = states.Checkpoints(tmp_path / "checkpoints", 1).read(STEPS).moments
    assert {name.partition("/")[2].removeprefix("dual.") for name in kept} == moving


def test_statistics_do_move_where_everything_does(tmp_path):
    dual = pair(RESNET)
    before = copy.deepcopy(dual.image.encoder.bn1.running_mean)
    train(tmp_path, dual, "everything")
    assert not torch.equal(dual.image.encoder.bn1.running_mean, before)


def test_a_locked_tower_gives_the_same_features_in_training(tmp_path):
    """Its dropout drops nothing, also beside layers that learn."""
    dual = prepared(recipe("deep"), pair()).train()
    frozen = dual.text.encoder.transformer.encoder.layer[2]
    seen = []
    frozen.register_forward_hook(lambda *given: seen.append(given[2].detach()))
    tokens = dual.text.tokenize(["a cat", "a dog"])
    first, second = dual.text(tokens), dual.text(tokens)
    assert torch.equal(*seen)
    assert not torch.equal(first, second)  # the layer on top drops as it should


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path):
    whole = train(tmp_path / "whole", pair(), "layerwise+bitfit")

    def stop(_):
        raise toy_runs.Stop

    options = {"checkpoint_every": 5, "evaluate_every": 10}
    dual = pair()
    with pytest.raises(toy_runs.Stop):
        training.train(recipe("layerwise+bitfit", **options), tmp_path / "part", dual=dual,
                       source=toy_runs.source(dual), evaluate=stop, progress=False)  # fmt: skip
    resumed = train(tmp_path / "part", pair(), "layerwise+bitfit", checkpoint_every=5)
    assert 0 < resumed.resumed < STEPS
    assert resumed.dual.checksum == whole.dual.checksum


def test_replicas_share_the_gradients_of_adapters(tmp_path):
    dual = prepared(recipe("layerwise+layer-norms"), pair()).train()
    alone = copy.deepcopy(dual)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0,
                            world_size=1)  # fmt: skip
    try:
        shared = nn.parallel.DistributedDataParallel(Loss(dual))
        for model in (shared, Loss(alone)):
            torch.manual_seed(0)
            model().backward()
    finally:
        dist.destroy_process_group()
    for name, weight in dual.named_parameters():
        other = alone.get_parameter(name)
        assert (weight.grad is None) == (not weight.requires_grad), name
        assert weight.grad is None or torch.equal(weight.grad, other.grad), name


class Loss(nn.Module):
    """The loss of a pair on a fixed batch."""

    def __init__(self, dual):
        super().__init__()
        self.dual = dual

    def forward(self):
        images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        texts = self.dual.text.tokenize(["a cat", "a dog", "a bird"])
        embeds = self.dual.embed_images(images), self.dual.embed_texts(texts)
        return losses.clip_loss(*embeds, self.dual.logit_scale)


def test_a_recipe_names_its_policy_and_the_seed_draws_adapters():
    made = recipe("layerwise", image=VIT, text="package:minilm", seed=3)
    dual = prepared(made)
    assert dual.image.adapters.seed == dual.text.adapters.seed == 3
    assert not dual.image.encoder.blocks[0].norm1.weight.requires_grad
    assert training.Recipe.from_mapping(made.mapping()) == made
    assert made.digest != dataclasses.replace(made, policy="deep").digest
    assert recipe("scratch") == toy_runs.recipe(accumulate=1, steps=STEPS, checkpoint_every=STEPS)


def test_an_unknown_policy_is_refused_by_the_recipe():
    with pytest.raises(
        training.TrainingError, match=r"policy: .*got 'norms'.* did you mean layer-norms"
    ):
        recipe("norms")


def test_another_policy_is_another_run(tmp_path):
    train(tmp_path, pair(), "layer-norms")
    with pytest.raises(training.TrainingError, match='policy "layer-norms" there, "bitfit" here'):
        train(tmp_path, pair(), "bitfit")


def test_features_of_a_tower_that_moves_are_not_cached(tmp_path):
    made = recipe("layer-norms", image=VIT, text="package:minilm", cache_features=True,
                  augment="none", data=("emoji",))  # fmt: skip
    with pytest.raises(ValueError, match="frozen"):
        training.train(made, tmp_path, progress=False)


@pytest.mark.slow
def test_before_the_descent_adapters_are_there(tmp_path):
    made = recipe("layerwise", image=VIT, text="package:minilm", schedule="reciprocal-sqrt",
                  warmup=4)  # fmt: skip
    dual = prepared(made)
    done = training.train(made, tmp_path, dual=dual, source=toy_runs.source(dual), progress=False)
    loaded = models.load(f"file:{tmp_path}/final.safetensors")
    assert loaded.checksum == done.dual.checksum
    assert loaded.text.adapters == done.dual.text.adapters
    found = before_descent(tmp_path)
    assert found.image.adapters == done.dual.image.adapters
    name = "encoder.blocks.0.norm1.adapter.up.weight"
    assert not torch.equal(
        found.image.get_parameter(name), prepared(made).image.get_parameter(name)
    )


@pytest.mark.slow
def test_planned_memory_and_work_fall_with_what_moves():
    """The paper's own run: full training, layerwise adapters, layer norms."""
    rows = lilt_models.configurations()
    full, adapted, norms = (
        training.plan(rows[letter].build(), 512, 15 * 591_753, ranks=4) for letter in "ghc"
    )
    assert full.steps == 17_336
    assert full.memory > adapted.memory > norms.memory
    kept = [each.held["activations"] for each in (full, adapted, norms)]
    assert kept == sorted(kept, reverse=True)
    assert full.flops > adapted.flops > norms.flops
    # No weight has a gradient: two passes of three, but for attention, whose products have none.
    assert 1.4 < full.flops / norms.flops < 1.5
    assert adapted.held["moments"] == 2 * adapted.held["gradients"] == 8 * 14_672_385


def test_a_dry_run_reports_what_would_move(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(f"image: {VIT}\ntext: package:minilm\ndata: [scenes]\nsteps: 4\nwarmup: 1\n")
    given = ["policy=image=layer-norms,text=locked"]
    lines = [line for line in command.run(path, given, tmp_path / "run", dry=True)
             if line.startswith("moves: ")]  # fmt: skip
    dual = prepared(training.Recipe.from_yaml(path, command.changes(given)))
    moving = [w for w in dual.image.parameters() if w.requires_grad]
    all_ = sum(w.numel() for w in dual.image.parameters())
    count = sum(w.numel() for w in moving)
    assert lines[0] == (
        f"moves: image tower: {len(moving)} of {len(list(dual.image.parameters()))} tensors, "
        f"{count:,} of {all_:,} parameters, {count / all_:.2%}"
    )
    assert "text tower: 0 of" in lines[1]
    assert lines[3].startswith("moves: pair: ")


def test_a_dry_run_says_why_it_cannot_tell(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(
        f"image: {VIT}\ntext: hf:{tmp_path}/nothing\ndata: [scenes]\nsteps: 4\nwarmup: 1\n"
    )
    lines = list(command.run(path, [], tmp_path / "run", dry=True))
    assert "moves: expected a folder of transformers" in lines[-1]


@pytest.mark.slow
def test_two_ranks_move_adapters_as_one_process_does(tmp_path):
    ended = ranks.run(adapted, tmp_path / "two", ranks=2)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert ended[0].value == ended[1].value
    assert ranks.run(adapted, tmp_path / "one")[0].code == 0
    losses = [[line["loss"] for line in logs.read(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def adapted(folder):
    """A run in a rank, without dropout; the checksum of what it has in the end."""
    torch.set_num_threads(1)
    dual = models.dual(VIT, "scratch:words?width=16&depth=2&heads=2&context=8", 6)
    return train(folder, dual, "layerwise+layer-norms", batch=8).dual.checksum
