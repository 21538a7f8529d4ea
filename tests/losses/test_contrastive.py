"""`clip_loss` against closed forms, a float64 oracle, open_clip, and its own symmetries."""

import math

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from towers.losses import LOG_SCALE_INIT, LOG_SCALE_MAX, clip_loss

torch.set_num_threads(1)

shapes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**31 - 1))
scales = st.floats(0.01, 100)


def unit_pairs(batch, embed, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, batch, embed, generator=generator, dtype=torch.float64)
    return F.normalize(image, dim=-1).to(dtype), F.normalize(text, dim=-1).to(dtype)


def figure_3(image_embeds, text_embeds, logit_scale):
    """The paper's pseudocode in float64 numpy, row by row, with nothing but log and exp."""
    logits = np.float64(logit_scale) * np.dot(image_embeds, text_embeds.T)
    n = len(logits)
    loss_i = [np.log(np.exp(logits[:, k] - logits[k, k]).sum()) for k in range(n)]  # axis 0
    loss_t = [np.log(np.exp(logits[k, :] - logits[k, k]).sum()) for k in range(n)]  # axis 1
    return (sum(loss_i) / n + sum(loss_t) / n) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "scale"), [(2, 1.0), (7, 1 / 0.07), (64, 5.0), (64, 100.0)])
def test_orthonormal_pairs_have_the_closed_form(batch, scale, dtype):
    pairs = torch.eye(batch, dtype=dtype)
    loss = clip_loss(pairs, pairs, torch.tensor(scale, dtype=dtype))
    expected = math.log1p((batch - 1) * math.exp(-scale))
    # the sum inside the log lies just above 1, where float32 steps by 2**-23
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=2**-23)


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_a_vanishing_scale_gives_chance(batch):
    image, text = unit_pairs(batch, 8, seed=0)
    loss = clip_loss(image, text, torch.tensor(1e-12, dtype=torch.float64))
    assert loss.item() == pytest.approx(math.log(batch), abs=1e-11)  # first order in the scale


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_collapsed_embeddings_score_chance(scale):
    one = F.normalize(torch.ones(1, 16), dim=-1).expand(50, 16)
    assert clip_loss(one, one, torch.tensor(scale)).item() == pytest.approx(math.log(50), rel=1e-6)


def test_a_batch_of_one_costs_nothing_and_pulls_nowhere():
    image, text = (x.requires_grad_() for x in unit_pairs(1, 5, seed=3))
    loss = clip_loss(image, text, torch.tensor(14.0))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(image.grad) == torch.count_nonzero(text.grad) == 0


@settings(max_examples=100, deadline=None)
@given(shapes, scales)
def test_it_is_figure_3(shape, scale):
    image, text = unit_pairs(*shape)
    loss = clip_loss(image, text, torch.tensor(scale, dtype=torch.float64))
    # float64 logits of at most 100 are right to 1e-14, and the oracle takes no maximum off
    assert loss.item() == pytest.approx(figure_3(image.numpy(), text.numpy(), scale), abs=1e-11)


