"""CLIPPO and its baselines: what is shared, packed against masked, counts, and checkpoints."""

import math

import pytest
import scipy.ndimage
import timm
import torch
from safetensors import safe_open

from tests.models import pages
from tests.models.conftest import small_image_tower
from towers import losses, models
from towers.models import family, resolution, scratch
from towers.papers import clippo

torch.set_num_threads(1)

MAP = "scratch:map?image=32&patch=8&width=32&depth=2&heads=4"
UNTIED = MAP.replace(":map", ":pixels")
WORDS = "scratch:words?width=32&depth=2&heads=4&context=12&vocabulary=700"
ONE = "shared:words?context=12&vocabulary=700"
TEXTS = {
    "CLIP*": WORDS,
    "CLIP* pooled": f"{WORDS}&pool=attention",
    "1T-CLIP": ONE,
    "1T-CLIP separate heads": f"{ONE}&separate=heads",
    "CLIPPO": "shared:pixels",
    "CLIPPO packed": "shared:pixels?packed=true",
    "CLIPPO untied": UNTIED,
    "CLIPPO untied packed": f"{UNTIED}&packed=true",
    "CLIPPO separate heads": "shared:pixels?separate=heads",
    "CLIPPO separate embeddings": "shared:pixels?separate=embeddings",
    "CLIPPO separate both packed": "shared:pixels?separate=both&packed=true",
}
CAPTIONS = ["a red circle", "", "two", "  squares above a large star ", "a naïve café 日本"]

pytestmark = pytest.mark.usefixtures("pages")


def pictures(side=32):
    return torch.randn(len(CAPTIONS), 3, side, side, generator=torch.Generator().manual_seed(1))


def pair(text, embed=8, **options):
    return models.dual(MAP, text, embed, **options)


def loss_of(dual):
    embeds = dual.embed_images(pictures()), dual.embed_texts(dual.text.tokenize(CAPTIONS))
    return losses.clip_loss(*embeds, dual.logit_scale)


# --- the network


def test_the_network_is_timms_own():
    """Values and gradients: nothing in the dense way is ours but the first weights."""
    theirs = timm.models.VisionTransformer(
        32, 8, num_classes=0, global_pool="map", embed_dim=32, depth=2, num_heads=4,
        class_token=False, act_layer="gelu_tanh",
    )  # fmt: skip
    ours = models.scratch.tower(MAP)
    theirs.load_state_dict(ours.encoder.state_dict())
    expected, got = theirs(pictures()), ours(pictures())
    torch.testing.assert_close(got, expected)
    for features in (expected, got):
        features.square().sum().backward()
    for (name, their), our in zip(
        theirs.named_parameters(), ours.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(our.grad, their.grad, msg=name)


def test_first_weights_are_big_visions():
    encoder = scratch.tower(MAP.replace("width=32", "width=256")).encoder
    bound = (6 / 512) ** 0.5  # Xavier's, of a square matrix
    matrices = [*encoder.blocks[0].attn.qkv.weight.chunk(3), encoder.blocks[1].attn.proj.weight,
                *encoder.attn_pool.kv.weight.chunk(2), encoder.attn_pool.q.weight]  # fmt: skip
    for matrix in matrices:
        assert matrix.abs().max() <= bound
        assert matrix.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert encoder.pos_embed.std().item() == pytest.approx(1 / 16, rel=0.05)
    assert encoder.patch_embed.proj.weight.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.05)
    assert 0 < encoder.blocks[0].mlp.fc1.bias.abs().max() < 1e-5
    assert not encoder.blocks[0].attn.qkv.bias.any()
    assert encoder.norm.eps == 1e-6


# --- packed sequences


def masked(dual, texts):
    """The same texts the long way: whole pages, blank patches masked in timm's own network."""
    network, reader = dual.image.encoder, dual.text.encoder
    network = reader.network if hasattr(reader, "network") else network
    pixels = torch.from_numpy(pages.render(texts, size=32))
    cut = pixels.unfold(1, 8, 8).unfold(2, 8, 8).flatten(3).flatten(1, 2)  # (batch, 16, 64)
    kept = (cut != 127).any(2)
    kept[~kept.any(1), 0] = True
    images = dual.image.transform.normalised(pixels[..., None].expand(-1, -1, -1, 3))
    embedded = (reader.embedding or network.patch_embed)(images) + network.pos_embed
    for block in network.blocks:
        embedded = block(embedded, attn_mask=kept[:, None, None])
    return network.attn_pool(network.norm(embedded), attn_mask=kept[:, None, None])


