"""`tiled_clip_loss` against `clip_loss`: values, gradients, refusals and memory."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.pairs import after, leaves, unit_pairs
from towers.losses import blocks, clip_loss, tiled_clip_loss

torch.set_num_threads(1)


@settings(max_examples=150, deadline=None)
@given(
    batch=st.integers(1, 40),
    embed=st.integers(1, 9),
    tile=st.integers(1, 50),
    scale=st.floats(1e-3, 1e4),
    noise=st.floats(0, 10),
    seed=st.integers(0, 2**31 - 1),
)
@pytest.mark.slow
def test_any_batch_and_tile_has_the_dense_value_and_gradients(
    batch, embed, tile, scale, noise, seed
):
    images, texts = unit_pairs(batch, embed, seed, noise=noise)
    dense = after(clip_loss, images, texts, scale)
    tiled = after(lambda *x: tiled_clip_loss(*x, tile), images, texts, scale)
    for expected, actual in zip(dense, tiled, strict=True):
        # float64 logits of up to 1e4 are right to 1e-12, and gradients are scaled by up to 1e4
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12 * (1 + scale))


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 60.0, 100.0])
@pytest.mark.parametrize("noise", [0.5, 2.0, 1e6])
def test_float32_agrees_as_well_as_the_dense_loss_agrees_with_float64(scale, noise):
    images, texts = unit_pairs(200, 16, seed=0, dtype=torch.float32, noise=noise)
    exact = after(clip_loss, images.double(), texts.double(), scale)
    dense = after(clip_loss, images, texts, scale, torch.float32)
    tiled = after(lambda *x: tiled_clip_loss(*x, 64), images, texts, scale, torch.float32)
    for truth, theirs, ours in zip(exact, dense, tiled, strict=True):
        # a pair's error is what is left of 1 - 1, known to 2 ** -23, and logits multiply it
        allowed = 3 * (theirs - truth).abs().max() + 2e-6 * truth.abs().max() + 2**-24 * scale
        assert (ours - truth).abs().max() <= allowed


def test_gradients_agree_with_finite_differences():
    inputs = leaves(*unit_pairs(5, 3, seed=2), 5.0)
    assert torch.autograd.gradcheck(lambda i, t, s: tiled_clip_loss(i, t, s.exp(), 2), inputs)


@pytest.mark.parametrize("tile", [7, 64, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "scale"), [(2, 1.0), (7, 1 / 0.07), (64, 5.0), (64, 100.0)])
def test_orthonormal_pairs_have_the_closed_form(batch, scale, dtype, tile):
    pairs = torch.eye(batch, dtype=dtype)
    loss = tiled_clip_loss(pairs, pairs, torch.tensor(scale, dtype=dtype), tile)
    expected = math.log1p((batch - 1) * math.exp(-scale))
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=2**-23)  # as for `clip_loss`


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_collapsed_embeddings_score_chance(scale):
    one = torch.full((50, 16), 0.25, dtype=torch.float64)
    loss = tiled_clip_loss(one, one, torch.tensor(scale), 16)
    assert loss.item() == pytest.approx(math.log(50), rel=1e-6)


def test_pairs_that_are_opposites_at_scale_100_take_the_running_maxima():
    """Logits of -100 beside 100: one reference for all would lose the pairs' own terms."""
    images, _ = unit_pairs(30, 4, seed=1, dtype=torch.float32)
    queries = images * (100 * blocks.BITS)
    assert blocks.reference_for(blocks.bounds(queries, -images)) is None
    assert blocks.reference_for(blocks.bounds(queries, images)) is not None
    dense = after(clip_loss, images, -images, 100.0, torch.float32)
    tiled = after(lambda *x: tiled_clip_loss(*x, 8), images, -images, 100.0, torch.float32)
    for expected, actual in zip(dense, tiled, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("query", "key", "lowest", "expected"),
    [
        (79.9, 1.0, -79.9, 0.0),  # opposites at a scale of 55
        (80.1, 1.0, -80.1, None),
        (72.0, 2.0, 0.0, 48.0),  # float32 holds less than 2 ** 128: 144 - 0.75 * 128
        (72.0, 2.0, -31.9, 48.0),
        (72.0, 2.0, -32.1, None),  # 2 ** -80.1 is too small
        (0.5, 0.5, 0.25, 0.0),
    ],
)
def test_the_reference_leaves_room_above_and_below(query, key, lowest, expected):
    assert blocks.reference_for(torch.tensor([query, key, -lowest])) == expected


