"""`cached_step` against the step that holds every graph at once."""

import multiprocessing

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training import cached_ranks
from tests.training.cached_ranks import Pair, batch, grads
from towers import models
from towers.losses import clip_loss, tiled_clip_loss
from towers.training.caching import cached_step, chunk_seed

torch.set_num_threads(1)


def plain_step(model, images, texts, loss_of, chunk, seed, backward=torch.Tensor.backward):
    """All graphs at once; the random draws of each chunk are its own here as well."""
    outputs = []
    for number, start in enumerate(range(0, len(images), chunk)):
        rows = slice(start, start + chunk)
        torch.manual_seed(chunk_seed(seed, number))
        outputs.append(model(images[rows], {name: x[rows] for name, x in texts.items()}))
    image_embeds, text_embeds, scales = zip(*outputs, strict=True)
    loss = loss_of(torch.cat(image_embeds), torch.cat(text_embeds), scales[-1])
    backward(loss)
    return loss.detach()


def both(chunk, seed=0, loss_of=clip_loss, count=cached_ranks.BATCH, **arguments):
    """Loss and gradients of the plain and of the cached step."""
    found = []
    for step in (plain_step, cached_step):
        model = Pair(**arguments)
        loss = step(model, *batch(count), loss_of, chunk=chunk, seed=seed)
        found.append({"loss": loss, **grads(model)})
    return found


def assert_equal(actual, expected, tolerance=1e-12):
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            actual[name],
            expected[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: n + m,
        )


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 14), chunk=st.integers(1, 16), seed=st.integers(0, 2**40))
def test_with_dropout_the_cached_step_is_the_plain_step(count, chunk, seed):
    plain, cached = both(chunk, seed, count=count)
    assert_equal(cached, plain)
    assert "log_scale" in cached


def test_float32_agrees_to_1e_6():
    found = []
    for step in (plain_step, cached_step):
        model = Pair(dtype=torch.float32)
        loss = step(model, *batch(dtype=torch.float32), clip_loss, chunk=5, seed=1)
        found.append({"loss": loss, **grads(model)})
    assert_equal(found[1], found[0], tolerance=1e-6)


def test_the_tiled_loss_serves_as_well():
    dense, _ = both(5, loss_of=clip_loss)
    _, tiled = both(5, loss_of=lambda *embeds: tiled_clip_loss(*embeds, tile=4))
    assert_equal(tiled, dense)


def test_without_dropout_all_chunk_sizes_agree():
    results = [both(chunk, dropout=0.0)[1] for chunk in (1, 5, 6, 11, 12, 100)]
    for result in results:
        assert_equal(result, results[-1])


def test_seeds_matter_and_repeat():
    first, again, other = (both(4, seed)[1] for seed in (1, 1, 2))
    assert_equal(first, again, tolerance=0)
    assert not torch.equal(first["loss"], other["loss"])


def test_chunks_draw_differently():
    """Twice the same pairs, in two chunks: the same seeds would drop the same entries."""
    images, texts = batch(4)
    images, texts = images.repeat(2, 1), {name: torch.cat([x, x]) for name, x in texts.items()}
    seen = []

    def loss_of(image_embeds, text_embeds, scale):
        seen.append(image_embeds.detach())
        return clip_loss(image_embeds, text_embeds, scale)

    cached_step(Pair(), images, texts, loss_of, chunk=4, seed=0)
    assert not torch.equal(seen[0][:4], seen[0][4:])


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    cached_step(Pair(), *batch(), clip_loss, chunk=4, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_add_to_those_that_are_there():
    model = Pair()
    once, twice = (
        [cached_step(model, *batch(), clip_loss, chunk=5, seed=0), grads(model)] for _ in range(2)
    )
    model = Pair()
    cached_step(model, *batch(), clip_loss, chunk=5, seed=0)
    for name, grad in grads(model).items():
        torch.testing.assert_close(twice[1][name], 2 * grad)
    assert torch.equal(once[0], twice[0])


def test_only_one_chunk_has_a_graph_at_a_time():
    alive, most = 0, 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, embeds):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return embeds.clone()

        @staticmethod
        def backward(ctx, grad):
            nonlocal alive
            alive -= 1
            return grad

    model, calls = Pair(), []

    def embed(images, texts):
        image_embeds, text_embeds, scale = model(images, texts)
        calls.append(torch.is_grad_enabled())
        graph = image_embeds.requires_grad
        return Counted.apply(image_embeds) if graph else image_embeds, text_embeds, scale

    cached_step(embed, *batch(12), clip_loss, chunk=3, seed=0)
    assert (alive, most) == (0, 1)
    assert calls == [False] * 3 + [True] * 4  # the last chunk is computed only once


