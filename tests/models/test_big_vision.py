"""Released CLIPPO weights: a made-up archive of the right names and shapes, and its own forward."""

import math

import numpy as np
import pytest
import torch

from tests.models import pages
from towers import models
from towers.models import big_vision
from towers.papers import clippo

torch.set_num_threads(1)

WIDTH, HEADS, DEPTH, PATCH, SIDE, EMBED = 32, 4, 2, 8, 4, 24
CAPTIONS = ["a red circle", "two", ""]

pytestmark = pytest.mark.usefixtures("pages")


def shapes():
    """Leaves of big_vision's one tower, from its own source, with their shapes."""
    dim, hidden = WIDTH // HEADS, 4 * WIDTH

    def attention(path):
        path = f"{path}/MultiHeadDotProductAttention_0"
        for part in ("query", "key", "value"):
            yield f"{path}/{part}/kernel", (WIDTH, HEADS, dim)
            yield f"{path}/{part}/bias", (HEADS, dim)
        yield f"{path}/out/kernel", (HEADS, dim, WIDTH)
        yield f"{path}/out/bias", (WIDTH,)

    def mlp(path):
        yield f"{path}/MlpBlock_0/Dense_0/kernel", (WIDTH, hidden)
        yield f"{path}/MlpBlock_0/Dense_0/bias", (hidden,)
        yield f"{path}/MlpBlock_0/Dense_1/kernel", (hidden, WIDTH)
        yield f"{path}/MlpBlock_0/Dense_1/bias", (WIDTH,)

    def norm(path):
        yield f"{path}/scale", (WIDTH,)
        yield f"{path}/bias", (WIDTH,)

    yield "t", (1,)
    yield "img/embedding/kernel", (PATCH, PATCH, 3, WIDTH)
    yield "img/embedding/bias", (WIDTH,)
    yield "img/pos_embedding", (1, SIDE**2, WIDTH)
    for block in range(DEPTH):
        path = f"img/Transformer/encoderblock_{block}"
        for part in (norm(f"{path}/LayerNorm_0"), attention(path), norm(f"{path}/LayerNorm_1"),
                     mlp(path)):  # fmt: skip
            yield from part
    yield from norm("img/Transformer/encoder_norm")
    yield "img/MAPHead_0/probe", (1, 1, WIDTH)
    for part in (attention("img/MAPHead_0"), norm("img/MAPHead_0/LayerNorm_0"),
                 mlp("img/MAPHead_0")):  # fmt: skip
        yield from part
    yield "img/head/kernel", (WIDTH, EMBED)
    yield "img/head/bias", (EMBED,)


def arrays():
    rng = np.random.default_rng(0)
    made = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes()}
    made["t"][:] = math.log(17)
    return made


def archive(path, made, root="params/"):
    moments = {"opt/0/mu": np.zeros(3), "chrono/steps": np.array(5)} if root else {}
    np.savez(path, **{root + name: value for name, value in made.items()}, **moments)
    return f"big_vision:{path}"


