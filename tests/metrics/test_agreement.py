"""F1, Matthews and Spearman against scikit-learn and SciPy, and what guessing gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as peer

from towers.metrics import agreement, f1, matthews, pearson, spearman

EXACT = 1e-12  # a few float64 operations in another order

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(seeds, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_two_classes_score_as_scikit_learn_scores_them(seed, share, right):
    rng = np.random.default_rng(seed)
    labels = (rng.random(30) < share).astype(int)
    predictions = np.where(rng.random(30) < right, labels, 1 - labels)
    assert f1(predictions, labels) == pytest.approx(
        peer.f1_score(labels, predictions, zero_division=0), abs=EXACT
    )
    assert matthews(predictions, labels) == pytest.approx(
        peer.matthews_corrcoef(labels, predictions), abs=EXACT
    )


@given(seeds, st.booleans())
@settings(max_examples=40, deadline=None)
def test_ranks_correlate_as_scipy_correlates_them(seed, tied):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, 40).astype(float) if tied else rng.normal(size=40)
    targets = rng.integers(0, 4, 40).astype(float) if tied else scores + rng.normal(size=40)
    assert spearman(scores, targets) == pytest.approx(
        stats.spearmanr(scores, targets).statistic, abs=EXACT
    )


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_all_are_symmetric_and_spearman_knows_only_ranks(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, (2, 25))
    assert f1(first, second) == f1(second, first)
    assert matthews(first, second) == pytest.approx(matthews(second, first), abs=EXACT)
    scores = rng.normal(size=25)
    assert spearman(np.exp(scores), first) == spearman(scores, first)


def test_an_answer_that_is_always_the_same_knows_nothing():
    labels = np.array([1, 1, 0, 1])
    for answer in (0, 1):
        assert matthews(np.full(4, answer), labels) == 0
        assert spearman(np.full(4, float(answer)), labels.astype(float)) == 0
    assert f1(np.zeros(4, int), labels) == 0
    assert f1(np.zeros(4, int), np.zeros(4, int)) == 0


def test_guessing_gives_what_the_paper_prints_for_an_untrained_network():
    # Table 8, "ViT from scratch": MRPC 81.2 (279 of its 408 pairs are paraphrases), RTE 52.7 (146
    # of 277 follow), COLA 0.0
    mrpc = np.repeat([1, 0], [279, 408 - 279])
    rte = np.repeat([1, 0], [146, 277 - 146])
    assert round(100 * agreement.guessed_f1(mrpc), 1) == 81.2
    assert round(100 * agreement.guessed_accuracy(rte), 1) == 52.7
    assert agreement.guessed_correlation(rte) == 0.0


@pytest.mark.parametrize("metric", [f1, matthews])
def test_other_classes_than_two_are_refused(metric):
    with pytest.raises(ValueError, match=r"expected classes 0 and 1, got \[0.0, 2.0\]"):
        metric(np.array([0, 2]), np.array([0, 1]))


@pytest.mark.parametrize("metric", [f1, matthews, spearman])
def test_vectors_that_do_not_fit_are_refused(metric):
    for first, second in (([0, 1], [0]), ([], []), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="expected two vectors of one length"):
            metric(np.array(first), np.array(second))


def test_scores_that_are_not_finite_are_refused():
    for scores, targets in (([0.0, np.nan], [0.0, 1.0]), ([0.0, 1.0], [0.0, np.nan])):
        for metric in (spearman, pearson):
            with pytest.raises(ValueError, match="expected finite scores"):
                metric(np.array(scores), np.array(targets))


def test_two_items_that_agree_agree_wholly():
    assert matthews(np.array([0, 1]), np.array([0, 1])) == pytest.approx(1)
    assert f1(np.array([0, 1]), np.array([0, 1])) == 1
    assert spearman(np.array([0.1, 0.2]), np.array([5.0, 7.0])) == pytest.approx(1)


@given(seeds)
def test_units_do_not_matter_to_a_correlation_and_rounding_takes_none_beyond_one(seed):
    first, second = np.random.default_rng(seed).normal(size=(2, 20))
    peers = stats.pearsonr(first, second).statistic
    assert pearson(1e-9 * first, 1e9 * second) == pytest.approx(peers, abs=EXACT)
    assert pearson(first, 3 * first + 1) <= 1


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e9])
def test_what_varies_by_rounding_alone_correlates_with_nothing(value):
    still = np.full(100, value)
    assert pearson(still, np.arange(100.0)) == pearson(np.arange(100.0), still) == 0
    still[7] = np.nextafter(value, np.inf) if value else 0
    assert pearson(still, np.arange(100.0)) == 0


def test_rounding_never_takes_a_correlation_beyond_minus_one():
    for items in range(2, 40):  # of 7, where 4 are of one class, the quotient lies below -1
        for ones in range(1, items):
            labels = (np.arange(items) < ones).astype(int)
            assert matthews(1 - labels, labels) >= -1
