"""Towers from scratch: parity with open_clip, seeds, options, checkpointing and patch dropping."""

import inspect
import re

import open_clip
import pytest
import torch

from towers import losses, models
from towers.models import ImageTower, TextTower, family, scratch, seeds

torch.set_num_threads(1)

VIT = "scratch:vit?image=32&patch=8&width=32&depth=2&heads=4"
RESNET = "scratch:resnet?image=32&width=4&layers=1,2,1,1"
WORDS = "scratch:transformer?width=32&depth=2&heads=4&context=12&vocabulary=700"
BAG = "scratch:bow?width=32&context=12&vocabulary=700"
ALL = {"vit": VIT, "resnet": RESNET, "transformer": WORDS, "bow": BAG}
TEXTS = ["a red circle", "two squares above a star", "", "naïve café"]


def pictures(side=32, count=4):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def inputs(tower):
    return pictures() if isinstance(tower, ImageTower) else tower.tokenize(TEXTS)


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ALL.values(), ids=ALL)
def test_a_name_gives_a_tower_of_its_width(name):
    tower = models.load(name)
    assert tower.frozen
    assert not tower.training
    assert tower(inputs(tower)).shape == (4, tower.width)
    assert tower.width == (128 if name == RESNET else 32)


# --- parity: CLIP as open_clip builds it, values and gradients


def clip_of(vision, text):
    """open_clip's own model, of the same sizes."""
    text = {"context_length": 12, "vocab_size": 700, "width": 32, "heads": 4, "layers": 2} | text
    return open_clip.CLIP(16, vision, text)


@pytest.mark.parametrize(
    ("name", "vision"),
    [
        (VIT, {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8}),
        (RESNET, {"image_size": 32, "width": 4, "layers": [1, 2, 1, 1]}),
    ],
)
def test_image_features_are_clips_before_the_projection(name, vision):
    theirs, ours = clip_of(vision, {}).visual.train(), scratch.tower(name).double()
    if name == VIT:
        theirs.proj = None
    else:  # the attention pooling ends in a square matrix: the projection belongs to the pair
        theirs.attnpool.c_proj = torch.nn.Linear(128, 128)
    ours.encoder.load_state_dict(theirs.double().state_dict())
    expected, got = theirs(pictures().double()), ours(pictures().double())
    torch.testing.assert_close(got, expected)
    for features in (expected, got):
        features.square().sum().backward()
    for key, gradient in gradients(theirs).items():
        torch.testing.assert_close(gradients(ours.encoder)[key], gradient)


def test_text_features_are_clips_before_the_projection():
    theirs = clip_of(
        {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 8}, {}
    )
    ours = scratch.tower(WORDS)
    kept = ours.encoder.transformer.state_dict()
    kept = {key: theirs.state_dict()[key] for key in kept}
    ours.encoder.transformer.load_state_dict(kept)
    ids = ours.tokenize(TEXTS)["ids"]
    with torch.no_grad():
        theirs.text_projection = torch.nn.Parameter(torch.eye(32))
    expected, got = theirs.encode_text(ids), ours({"ids": ids})
    torch.testing.assert_close(got, expected)
    for features in (expected, got):
        features.square().sum().backward()
    for key, gradient in gradients(ours.encoder.transformer).items():
        torch.testing.assert_close(gradient, gradients(theirs)[key])


def test_a_bag_of_words_is_the_mean_between_the_marks():
    tower = models.load(BAG)
    ids = tower.tokenize(TEXTS)["ids"]
    for row, got in zip(ids, tower({"ids": ids}), strict=True):
        words = row[1 : row.argmax()]
        rows = tower.encoder.table.weight[words]
        expected = rows.sum(0) / max(1, len(words))
        torch.testing.assert_close(got, expected)


def test_a_bag_of_words_forgets_order_and_a_transformer_does_not():
    bag, words = models.load(BAG), models.load(WORDS)
    swapped = ["a cat and a dog", "a dog and a cat"]
    one, other = bag(bag.tokenize(swapped))
    torch.testing.assert_close(one, other)
    one, other = words(words.tokenize(swapped))
    assert (one - other).abs().max() > 1e-2


def test_what_follows_the_end_mark_changes_no_feature():
    for name in (WORDS, BAG):
        tower = models.load(name)
        ids = tower.tokenize(["a red circle"])["ids"]
        noisy = ids.clone()
        noisy[0, ids.argmax() + 1 :] = 5
        assert torch.equal(tower({"ids": ids}), tower({"ids": noisy})), name


# --- seeds