@settings(max_examples=50, deadline=None)
@given(shapes, scales, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(shape, scale, random):
    image, text = unit_pairs(*shape)
    order = random.sample(range(shape[0]), shape[0])
    scale = torch.tensor(scale, dtype=torch.float64)
    torch.testing.assert_close(
        clip_loss(image[order], text[order], scale), clip_loss(image, text, scale)
    )


@settings(max_examples=50, deadline=None)
@given(shapes, scales)
def test_images_and_texts_can_change_places(shape, scale):
    image, text = unit_pairs(*shape)
    scale = torch.tensor(scale, dtype=torch.float64)
    torch.testing.assert_close(clip_loss(text, image, scale), clip_loss(image, text, scale))


@settings(max_examples=50, deadline=None)
@given(shapes, scales)
def test_a_shared_rotation_does_not_matter(shape, scale):
    image, text = unit_pairs(*shape)
    generator = torch.Generator().manual_seed(shape[2])
    noise = torch.randn(shape[1], shape[1], generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(noise)
    scale = torch.tensor(scale, dtype=torch.float64)
    torch.testing.assert_close(
        clip_loss(image @ rotation, text @ rotation, scale), clip_loss(image, text, scale)
    )


def test_moving_one_text_off_its_image_costs():
    image, text = unit_pairs(6, 4, seed=1)
    scale = torch.tensor(10.0, dtype=torch.float64)
    assert clip_loss(image, image, scale) < clip_loss(image, text, scale)


def test_gradients_agree_with_finite_differences():
    image, text = (x.requires_grad_() for x in unit_pairs(5, 3, seed=2))
    log_scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda i, t, s: clip_loss(i, t, s.exp()), (image, text, log_scale)
    )


@pytest.mark.parametrize("scale", [1 / 0.07, 100.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_values_and_gradients_equal_open_clip(scale, dtype, tolerance):
    """float32 logits near 100 are 8e-6 apart, so two orders of products may differ by 2e-5."""
    results = []
    for loss_of in (clip_loss, open_clip.ClipLoss()):
        image, text = (x.requires_grad_() for x in unit_pairs(48, 32, seed=4, dtype=dtype))
        log_scale = torch.tensor(math.log(scale), dtype=dtype, requires_grad=True)
        loss = loss_of(image, text, log_scale.exp())
        loss.backward()
        results.append((loss.detach(), image.grad, text.grad, log_scale.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert results[0][3].abs() > 0.01  # the scale's gradient is no zero against zero


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_embeddings_are_contrasted_in_float32(autocast):
    image, text = unit_pairs(40, 24, seed=5, dtype=torch.bfloat16)
    scale = torch.tensor(100.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = clip_loss(image, text, scale)
    exact = figure_3(image.double().numpy(), text.double().numpy(), 100.0)
    assert loss.dtype == torch.float32
    # float32 rounding of logits up to 100; bfloat16 logits would be off by up to 0.25
    assert loss.item() == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 100.0, 1e4, 1e30])
def test_extreme_scales_keep_loss_and_gradients_finite(scale, dtype):
    image, text = (x.requires_grad_() for x in unit_pairs(20, 8, seed=6, dtype=dtype))
    log_scale = torch.tensor(math.log(scale), requires_grad=True)
    loss = clip_loss(image, text, log_scale.exp())
    loss.backward()
    assert all(torch.isfinite(x).all() for x in (loss, image.grad, text.grad, log_scale.grad))


def test_nan_embeddings_give_a_nan_loss():
    image, text = unit_pairs(4, 3, seed=7)
    image[2, 1] = math.nan
    assert math.isnan(clip_loss(image, text, torch.tensor(10.0)))


@pytest.mark.parametrize(
    ("images", "texts"),
    [((4, 8), (5, 8)), ((4, 8), (4, 7)), ((8,), (8,)), ((2, 3, 4), (2, 3, 4)), ((0, 8), (0, 8))],
)
def test_other_shapes_are_refused_with_both_named(images, texts):
    with pytest.raises(ValueError, match="image_embeds") as error:
        clip_loss(torch.zeros(images), torch.zeros(texts), torch.tensor(1.0))
    assert f"{images} and {texts}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_a_scale_that_is_not_positive_and_finite_is_refused(scale):
    image, text = unit_pairs(3, 3, seed=8)
    with pytest.raises(ValueError, match=rf"finite logit_scale > 0, got {scale}"):
        clip_loss(image, text, torch.tensor(scale))


def test_a_scale_with_axes_is_refused():
    image, text = unit_pairs(3, 3, seed=9)
    with pytest.raises(ValueError, match=r"scalar tensor, got shape \(1,\)"):
        clip_loss(image, text, torch.tensor([10.0]))


def test_the_scale_starts_and_ends_where_the_paper_says():
    assert math.exp(LOG_SCALE_INIT) == pytest.approx(1 / 0.07)
    assert math.exp(LOG_SCALE_MAX) == pytest.approx(100)