@pytest.mark.parametrize("text", [name for name in TEXTS if name.endswith("packed")])
def test_packed_equals_masked_in_values_and_gradients(text):
    dual = pair(TEXTS[text])
    packed = dual.text(dual.text.tokenize(CAPTIONS))
    whole = masked(dual, CAPTIONS)
    torch.testing.assert_close(packed, whole, rtol=1e-5, atol=1e-5)
    weights = list(dual.text.parameters())
    target = torch.randn(whole.shape, generator=torch.Generator().manual_seed(3))
    for ours, theirs in zip(
        torch.autograd.grad((packed * target).sum(), weights, allow_unused=True),
        torch.autograd.grad((whole * target).sum(), weights, allow_unused=True),
        strict=True,
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_packed_text_does_not_depend_on_its_neighbours():
    tower = pair(TEXTS["CLIPPO packed"]).text.eval()
    together = tower(tower.tokenize(CAPTIONS))
    for row, caption in enumerate(CAPTIONS):
        torch.testing.assert_close(tower(tower.tokenize([caption]))[0], together[row],
                                   rtol=1e-5, atol=1e-6)  # fmt: skip


def test_packed_texts_differ_from_whole_pages():
    """Blank patches take part in a whole page: the two are different models."""
    dense, packed = (pair(TEXTS[name]).text for name in ("CLIPPO", "CLIPPO packed"))
    one, other = dense(dense.tokenize(CAPTIONS)), packed(packed.tokenize(CAPTIONS))
    assert (one - other).abs().max() > 1e-2


def test_only_inked_patches_are_looked_at():
    tower = pair(TEXTS["CLIPPO packed"]).text
    seen = []
    tower.encoder.network.blocks[0].mlp.register_forward_pre_hook(
        lambda _, given: seen.append(len(given[0]))
    )
    tower(tower.tokenize(["ab c", "", "d"]))
    assert seen == [3 + 1 + 1]


@pytest.mark.parametrize("text", ["CLIPPO", "CLIPPO packed", "1T-CLIP", "CLIP*"])
def test_checkpointing_changes_neither_values_nor_gradients(text):
    found = []
    for wanted in ("false", "true"):
        name = TEXTS[text] + f"&checkpointing={wanted}" * (text == "CLIP*")
        dual = models.dual(f"{MAP}&checkpointing={wanted}", name, 8, seed=3)
        loss = loss_of(dual)
        loss.backward()
        found.append([loss, *(p.grad for p in dual.parameters())])
    for plain, saving in zip(*found, strict=True):
        assert torch.equal(plain, saving)


def test_the_papers_own_pages_are_packed_alike(monkeypatch):
    """The house's renderer, at 16 pixels a line and patch."""
    monkeypatch.undo()
    name = "scratch:map?image=64&patch=16&width=32&depth=1&heads=4"
    towers = [models.dual(name, f"shared:pixels?packed={way}", 8).text for way in ("true", "false")]
    tokens = [tower.tokenize(CAPTIONS) for tower in towers]
    patches, places = tokens[0]["patches"], tokens[0]["places"]
    cut = tokens[1]["pixels"].unfold(1, 16, 16).unfold(2, 16, 16).flatten(3).flatten(1, 2)
    for row, page in enumerate(cut):
        inked = (page != 127).any(1).nonzero()[:, 0]
        kept = places[row][places[row] >= 0]
        assert torch.equal(kept, inked if len(inked) else torch.tensor([0]))
        assert torch.equal(patches[row][places[row] >= 0], page[kept])
    assert torch.isfinite(towers[0](tokens[0])).all()


# --- sharing


def test_a_page_is_read_as_a_picture_by_the_very_same_weights():
    dual = pair("shared:pixels")
    pixels = torch.from_numpy(pages.render(CAPTIONS, size=32))
    picture = dual.image.transform.normalised(pixels[..., None].expand(-1, -1, -1, 3))
    torch.testing.assert_close(
        dual.embed_texts(dual.text.tokenize(CAPTIONS)), dual.embed_images(picture)
    )


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("CLIPPO", set()),
        ("CLIPPO separate heads", {"text_proj"}),
        ("CLIPPO separate embeddings", {"text.encoder.embedding"}),
        ("CLIPPO separate both packed", {"text.encoder.embedding", "text_proj"}),
        ("1T-CLIP", {"text.encoder.table"}),
        ("1T-CLIP separate heads", {"text.encoder.table", "text_proj"}),
    ],
)
def test_what_the_text_side_adds(text, own):
    dual = pair(TEXTS[text])
    image = {id(p) for p in [*dual.image.parameters(), *dual.image_proj.parameters()]}
    added = {n for n, p in dual.named_parameters() if id(p) not in image and n != "log_scale"}
    assert {".".join(name.split(".")[:3]).removesuffix(".weight").removesuffix(".bias")
            for name in added} == own  # fmt: skip