def test_bounds_are_the_largest_norms_and_the_lowest_logit_of_a_pair():
    queries, keys = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [5.0, 2.0]])
    assert blocks.bounds(queries, keys).tolist() == pytest.approx([5, math.sqrt(29), -2])


@pytest.mark.parametrize("reference", [0.0, 3.0, None])
@pytest.mark.parametrize(("rows", "offset"), [(5, 0), (4, 3), (3, 6)])
def test_some_rows_of_the_logits_have_the_sums_and_errors_of_the_dense_ones(
    rows, offset, reference
):
    """As on one rank of several, whose keys come in two shards."""
    draws = torch.Generator().manual_seed(rows)
    queries, keys = (
        3 * torch.randn(count, 4, generator=draws, dtype=torch.float64) for count in (rows, 9)
    )
    shards = [(0, keys[:4]), (4, keys[4:])]
    sums = blocks.Sums.empty(queries, 9, reference, offset)
    for first, part in shards:
        sums.add(queries, part, 2, first)
    nats = queries @ keys.T / blocks.BITS
    own = offset + torch.arange(rows)
    positives = nats[torch.arange(rows), own]
    per_row, per_column = nats.logsumexp(1), nats.logsumexp(0)
    torch.testing.assert_close((sums.row_sums.log2() + sums.row_peaks) / blocks.BITS, per_row)
    torch.testing.assert_close(
        (sums.column_sums.log2() + sums.column_peaks) / blocks.BITS, per_column
    )
    torch.testing.assert_close(sums.positives / blocks.BITS, positives)
    torch.testing.assert_close(sums.nats(), (per_row + per_column[own] - 2 * positives).sum())
    errors = nats.softmax(1) + nats.softmax(0)
    errors[torch.arange(rows), own] -= 2
    for first, part in shards:
        on_queries, on_keys = torch.zeros_like(queries), torch.zeros_like(part)
        sums.pull(queries, part, 2, on_queries, on_keys, first)
        here = errors[:, first : first + len(part)]
        torch.testing.assert_close(on_queries, here @ part)
        torch.testing.assert_close(on_keys, here.T @ queries)


def test_one_hot_outlier_among_small_rows_keeps_every_digit():
    """Rows whose logits are 100 times smaller than the largest one's, in one tile."""
    images, texts = unit_pairs(20, 6, seed=3, dtype=torch.float32)
    images[4] *= 300
    dense = after(clip_loss, images, texts, 2.0, torch.float32)
    tiled = after(lambda *x: tiled_clip_loss(*x, 16), images, texts, 2.0, torch.float32)
    for expected, actual in zip(dense, tiled, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_embeddings_are_contrasted_in_float32(autocast):
    images, texts = unit_pairs(40, 24, seed=5, dtype=torch.bfloat16)
    scale = torch.tensor(100.0, requires_grad=True)
    inputs = [images.requires_grad_(), texts.requires_grad_()]
    dense = clip_loss(*inputs, scale)
    expected = torch.autograd.grad(dense, [*inputs, scale])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):  # backward inside it as well
        tiled = tiled_clip_loss(*inputs, scale, 16)
        actual = torch.autograd.grad(tiled, [*inputs, scale])
    assert tiled.dtype == torch.float32
    # float32 logits near 100 are 8e-6 apart; bfloat16 ones would be off by up to 0.25
    assert tiled.item() == pytest.approx(dense.item(), abs=2e-5)
    for wanted, found in zip(expected, actual, strict=True):
        assert found.dtype == wanted.dtype
        # one bfloat16 step, 2 ** -8, may part two roundings
        torch.testing.assert_close(found, wanted, rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 100.0, 1e4, 1e30])
def test_extreme_scales_keep_loss_and_gradients_finite(scale, dtype):
    images, texts = unit_pairs(20, 8, seed=6, dtype=dtype)
    found = after(lambda *x: tiled_clip_loss(*x, 6), images, texts, scale, torch.float32)
    assert all(torch.isfinite(x).all() for x in found)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_no_number_spreads_as_in_the_dense_loss(bad, side):
    pairs = unit_pairs(9, 3, seed=7)
    pairs[side][2, 1] = bad
    dense = after(clip_loss, *pairs, 10.0)
    tiled = after(lambda *x: tiled_clip_loss(*x, 4), *pairs, 10.0)
    assert math.isnan(tiled[0])
    for expected, actual in zip(dense, tiled, strict=True):
        assert torch.equal(actual.isnan(), expected.isnan())


