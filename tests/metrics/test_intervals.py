"""Intervals: closed forms, agreement with SciPy, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from towers.metrics import intervals, mean_per_class


@pytest.mark.parametrize("n", [1, 4, 157])
def test_clopper_pearson_at_the_ends_is_a_power(n):
    low, high = intervals.clopper_pearson(0, n)
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / n), rel=1e-9))
    low, high = intervals.clopper_pearson(n, n)
    assert (low, high) == (pytest.approx(0.025 ** (1 / n), rel=1e-9), 1)


@pytest.mark.parametrize(("successes", "n"), [(1, 10), (5, 10), (34, 157), (99, 100)])
def test_clopper_pearson_inverts_the_binomial_tails(successes, n):
    low, high = intervals.clopper_pearson(successes, n)
    assert stats.binom.sf(successes - 1, n, low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(successes, n, high) == pytest.approx(0.025, rel=1e-6)
    peer = stats.binomtest(successes, n).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((peer.low, peer.high), rel=1e-6)


def test_a_fractional_count_only_widens_the_interval():
    below, above = intervals.clopper_pearson(3, 20), intervals.clopper_pearson(4, 20)
    assert intervals.clopper_pearson(3.5, 20) == (below.low, above.high)


def test_clopper_pearson_covers_at_least_what_it_promises():
    rng = np.random.default_rng(0)
    for probability in (0.01, 0.3, 0.5):
        counts = rng.binomial(60, probability, size=2000)
        ends = np.array([intervals.clopper_pearson(count, 60) for count in range(61)])[counts]
        covered = np.mean((ends[:, 0] <= probability) & (probability <= ends[:, 1]))
        assert covered >= 0.95 - 0.015  # 3 standard errors of 2,000 simulations


def test_bootstrap_covers_a_mean_about_as_often_as_it_promises():
    rng = np.random.default_rng(0)
    covered = 0
    for repeat in range(600):
        values = rng.binomial(1, 0.3, size=100).astype(float)
        low, high = intervals.bootstrap(values, n_resamples=500, seed=repeat)
        covered += low <= 0.3 <= high
    assert 0.95 - 0.04 <= covered / 600 <= 0.95 + 0.03  # 3 s.e. are 0.027, and it runs narrow


def test_clustered_bootstrap_covers_where_the_plain_one_does_not():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    plain = clustered = 0
    for repeat in range(300):
        values = rng.normal(size=60)[groups] + 0.1 * rng.normal(size=300)
        low, high = intervals.bootstrap(values, n_resamples=400, seed=repeat)
        plain += low <= 0 <= high
        low, high = intervals.bootstrap(values, n_resamples=400, seed=repeat, groups=groups)
        clustered += low <= 0 <= high
    assert clustered / 300 >= 0.95 - 0.05
    assert plain / 300 <= 0.75


def test_bootstrap_width_is_the_standard_error_with_ddof_zero():
    values = np.random.default_rng(3).normal(size=400)
    low, high = intervals.bootstrap(values, n_resamples=20_000)
    expected = 2 * stats.norm.ppf(0.975) * values.std(ddof=0) / 20
    assert high - low == pytest.approx(expected, rel=0.03)  # quantile noise of 20,000 resamples


def test_the_quick_path_for_means_draws_the_same_resamples():
    values = np.random.default_rng(4).normal(size=30)
    groups = np.arange(30) // 4
    for given in (None, groups):
        quick = intervals.bootstrap(values, groups=given, n_resamples=50, seed=7)
        slow = intervals.bootstrap(
            values, lambda rows: rows.mean(), groups=given, n_resamples=50, seed=7
        )
        assert quick == pytest.approx(slow, abs=1e-12)  # the same sums in another order


def test_the_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    values = np.random.default_rng(5).normal(size=30)
    whole = intervals.bootstrap(values, n_resamples=100)
    for held in (90, 20):  # three resamples, and less than one
        monkeypatch.setattr(intervals, "DRAWS", held)
        assert intervals.bootstrap(values, n_resamples=100) == whole


def test_the_draws_are_those_of_the_seed():
    """What a seed draws is part of published intervals: items in their order, as many times."""
    values = np.random.default_rng(5).normal(size=30)
    drawn = values[np.random.default_rng(3).integers(0, 30, (200, 30))].mean(1)
    expected = np.quantile(drawn, [0.025, 0.975])
    ends = intervals.bootstrap(values, n_resamples=200, seed=3)
    assert ends == pytest.approx(expected, abs=1e-12)
    strata = np.repeat([0, 1], [10, 20])
    first, last = np.repeat([0, 10], [10, 20]), np.repeat([10, 30], [10, 20])
    drawn = values[np.random.default_rng(3).integers(first, last, (200, 30))].mean(1)
    ends = intervals.bootstrap(values, n_resamples=200, strata=strata, seed=3)
    assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


@pytest.mark.parametrize(
    ("interval", "draws"),
    [
        (intervals.bootstrap, True),
        (intervals.proportion, False),
        (
            lambda hits, **other: intervals.proportion_per_class(hits, np.arange(40) % 3, **other),
            True,
        ),
        (lambda hits, **other: intervals.paired_difference(hits, hits[::-1], **other), False),
    ],
)
def test_by_default_it_is_seed_0_and_2000_resamples_if_these_can_be_said(interval, draws):
    hits = np.random.default_rng(0).random(40)
    said = {"seed": 0, **({"n_resamples": 2000} if draws else {})}
    assert interval(hits) == interval(hits, **said)
    for name in said:
        assert interval(hits) != interval(hits, **said | {name: said[name] + 1})


def test_a_mean_over_more_axes_is_the_mean_of_everything_drawn():
    rows = np.random.default_rng(6).normal(size=(20, 3))
    same = {"n_resamples": 50, "seed": 2}
    assert intervals.bootstrap(rows, **same) == pytest.approx(
        intervals.bootstrap(rows.mean(1), **same), abs=1e-12
    )


def test_one_resample_of_one_item_is_the_item():
    assert intervals.bootstrap([0.25], n_resamples=1) == (0.25, 0.25)


def test_bootstrap_passes_rows_to_the_statistic_and_repeats_itself():
    rows = np.random.default_rng(6).normal(size=(50, 2))

    def slope(sample):
        return float(np.polyfit(sample[:, 0], sample[:, 1], 1)[0])

    first = intervals.bootstrap(rows, slope, n_resamples=200, seed=1)
    assert first == intervals.bootstrap(rows, slope, n_resamples=200, seed=1)
    assert first != intervals.bootstrap(rows, slope, n_resamples=200, seed=2)
    assert first.low < slope(rows) < first.high


def test_the_interval_holds_the_statistic_itself():
    values = np.arange(20.0)  # resamples of distinct values have fewer of them, never as many

    def distinct(rows):
        return float(len(np.unique(rows)))

    low, high = intervals.bootstrap(values, distinct, n_resamples=200)
    assert low < high == 20


def test_proportion_is_the_bootstrap_except_where_that_is_blind():
    hits = np.array([1.0, 0.0, 0.5, 0.0])
    groups = np.array([0, 0, 1, 1])
    assert intervals.proportion(hits, groups=groups) == intervals.bootstrap(hits, groups=groups)
    zeros = intervals.proportion(np.zeros(40), groups=np.arange(40) // 2)
    assert zeros == intervals.clopper_pearson(0, 20)
    assert intervals.proportion(np.ones(9)) == intervals.clopper_pearson(9, 9)
    assert intervals.proportion([1.0]) == intervals.clopper_pearson(1, 1)


def test_strata_keep_every_stratum_at_its_size():
    strata = np.array(["b"] * 4 + ["a"] * 3 + ["b"] * 2)
    seen = []

    def kept(rows):
        seen.append(tuple(np.bincount(rows.astype(int))))
        return rows.mean()

    numbers = np.where(strata == "a", 0.0, 1.0)
    assert intervals.bootstrap(numbers, kept, strata=strata, n_resamples=99) == (6 / 9, 6 / 9)
    assert set(seen) == {(3, 6)}


@pytest.mark.parametrize("groups", [None, np.arange(40) // 3])
def test_the_quick_mean_over_strata_is_that_of_the_resampled_items(groups):
    values, strata = np.random.default_rng(5).normal(size=40), np.arange(40) % 7
    same = {"groups": groups, "strata": strata, "n_resamples": 50, "seed": 7}
    slow = intervals.bootstrap(values, lambda rows: rows.mean(), **same)
    # the same sums in another order
    assert intervals.bootstrap(values, **same) == pytest.approx(slow, abs=1e-12)


def test_mean_per_class_is_resampled_within_classes():
    rng = np.random.default_rng(2)
    labels = np.repeat(["owl", "cat", "sea", "rare"], [400, 90, 30, 4])
    hits = rng.binomial(1, 0.4, len(labels)).astype(float)
    hits[-4:] = [1, 0, 1, 0]
    slow = intervals.bootstrap(
        np.column_stack([hits, np.unique(labels, return_inverse=True)[1]]),
        lambda rows: mean_per_class(rows[:, 0], rows[:, 1]),
        strata=labels,
        seed=3,
    )
    quick = intervals.proportion_per_class(hits, labels, seed=3)
    assert quick == pytest.approx(slow, abs=1e-12)  # the same sums in another order
    shares = [hits[labels == name] for name in np.unique(labels)]
    expected = np.sqrt(sum(part.var(ddof=0) / len(part) for part in shares)) / len(shares)
    low, high = intervals.proportion_per_class(hits, labels, n_resamples=20_000)
    # normal quantiles of a mean that one class of 4 dominates: its steps are 1/16
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * expected, abs=1 / 32)


def test_a_rare_class_never_leaves_the_mean():
    hits, labels = np.repeat([1.0, 0.0], [500, 2]), np.repeat([0, 1], [500, 2])
    assert intervals.proportion_per_class(hits, labels) == (0.5, 0.5)


def test_classes_of_one_item_are_drawn_among_each_other():
    hits = np.repeat([1.0, 0.0], [30, 70])
    low, high = intervals.proportion_per_class(hits, np.arange(100), n_resamples=20_000)
    # as the mean of items; its steps are 1/100, and quantiles are noisy by less
    assert (low, high) == pytest.approx(intervals.bootstrap(hits, n_resamples=20_000), abs=0.011)


def test_classes_of_one_item_are_a_stratum_of_their_own_beside_others():
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(9), [1, 1, 6, 1, 8, 1, 5, 1, 1])
    hits = rng.random(len(labels))
    weights = 1 / np.bincount(labels)[labels]
    strata = np.where(weights == 1, -1, labels)
    slow = intervals.bootstrap(
        np.column_stack([hits * weights, weights]),
        lambda rows: rows[:, 0].sum() / rows[:, 1].sum(),
        strata=strata,
        seed=3,
    )
    quick = intervals.proportion_per_class(hits, labels, seed=3)
    assert quick == pytest.approx(slow, abs=1e-12)  # the same sums in another order


def test_copies_in_one_group_do_not_narrow_the_mean_per_class():
    rng = np.random.default_rng(9)
    hits, labels = rng.binomial(1, 0.5, 60).astype(float), np.arange(60) % 7
    once = intervals.proportion_per_class(hits, labels)
    twice, names = np.repeat(hits, 2), np.repeat(labels, 2)
    grouped = intervals.proportion_per_class(twice, names, groups=np.repeat(np.arange(60), 2))
    assert grouped == pytest.approx(once, abs=1e-12)
    plain = intervals.proportion_per_class(twice, names)
    assert plain.high - plain.low < 0.9 * (once.high - once.low)


def test_mean_per_class_of_equal_hits_still_has_some_width():
    labels, groups = np.arange(40) % 3, np.arange(40) // 2
    for hits in (np.zeros(40), np.ones(40)):
        ends = intervals.proportion_per_class(hits, labels, groups=groups)
        assert ends == intervals.clopper_pearson(20 * hits[0], 20)


def test_a_paired_difference_is_surer_than_two_intervals():
    rng = np.random.default_rng(8)
    hard = rng.random(500)
    first, second = (hard < 0.52).astype(float), (hard < 0.50).astype(float)
    low, high = intervals.paired_difference(first, second)
    assert 0 < low < first.mean() - second.mean() < high < 0.05
    assert intervals.bootstrap(first).low < intervals.bootstrap(second).high
    assert intervals.paired_difference(second, first) == pytest.approx((-high, -low), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: intervals.clopper_pearson(-1, 5),
        lambda: intervals.clopper_pearson(6, 5),
        lambda: intervals.clopper_pearson(0, 0),
        lambda: intervals.clopper_pearson(float("nan"), 5),
        lambda: intervals.bootstrap(0.5),
        lambda: intervals.bootstrap([]),
        lambda: intervals.bootstrap([1.0, np.nan]),
        lambda: intervals.bootstrap([1.0], n_resamples=0),
        lambda: intervals.bootstrap([1.0, 2.0], groups=[0]),
        lambda: intervals.bootstrap([1.0, 2.0], strata=[0]),
        lambda: intervals.proportion_per_class([1.0, 0.0], [0]),
        lambda: intervals.proportion_per_class([[1.0, 0.0]], [[0, 1]]),
        lambda: intervals.proportion_per_class([1.5, 0.5], [0, 0]),
        lambda: intervals.proportion_per_class([1.0, np.nan], [0, 0]),
        lambda: intervals.proportion_per_class([1.0, 0.0], [0, 0], n_resamples=0),
        lambda: intervals.proportion_per_class([1.0, 0.0], [0, 0], groups=[0]),
        lambda: intervals.proportion_per_class([], []),
        lambda: intervals.proportion([1.5, 0.5]),
        lambda: intervals.proportion([-0.5, 0.5]),
        lambda: intervals.proportion([]),
        lambda: intervals.paired_difference([1.0], [1.0, 0.0]),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_students_interval_of_two_values_is_known_in_closed_form():
    # with one degree of freedom the 97.5 % quantile is tan(pi * 0.475)
    reach = np.tan(np.pi * 0.475) * 0.1  # the standard error of 0.4 and 0.6 is 0.1
    assert intervals.student([0.4, 0.6]) == pytest.approx((0.5 - reach, 0.5 + reach))


def test_students_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).standard_normal((2000, 3))
    hits = [low <= 0 <= high for low, high in map(intervals.student, draws)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)  # three standard errors


@pytest.mark.parametrize("values", [[0.5], [], [0.5, np.nan], [[0.5, 0.6]]])
def test_students_interval_needs_repetitions(values):
    with pytest.raises(ValueError, match="at least two finite values"):
        intervals.student(values)