@pytest.mark.parametrize("part", ["image", "text", "log_scale"])
def test_a_locked_part_gets_no_gradient_and_the_others_theirs(part):
    _, free = both(5)
    model = Pair()
    getattr(model, part).requires_grad_(False)
    cached_step(model, *batch(), clip_loss, chunk=5, seed=0)
    left = {name: grad for name, grad in free.items() if not name.startswith(("loss", part))}
    assert_equal(grads(model), left)


def test_a_model_that_learns_nothing_still_tells_its_loss():
    model = Pair().requires_grad_(False)
    loss = cached_step(model, *batch(), clip_loss, chunk=5, seed=0)
    assert torch.equal(loss, both(5)[1]["loss"])
    assert not grads(model)


def test_under_one_autocast_the_weights_still_learn():
    """Autocast remembers weights that it cast, also those cast where no graph was wanted."""
    results = []
    for step in (plain_step, cached_step):
        model = Pair(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            step(model, *batch(dtype=torch.float32), clip_loss, chunk=5, seed=0)
        results.append(grads(model))
    # the sum over chunks of bfloat16 gradients is rounded once more in the plain step's graph
    assert_equal(results[1], results[0], tolerance=2e-2)


def test_a_loss_scaler_multiplies_every_gradient_once():
    """As `accelerator.backward` does in fp16: the optimiser divides by the same factor."""
    scaled, plain = Pair(), Pair()
    factor = 2.0**16
    for model, by in ((scaled, factor), (plain, 1.0)):
        cached_step(
            model,
            *batch(),
            clip_loss,
            chunk=5,
            seed=0,
            backward=lambda x, by=by: (x * by).backward(),
        )
    assert_equal({n: g / factor for n, g in grads(scaled).items()}, grads(plain))


def test_all_but_the_last_chunk_go_back_without_synchronising():
    events = []

    class Quiet:
        def __enter__(self):
            events.append("quiet")

        def __exit__(self, *_):
            events.append("loud")

    class Noting(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, *inputs):
            events.append("graph" if torch.is_grad_enabled() else "none")
            return self.pair(*inputs)

    cached_step(Noting(), *batch(12), clip_loss, chunk=4, seed=0, no_sync=Quiet)
    assert events == ["none"] * 2 + ["quiet", "graph", "loud"] * 2 + ["graph"]
    events.clear()
    cached_step(Noting(), *batch(4), clip_loss, chunk=4, seed=0, no_sync=Quiet)
    assert events == ["graph"]


@pytest.mark.slow
def test_two_ranks_with_ddp_and_the_sharded_loss_equal_one_process(tmp_path):
    multiprocessing.set_forkserver_preload(["torch.distributed.nn"])
    started = mp.start_processes(
        cached_ranks.work, (tmp_path / "store", tmp_path), 2, join=False, start_method="forkserver"
    )
    while not started.join(timeout=60):
        pass
    model = Pair(dropout=0.0)
    loss = plain_step(model, *batch(), clip_loss, chunk=12, seed=0)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert_equal(found["grads"], grads(model))
        for given_loss in found["losses"]:
            torch.testing.assert_close(given_loss, 2 * loss)


@pytest.mark.parametrize(("images", "texts", "chunk"), [(4, 4, 0), (4, 3, 2), (0, 0, 2)])
def test_what_makes_no_chunks_is_refused(images, texts, chunk):
    with pytest.raises(ValueError, match=f"as many images as texts, .* got chunk {chunk}"):
        cached_step(Pair(), batch(images)[0], batch(texts)[1], clip_loss, chunk=chunk, seed=0)


def test_patch_dropping_agrees_between_the_passes():
    """A real pair in training mode: half of each picture's patches are left out, drawn anew."""
    found = []
    for step in (plain_step, cached_step):
        dual = models.dual(
            "scratch:vit?image=32&patch=8&width=32&depth=1&heads=2&patch_drop=0.5",
            "scratch:transformer?width=32&depth=1&heads=2&context=8",
            embed=8,
        ).train()

        def embed(images, texts, dual=dual):
            return dual.embed_images(images), dual.embed_texts(texts), dual.logit_scale

        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        texts = dual.text.tokenize([f"picture {number}" for number in range(6)])
        loss = step(embed, images, texts, clip_loss, chunk=4, seed=7)
        found.append({"loss": loss, **grads(dual)})
    assert_equal(found[1], found[0], tolerance=1e-6)