@pytest.mark.parametrize("name", ALL.values(), ids=ALL)
def test_weights_follow_the_seed_and_nothing_else(name):
    torch.manual_seed(1)
    first = scratch.tower(name + "&seed=5")
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = scratch.tower(name + "&seed=5")
    assert first.checksum == second.checksum
    assert first.checksum != scratch.tower(name + "&seed=6").checksum
    assert first.checksum != scratch.tower(name).checksum
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_a_pair_hands_its_seed_to_towers_without_one():
    def dual(seed, image=VIT):
        return models.dual(image, WORDS, 8, seed=seed)

    assert dual(4).checksum == dual(4).checksum
    assert dual(4).image.checksum == scratch.tower(VIT + "&seed=4").checksum
    assert dual(4).text.checksum != dual(5).text.checksum
    assert dual(4, VIT + "&seed=9").image.checksum == dual(5, VIT + "&seed=9").image.checksum


def test_the_parts_of_a_pair_are_drawn_independently():
    """One stream of numbers for all would make first weights multiples of each other."""
    dual = models.dual(VIT, BAG, 32)
    rows = dual.text.encoder.table.weight[:32].flatten()
    matrix = dual.text_proj.weight.flatten()
    assert torch.corrcoef(torch.stack([rows, matrix]))[0, 1].abs() < 0.2


def test_kinds_of_towers_do_not_share_their_numbers():
    seen = set()
    for kind in (*ALL, "map", "pixels", "words"):
        with seeds.seeded(kind, 0):
            seen.add(torch.initial_seed())
    assert len(seen) == len(scratch.TOWERS) == 7


@pytest.mark.parametrize("build", scratch.TOWERS.values(), ids=scratch.TOWERS)
def test_a_tower_says_what_each_of_its_options_is(build):
    """The signature is the options, and one of the two modules' texts has each."""
    said = scratch.__doc__ + family.__doc__
    for option in inspect.signature(build).parameters:
        assert re.search(rf"(?m)\b{option}=|^    .*\b{option}   |`{option}`", said), option


# --- pairs to train


def test_towers_from_scratch_train_and_others_are_frozen():
    dual = models.dual("timm:test_vit/random", WORDS, 8)
    assert dual.image.frozen
    assert not dual.text.frozen
    assert dual.train().text.training
    assert not dual.image.training
    assert isinstance(dual.text, TextTower)
    assert dual.name == f"timm:test_vit/random and {WORDS}"


def test_a_random_open_clip_pair_trains(tiny_arch):
    name = f"open_clip:{tiny_arch}/random"
    dual = models.dual(name, name, None)
    ids = dual.text.tokenize(TEXTS)
    losses.clip_loss(
        dual.embed_images(pictures()), dual.embed_texts(ids), dual.logit_scale
    ).backward()
    without = [name for name, p in dual.named_parameters() if p.grad is None]
    assert not dual.image.named
    assert not dual.text.named
    assert without == []  # distributed training waits for every parameter's gradient
    assert dual.checksum == models.load(name).checksum


@pytest.mark.parametrize("image", [VIT, RESNET, VIT + "&pool=mean", VIT + "&pool=attention"])
@pytest.mark.parametrize("text", [WORDS, BAG])
def test_every_weight_gets_a_gradient_and_the_loss_falls(image, text):
    dual = models.dual(image, text, 16)
    optimiser = torch.optim.AdamW(dual.parameters(), lr=1e-3)
    ids, seen = dual.text.tokenize(TEXTS), []
    for _ in range(12):
        embeds = dual.embed_images(pictures()), dual.embed_texts(ids)
        loss = losses.clip_loss(*embeds, dual.logit_scale)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in dual.parameters())
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]


def test_names_of_the_wrong_side_are_refused():
    with pytest.raises(ValueError, match="expected a name that gives ImageTower"):
        models.dual(WORDS, VIT, 8)


@pytest.mark.parametrize("names", [(VIT, WORDS), (RESNET, BAG)])
def test_on_the_meta_device_a_pair_has_shapes_only(names):
    real, shapes = models.dual(*names, 8), models.dual(*names, 8, device="meta")
    assert all(tensor.is_meta for tensor in shapes.state_dict().values())
    for name, tensor in real.state_dict().items():
        assert shapes.state_dict()[name].shape == tensor.shape


# --- checkpointing and patch dropping


@pytest.mark.parametrize("name", [VIT, VIT + "&patch_drop=0.5", WORDS])
def test_checkpointing_changes_neither_values_nor_gradients(name):
    plain, saving = scratch.tower(name), scratch.tower(name + "&checkpointing=true")
    found = []
    for tower in (plain, saving):
        torch.manual_seed(0)
        features = tower(inputs(tower))
        features.square().sum().backward()
        found.append((features, gradients(tower)))
    assert torch.equal(found[0][0], found[1][0])
    for key, gradient in found[0][1].items():
        assert torch.equal(found[1][1][key], gradient), key