def test_two_towers_share_nothing():
    for text in (WORDS, UNTIED):
        dual = pair(text)
        image = {id(p) for p in [*dual.image.parameters(), *dual.image_proj.parameters()]}
        assert not image & {id(p) for p in [*dual.text.parameters(), *dual.text_proj.parameters()]}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_family_begins_at_a_scale_of_ten_and_is_never_clipped(text):
    dual = pair(text)
    assert dual.logit_scale.item() == pytest.approx(10)
    assert dual.image_proj.bias is not None
    with torch.no_grad():
        dual.log_scale.fill_(9.0)
    dual.clip_scale_()
    assert dual.log_scale.item() == 9.0


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_weight_gets_a_gradient_and_the_loss_falls(text):
    dual = pair(text)
    optimiser = torch.optim.AdamW(dual.parameters(), lr=2e-3)
    seen = []
    for _ in range(15):
        loss = loss_of(dual)
        optimiser.zero_grad()
        loss.backward()
        assert [n for n, p in dual.named_parameters() if p.grad is None] == []
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.6 * seen[0]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_pair_comes_back_from_its_checkpoint(text, tmp_path):
    dual = pair(text, seed=4)
    with torch.no_grad():
        for weight in dual.parameters():
            weight.add_(0.01)
    dual.train()
    path = tmp_path / "pair.safetensors"
    models.save(dual, path)
    loaded = models.load(f"file:{path}")
    assert loaded.checksum == dual.checksum
    assert loaded.text.frozen
    tokens = dual.text.tokenize(CAPTIONS)
    assert torch.equal(loaded.embed_texts(tokens), dual.eval().embed_texts(tokens))
    with safe_open(path, "pt") as file:
        written = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert written == sum(p.numel() for p in dual.parameters())  # each weight once
    again = tmp_path / "again.safetensors"
    models.save(loaded, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_changed_weight_of_the_text_side_is_noticed(tmp_path):
    dual, path = pair(ONE), tmp_path / "pair.safetensors"
    models.save(dual, path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = file.metadata()
    tensors["text.encoder.table.weight"][0, 0] += 1
    from safetensors.torch import save_file

    save_file(tensors, path, about)
    with pytest.raises(ValueError, match="the file was changed"):
        models.load(f"file:{path}")


def test_pages_go_through_any_image_tower():
    image = small_image_tower()
    dual = models.DualTower(image, scratch.sharing("shared:pixels", image), 4, "any")
    assert dual.embed_texts(dual.text.tokenize(CAPTIONS)).shape == (5, 4)
    assert dual.text.frozen
    image.requires_grad_(True)
    assert not dual.text.frozen


def test_weights_of_the_text_side_follow_the_seed():
    one, same, other = (pair(ONE, seed=seed) for seed in (1, 1, 2))
    assert one.checksum == same.checksum
    assert not torch.equal(one.text.encoder.table.weight, other.text.encoder.table.weight)


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (MAP, "shared:pages", "expected a tower among shared:pixels, shared:words; got"),
        (MAP, "shared:pixels?separate=all", "expected separate as none or heads or embeddings"),
        (MAP, "shared:words?context=17", "expected context of at most 16, the positions of"),
        (MAP, "shared:words", "expected the option context=, which is missing"),
        (MAP, f"{ONE}&tokens=t5", "expected tokens as clip, sentencepiece:PATH"),
        ("scratch:vit?image=32&patch=8&width=32&depth=1&heads=4", "shared:pixels?packed=true",
         "expected an image tower like scratch:map"),
        ("scratch:vit?image=32&patch=8&width=32&depth=1&heads=4", ONE,
         "expected an image tower like scratch:map"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused_in_one_line(image, text, message):
    with pytest.raises(ValueError, match=message) as error:
        models.dual(image, text, 8)
    assert "\n" not in str(error.value)


def test_a_shared_tower_alone_is_refused():
    with pytest.raises(ValueError, match="name the image tower that it shares"):
        models.load("shared:pixels")


# --- other resolutions


@pytest.mark.parametrize(("old", "new"), [(4, 6), (14, 24), (7, 7), (6, 4)])
def test_grids_are_resized_as_big_vision_does(old, new):
    positions = torch.randn(1, old**2, 5, generator=torch.Generator().manual_seed(0))
    grid = positions[0].reshape(old, old, 5).double().numpy()
    expected = scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    got = resolution.resized_grid(positions.double(), new)
    torch.testing.assert_close(got[0], torch.from_numpy(expected).reshape(new**2, 5))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_pair_goes_on_at_a_larger_size(text, tmp_path):
    dual = pair(text, seed=2)
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    larger = models.continued(dual, 48)
    changed = {n for n, t in larger.state_dict().items() if not torch.equal(t, before[n])}
    shared = text.startswith("shared")
    places = {"image.encoder.pos_embed"} | ({"text.encoder.network.pos_embed"} if shared else set())
    assert changed == places
    assert all(torch.equal(tensor, before[name]) for name, tensor in dual.state_dict().items())
    assert larger.text.borrows == shared
    if shared:
        assert larger.text.encoder.network is larger.image.encoder
        assert (larger.text_proj is larger.image_proj) == (dual.text_proj is dual.image_proj)
        tokens = larger.text.tokenize(CAPTIONS)
        assert tokens.get("pixels", torch.empty(5, 48, 48)).shape == (5, 48, 48)
    assert larger.embed_images(pictures(side=48)).shape == (5, 8)
    loss = larger.embed_texts(larger.text.tokenize(CAPTIONS)).sum()
    loss.backward()
    models.save(larger, tmp_path / "larger.safetensors")
    assert models.load(f"file:{tmp_path}/larger.safetensors").checksum == larger.checksum


# --- the paper's models

PUBLISHED = {
    "CLIP*": 203, "CLIPPO untied": 186, "1T-CLIP": 118, "CLIPPO": 93,
    "CLIPPO separate heads": 94, "CLIPPO separate embeddings": 94,
    "CLIPPO separate embeddings and heads": 94, "1T-CLIP L/16": 349, "CLIPPO L/16": 316,
    "1T-CLIP 384px": 118, "CLIPPO 384px": 93, "1T-CLIP L/16 384px": 349, "CLIPPO L/16 384px": 317,
}  # fmt: skip
"""Column `#param.` of Tables 6 and 9, in millions."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_papers_cut_to_whole_millions(name):
    model = clippo.listed()[name]
    assert model.millions == PUBLISHED[name]
    assert model.build().embed == 768
    assert all(weight.is_meta for weight in model.build().parameters())


def test_every_model_of_the_paper_is_there():
    assert clippo.listed().keys() == PUBLISHED.keys()
    table = clippo.counts().set_index("model")["#param."]
    assert table["CLIPPO"] == "93M"


def test_the_count_of_clippo_is_the_sum_of_its_parts():
    width, patches, hidden = 768, 196, 3072
    norm, square = 2 * width, width**2 + width
    mlp = 2 * width * hidden + hidden + width
    block = 2 * norm + 4 * square + mlp
    embedding = 3 * 16**2 * width + width + patches * width
    pool = width + 4 * square + norm + mlp
    expected = embedding + 12 * block + norm + pool + square + 1
    assert clippo.listed()["CLIPPO"].parameters == expected == 93_474_817


def test_the_scale_begins_at_the_papers_ten():
    assert math.exp(family.LOG_SCALE_INIT) == pytest.approx(10, abs=1e-12)