@pytest.mark.parametrize(
    "wanted", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)]
)
def test_only_what_needs_a_gradient_gets_one(wanted):
    inputs = leaves(*unit_pairs(11, 4, seed=8), 20.0)
    inputs[2] = inputs[2].detach().exp()
    asked = [x.requires_grad_(bool(want)) for x, want in zip(inputs, wanted, strict=True)]
    asked = [x for x in asked if x.requires_grad]
    expected = torch.autograd.grad(clip_loss(*inputs), asked)
    actual = torch.autograd.grad(tiled_clip_loss(*inputs, 4), asked)
    torch.testing.assert_close(actual, expected)


def test_nothing_is_recorded_where_nothing_needs_a_gradient():
    images, texts = unit_pairs(6, 4, seed=8)
    assert tiled_clip_loss(images, texts, torch.tensor(3.0)).grad_fn is None


def test_the_gradient_of_what_follows_is_multiplied_in():
    images, texts = unit_pairs(10, 4, seed=9)
    dense = after(lambda *x: clip_loss(*x) ** 2, images, texts, 10.0)
    tiled = after(lambda *x: tiled_clip_loss(*x, 3) ** 2, images, texts, 10.0)
    torch.testing.assert_close(tiled, dense)


def test_a_second_derivative_is_refused():
    images, texts, log_scale = leaves(*unit_pairs(4, 3, seed=0), 2.0)
    loss = tiled_clip_loss(images, texts, log_scale.exp())
    with pytest.raises(RuntimeError, match=r"got create_graph=True; use clip_loss"):
        torch.autograd.grad(loss, images, create_graph=True)


@pytest.mark.parametrize(
    ("images", "texts", "scale"),
    [
        (torch.zeros(4, 8), torch.zeros(5, 8), 1.0),
        (torch.zeros(0, 8), torch.zeros(0, 8), 1.0),
        (torch.zeros(3), torch.zeros(3), 1.0),
        (torch.zeros(2, 2), torch.zeros(2, 2), 0.0),
        (torch.zeros(2, 2), torch.zeros(2, 2), math.nan),
        (torch.zeros(2, 2), torch.zeros(2, 2), (1.0,)),
    ],
)
def test_it_refuses_what_the_dense_loss_refuses_in_the_same_words(images, texts, scale):
    with pytest.raises(ValueError, match="expected") as dense:
        clip_loss(images, texts, torch.tensor(scale))
    with pytest.raises(ValueError, match=re.escape(str(dense.value))):
        tiled_clip_loss(images, texts, torch.tensor(scale))


@pytest.mark.parametrize("tile", [0, -3])
def test_a_tile_that_holds_nothing_is_refused(tile):
    with pytest.raises(ValueError, match=f"at least 1 row, got {tile}"):
        tiled_clip_loss(*unit_pairs(2, 2, seed=0), torch.tensor(1.0), tile)


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the largest tensor that any operation makes, and counts multiply-adds."""

    def __init__(self):
        super().__init__()
        self.largest, self.products = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made._is_view():
            self.largest = max(self.largest, made.numel())
        matrices = [x for x in args if isinstance(x, torch.Tensor) and x.ndim == 2]
        if func.overloadpacket.__name__ in ("mm", "addmm", "addmm_"):
            *_, left, right = matrices
            self.products += left.shape[0] * left.shape[1] * right.shape[1]
        return made


def test_four_matrix_products_and_no_matrix_of_logits():
    batch, embed, tile = 96, 8, 16
    images, texts, log_scale = leaves(*unit_pairs(batch, embed, seed=0), 10.0)
    with _Largest() as seen:
        tiled_clip_loss(images, texts, log_scale.exp(), tile).backward()
    assert seen.largest == batch * embed  # embeddings and their gradients
    # forward counts here; backward runs with the mode too, as it is called inside
    assert seen.products == 4 * batch * batch * embed
    with _Largest() as dense:
        clip_loss(images, texts, log_scale.exp()).backward()
    assert dense.largest == batch**2
