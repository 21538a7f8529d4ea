"""The predictive losses against closed forms, plain loops and torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from towers.losses import bag_of_words_loss, caption_loss

torch.set_num_threads(1)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


class TestBagOfWords:
    @pytest.mark.parametrize("words", [1, 2, 50])
    def test_equal_logits_cost_chance_whatever_the_bags(self, words):
        bags = (drawn(4, words) > 0).double()
        bags[:, 0] = 1
        loss = bag_of_words_loss(torch.full((4, words), 7.0, dtype=torch.float64), bags)
        assert loss.item() == pytest.approx(math.log(words), abs=1e-12)

    @pytest.mark.parametrize("present", [1, 3, 5])
    def test_certainty_costs_the_entropy_of_the_bag(self, present):
        bags = torch.zeros(1, 8)
        bags[0, :present] = 1
        loss = bag_of_words_loss(1000 * bags, bags)
        assert loss.item() == pytest.approx(math.log(present), abs=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10**6))
    def test_it_is_the_mean_over_texts_of_the_mean_over_words(self, batch, words, seed):
        logits = drawn(batch, words, seed=seed)
        bags = torch.randint(0, 3, (batch, words), generator=torch.Generator().manual_seed(seed))
        texts = []
        for row, bag in zip(logits, bags, strict=True):
            chances = row.exp() / row.exp().sum()
            found = [chances[k].log() for k in range(words) for _ in range(bag[k])]
            texts += [-sum(found) / len(found)] if found else []
        expected = float(sum(texts)) / len(texts) if texts else 0.0
        assert bag_of_words_loss(logits, bags).item() == pytest.approx(expected, abs=1e-12)

    def test_values_and_gradients_are_torchs_for_soft_targets(self):
        bags = (drawn(9, 11, seed=1) > 1).double()
        bags[:, 2] = 1
        found = []
        for loss_of in (
            bag_of_words_loss,
            lambda x, y: F.cross_entropy(x, y / y.sum(1, keepdim=True)),
        ):
            logits = drawn(9, 11).requires_grad_()
            loss = loss_of(logits, bags)
            loss.backward()
            found += [loss.detach(), logits.grad]
        torch.testing.assert_close(found[:2], found[2:], rtol=1e-12, atol=1e-12)

    def test_empty_bags_neither_cost_nor_count(self):
        logits = drawn(3, 4).requires_grad_()
        bags = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
        loss = bag_of_words_loss(logits, bags)
        loss.backward()
        assert loss.item() == bag_of_words_loss(logits[[0, 2]], bags[[0, 2]]).item()
        assert torch.count_nonzero(logits.grad[1]) == 0

    def test_nothing_but_empty_bags_costs_nothing(self):
        logits = drawn(3, 4).requires_grad_()
        loss = bag_of_words_loss(logits, torch.zeros(3, 4))
        loss.backward()
        assert loss.item() == 0
        assert torch.count_nonzero(logits.grad) == 0

    @pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
    def test_extreme_logits_keep_it_finite(self, size):
        logits = (size * drawn(4, 5).float()).requires_grad_()
        loss = bag_of_words_loss(logits, torch.ones(4, 5))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()

    def test_bfloat16_logits_are_summed_in_float32(self):
        logits = drawn(5, 6).bfloat16()
        loss = bag_of_words_loss(logits, torch.ones(5, 6))
        exact = bag_of_words_loss(logits.double(), torch.ones(5, 6))
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=1e-6)

    @pytest.mark.parametrize(
        ("logits", "bags"), [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (0, 3)), ((2, 0), (2, 0))]
    )
    def test_other_shapes_are_refused(self, logits, bags):
        with pytest.raises(ValueError, match=r"\(batch, words\)") as error:
            bag_of_words_loss(torch.zeros(logits), torch.zeros(bags))
        assert f"{logits} and {bags}" in str(error.value)


class TestCaption:
    def test_equal_logits_cost_chance(self):
        tokens = torch.tensor([[3, 4, 1, 0], [2, 1, 0, 0]])
        assert caption_loss(torch.zeros(2, 4, 9), tokens).item() == pytest.approx(math.log(9))

    def test_certainty_costs_nothing(self):
        tokens = torch.tensor([[3, 4, 1, 0]])
        assert caption_loss(1000.0 * F.one_hot(tokens, 6), tokens).item() == 0

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(1, 4), st.integers(1, 6), st.integers(2, 6), st.integers(0, 10**6), st.data()
    )
    def test_it_is_the_mean_over_all_tokens_that_are_not_padding(
        self, batch, count, words, seed, data
    ):
        pad = data.draw(st.integers(0, words - 1))
        logits = drawn(batch, count, words, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, words, (batch, count), generator=generator)
        costs = [
            -math.log(logits[i, t].exp()[tokens[i, t]] / logits[i, t].exp().sum())
            for i in range(batch)
            for t in range(count)
            if tokens[i, t] != pad
        ]
        expected = sum(costs) / max(1, len(costs))
        assert caption_loss(logits, tokens, pad).item() == pytest.approx(expected, abs=1e-12)

    def test_values_and_gradients_are_torchs(self):
        tokens = torch.tensor([[3, 4, 1, 0], [2, 1, 0, 0]])
        found = []
        for loss_of in (
            caption_loss,
            lambda x, y: F.cross_entropy(x.transpose(1, 2), y, ignore_index=0),
        ):
            logits = drawn(2, 4, 5).requires_grad_()
            loss = loss_of(logits, tokens)
            loss.backward()
            found += [loss.detach(), logits.grad]
        torch.testing.assert_close(found[:2], found[2:], rtol=1e-12, atol=1e-12)

    def test_nothing_but_padding_costs_nothing(self):
        logits = drawn(2, 3, 4).requires_grad_()
        loss = caption_loss(logits, torch.zeros(2, 3, dtype=torch.long))
        loss.backward()
        assert loss.item() == 0
        assert torch.count_nonzero(logits.grad) == 0

    @pytest.mark.parametrize("logits", [(2, 3), (2, 4, 5), (3, 3, 5), (2, 3, 0)])
    def test_other_shapes_are_refused(self, logits):
        with pytest.raises(ValueError, match=r"\(batch, tokens, vocabulary\)"):
            caption_loss(torch.zeros(logits), torch.ones(2, 3, dtype=torch.long))