def reference(made, images):
    """big_vision's forward in float64, written from its names and shapes alone."""
    made = {name: value.astype(np.float64) for name, value in made.items()}

    def norm(states, path):
        centred = states - states.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return centred / spread * made[f"{path}/scale"] + made[f"{path}/bias"]

    def dense(states, path):
        return states @ made[f"{path}/kernel"] + made[f"{path}/bias"]

    def mlp(states, path):
        hidden = dense(states, f"{path}/MlpBlock_0/Dense_0")
        hidden = (
            0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        )
        return dense(hidden, f"{path}/MlpBlock_0/Dense_1")

    def attention(queries, states, path):
        path = f"{path}/MultiHeadDotProductAttention_0"
        query, key, value = (
            np.einsum("bnw,whd->bnhd", given, made[f"{path}/{part}/kernel"])
            + made[f"{path}/{part}/bias"]
            for part, given in (("query", queries), ("key", states), ("value", states))
        )  # fmt: skip
        scores = np.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(WIDTH // HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        seen = np.einsum("bhqk,bkhd->bqhd", weights, value)
        return (
            np.einsum("bqhd,hdw->bqw", seen, made[f"{path}/out/kernel"]) + made[f"{path}/out/bias"]
        )

    pictures = images.permute(0, 2, 3, 1).double().numpy()  # (batch, height, width, 3)
    cut = pictures.reshape(len(pictures), SIDE, PATCH, SIDE, PATCH, 3)
    states = np.einsum("bipjqc,pqcw->bijw", cut, made["img/embedding/kernel"])
    states = states.reshape(len(pictures), -1, WIDTH) + made["img/embedding/bias"]
    states = states + made["img/pos_embedding"]
    for block in range(DEPTH):
        path = f"img/Transformer/encoderblock_{block}"
        inner = norm(states, f"{path}/LayerNorm_0")
        states = states + attention(inner, inner, path)
        states = states + mlp(norm(states, f"{path}/LayerNorm_1"), path)
    states = norm(states, "img/Transformer/encoder_norm")
    probe = np.repeat(made["img/MAPHead_0/probe"], len(states), 0)
    pooled = attention(probe, states, "img/MAPHead_0")
    pooled = pooled + mlp(norm(pooled, "img/MAPHead_0/LayerNorm_0"), "img/MAPHead_0")
    embeds = dense(pooled[:, 0], "img/head")
    return embeds / (np.linalg.norm(embeds, axis=1, keepdims=True) + 1e-8)


@pytest.mark.parametrize("root", ["params/", ""])
def test_embeddings_are_those_of_its_own_forward(tmp_path, root):
    made = arrays()
    dual = models.load(archive(tmp_path / "clippo.npz", made, root))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        dual.embed_images(images).double(), torch.from_numpy(reference(made, images)),
        rtol=0, atol=1e-5,
    )  # fmt: skip
    page = torch.from_numpy(pages.render(CAPTIONS, size=32))
    rendered = (page[:, None].expand(-1, 3, -1, -1) / 255 - 0.5) / 0.5
    torch.testing.assert_close(
        dual.embed_texts(dual.text.tokenize(CAPTIONS)).double(),
        torch.from_numpy(reference(made, rendered)), rtol=0, atol=1e-5,
    )  # fmt: skip
    assert dual.logit_scale.item() == pytest.approx(17)
    assert dual.image.frozen
    assert dual.text.frozen


def test_every_leaf_is_used_exactly_once():
    sources = [source for _, taken, _ in big_vision.leaves(DEPTH) for source in taken]
    assert sorted(sources) == sorted(name for name, _ in shapes())
    ours = [name for name, *_ in big_vision.leaves(DEPTH)]
    assert len(set(ours)) == len(ours)


def test_the_names_of_a_whole_model_are_as_many_as_its_weights():
    """The released B/16: every number of the model comes from one of the archive's."""
    model = clippo.listed()["CLIPPO"].build()
    ours = {name for name, *_ in big_vision.leaves(12)}
    assert ours == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", [name for name, _ in shapes()])
def test_a_missing_leaf_is_one_line(tmp_path, name):
    made = arrays()
    del made[name]
    with pytest.raises(ValueError, match=name) as error:
        models.load(archive(tmp_path / "clippo.npz", made))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["img/cls", "txt/head/kernel", "img/Transformer/encoderblock_0/x"])
def test_an_unknown_leaf_is_one_line(tmp_path, name):
    path = archive(tmp_path / "clippo.npz", arrays() | {name: np.zeros(3)})
    with pytest.raises(ValueError, match=f"got {name!r}, which nothing here takes"):
        models.load(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("img/head/bias", (3,)), ("t", (2,)), ("img/Transformer/encoder_norm/scale", (WIDTH, 2)),
     ("img/embedding/kernel", (3, 3)), ("img/MAPHead_0/probe", (1, WIDTH))],
)  # fmt: skip
def test_another_shape_is_one_line(tmp_path, name, shape):
    path = archive(tmp_path / "clippo.npz", arrays() | {name: np.zeros(shape, np.float32)})
    with pytest.raises(ValueError, match="expected") as error:
        models.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04N."])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "clippo.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected an archive of big_vision's weights") as error:
        models.load(f"big_vision:{path}")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="No such file"):
        models.load(f"big_vision:{tmp_path}/none.npz")


def test_a_converted_pair_is_saved_and_loaded(tmp_path):
    dual = models.load(archive(tmp_path / "clippo.npz", arrays()))
    models.save(dual, tmp_path / "ours.safetensors")
    assert models.load(f"file:{tmp_path}/ours.safetensors").checksum == dual.checksum
    larger = models.continued(dual, 64)
    assert larger.image.transform.size == 64