def test_checkpointing_runs_each_block_again():
    """Otherwise the test above would compare a tower with itself."""
    tower, calls = scratch.tower(VIT + "&checkpointing=true"), []
    for block in tower.encoder.transformer.resblocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    tower(pictures()).sum().backward()
    assert len(calls) == 4


def test_patches_are_dropped_in_training_mode_only():
    whole, part = scratch.tower(VIT), scratch.tower(VIT + "&patch_drop=0.75")
    lengths = []
    part.encoder.transformer.register_forward_pre_hook(
        lambda _, given: lengths.append(given[0].shape[1])
    )
    assert torch.equal(whole.eval()(pictures()), part.eval()(pictures()))
    part.train()
    torch.manual_seed(0)
    first = part(pictures())
    second = part(pictures())
    torch.manual_seed(0)
    assert torch.equal(part(pictures()), first)
    assert not torch.equal(first, second)
    assert lengths == [17, 5, 5, 5]  # the class token is never dropped


def test_pooling_reads_different_tokens():
    towers = [models.load(f"{VIT}&pool={pool}") for pool in ("token", "mean", "attention")]
    features = [tower(pictures()) for tower in towers]
    assert towers[2].encoder.attn_pool.query.shape == (1, 32)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(features[one], features[other], atol=1e-3)


# --- options


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scratch:", "expected"),
        ("scratch:vit", "expected the option image=, which is missing"),
        (
            "scratch:cnn?image=3",
            "among scratch:vit, scratch:resnet, .*, scratch:words; got 'scratch:cnn'",
        ),
        ("scratch:vit?", "expected options as key=value, got ''"),
        ("scratch:vit?image=32&patch=8&width=32&depth=2", "expected the option heads="),
        (VIT + "&", "expected options as key=value, got ''"),
        (VIT + "&head=2", "an option among image, patch, .* got 'head' .*mean heads"),
        (VIT + "&context=8", "got 'context'"),
        (VIT + "&image=32", "expected each option once, got image twice"),
        (VIT.replace("32&", "033.5&", 1), "expected image as a whole number from 1 to 65536"),
        (VIT.replace("image=32", "image=0"), "expected image as a whole number from 1"),
        (VIT.replace("image=32", "image=-8"), "expected image as a whole number from 1"),
        (VIT.replace("image=32", "image=99999999999"), "expected image as a whole number"),
        (VIT.replace("image=32", "image=٣٢"), "expected image as a whole number"),
        (
            VIT.replace("image=32", "image=36"),
            "expected image as a multiple of patch, got 36 and 8",
        ),
        (VIT.replace("heads=4", "heads=5"), "expected width as a multiple of heads, got 32 and 5"),
        (VIT.replace("depth=2", "depth=257"), "expected depth as a whole number from 1 to 256"),
        (VIT + "&patch_drop=1", "expected patch_drop as a number from 0 to 0.99, got '1'"),
        (VIT + "&patch_drop=nan", "expected patch_drop"),
        (VIT + "&patch_drop=-0.1", "expected patch_drop"),
        (VIT + "&patch_drop=half", "expected patch_drop"),
        (VIT + "&checkpointing=1", "expected checkpointing as true or false, got '1'"),
        (VIT + "&pool=max", "expected pool as token or mean or attention, got 'max'"),
        (VIT + "&resize=stretch", "expected resize as crop or pad or squash"),
        (VIT + "&seed=4294967296", "expected seed as a whole number from 0 to 4294967295"),
        (RESNET.replace("1,2,1,1", "1,2,1"), "expected layers as 4 values .*from 1 to 256"),
        (RESNET.replace("1,2,1,1", "1,2,1,0"), "expected layers as 4 values"),
        (RESNET.replace("image=32", "image=40"), "expected image as a multiple of 32"),
        (RESNET.replace("width=4", "width=5"), "expected width as a multiple of 2"),
        (RESNET + "&checkpointing=true", "got 'checkpointing'"),
        (BAG.replace("context=12", "context=2"), "expected context >= 3"),
        (BAG.replace("700", "100"), "vocabulary from 514 to 49408, got 12 and 100"),
        (BAG + "&heads=2", "expected an option among width, context, vocabulary, seed"),
    ],
)
def test_unfit_options_are_refused_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as error:
        models.load(name)
    assert "\n" not in str(error.value)
    assert type(error.value) is ValueError
