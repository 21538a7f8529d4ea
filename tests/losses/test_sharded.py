"""`sharded_clip_loss` in real processes (gloo) against one process with the whole batch.

Beside it, open_clip's loss for several ranks in its four forms. Two of them are exact after the
mean over ranks that DDP takes. The other two are in wide use and wrong: without gradients through
the gathered embeddings, the "local" form lacks what other ranks' rows do to each text and image,
which changes the direction, and the "global" form comes out smaller by the number of ranks.
"""

import multiprocessing

import pytest
import torch
import torch.multiprocessing as mp

from tests.losses import ranks
from towers.losses import clip_loss, sharded_clip_loss, tiled_clip_loss

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
WEIGHTS = ("image", "text", "log_scale")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Findings of each of four ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.set_forkserver_preload(["torch.distributed.nn", "open_clip"])  # once for all
    started = mp.start_processes(
        ranks.work, (folder / "store", folder), ranks.RANKS, join=False, start_method="forkserver"
    )
    while not started.join(timeout=60):
        pass
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks.RANKS)]


def whole(case):
    """What one process with the whole batch finds."""
    images, texts, model = ranks.inputs(case)
    return ranks.learnt(model, clip_loss(*model(images, texts)))


def summed(shares, name):
    return sum(share[name] for share in shares)


def error(actual, expected):
    """Largest difference, relative to the largest entry."""
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("case", ranks.CASES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_value_and_summed_gradients_are_those_of_one_process(found, count, case):
    expected = whole(case)
    shares = [found[rank][count][case] for rank in range(count)]
    # float64 logits of 1e4 are right to 1e-12; float32 ones of 100 to 8e-6
    tolerance = {"float64": 1e-12, "float32": 1e-6, "float32 at 100": 1e-5}.get(case, 1e-11)
    for share in shares:
        assert error(share["loss"], expected["loss"]) < tolerance
        assert torch.equal(share["loss"], shares[0]["loss"])
    for name in WEIGHTS:
        assert error(summed(shares, name), expected[name]) < tolerance


def test_the_opposite_pairs_take_the_running_maxima(found):
    """The case is there for them: its loss is in the thousands."""
    assert found[0][4]["float64, pairs as opposites"]["loss"] > 1000


def test_a_share_is_not_the_whole(found):
    """Otherwise the sums above would show nothing."""
    shares = [found[rank][4]["float64"] for rank in range(4)]
    for name in WEIGHTS:
        assert all(error(share[name], whole("float64")[name]) > 0.1 for share in shares)


@pytest.mark.parametrize(
    ("name", "culprit", "own", "others"),
    [
        ("uneven", None, "expected one batch on every rank, got 6 on rank 0 and 5 on rank 2", None),
        ("shapes", 1, "of one shape (batch, embed)", "got a refusal on rank 1"),
        ("zero", 3, "expected a finite logit_scale > 0", "got a refusal on rank 3"),
        ("scale", None, "expected one logit_scale on every rank, got 14 on rank 0 and 15", None),
        ("precision", None, "one bits of precision on every rank, got 32 on rank 0 and 64", None),
        ("axis", None, "expected one embed on every rank, got 6 on rank 0 and 5 on rank 3", None),
        ("gradient", None, "expected one text gradient on every rank, got 0 on rank 0", None),
    ],
)
def test_what_one_rank_cannot_take_every_rank_refuses(found, name, culprit, own, others):
    """None hangs: the same processes went on to all that follows."""
    for rank, findings in enumerate(found):
        message = findings["refusals"][name]
        assert (own if culprit in (None, rank) else others) in message
        assert "\n" not in message


def test_a_nan_on_one_rank_reaches_all(found):
    for findings in found:
        assert findings["nan"]["loss"].isnan()
        assert all(findings["nan"][name].isnan().all() for name in WEIGHTS)


def test_a_locked_tower_gets_no_gradient_and_the_others_theirs(found):
    expected, shares = whole("float64"), [findings["locked texts"] for findings in found]
    assert all(share["text"] is None for share in shares)
    for name in ("image", "log_scale"):
        assert error(summed(shares, name), expected[name]) < 1e-12


@pytest.mark.parametrize("local", [True, False])
def test_open_clip_with_gradients_through_the_gathering_is_right_after_the_mean(found, local):
    expected, shares = whole("float64"), [findings["open_clip"][local, True] for findings in found]
    for name in WEIGHTS:
        assert error(summed(shares, name) / 4, expected[name]) < 1e-12


def test_a_local_loss_without_gradients_through_the_gathering_is_wrong(found):
    """Directions change: no learning rate makes up for it."""
    expected, shares = whole("float64"), [findings["open_clip"][True, False] for findings in found]
    for name in ("image", "text"):
        mean = summed(shares, name) / 4
        assert error(mean, expected[name]) > 0.2
        cosine = torch.cosine_similarity(mean.flatten(), expected[name].flatten(), dim=0)
        assert cosine < 0.99


def test_a_global_loss_without_gradients_through_the_gathering_is_a_rank_th(found):
    """Towers learn with a quarter of the rate, the scale with all of it."""
    expected, shares = whole("float64"), [findings["open_clip"][False, False] for findings in found]
    for name in ("image", "text"):
        assert error(summed(shares, name) / 4, expected[name] / 4) < 1e-12
    assert error(summed(shares, "log_scale") / 4, expected["log_scale"]) < 1e-12


def test_without_a_process_group_it_is_the_tiled_loss():
    images, texts, model = ranks.inputs("float32")
    embeds = model(images, texts)
    assert torch.equal(sharded_clip_loss(*embeds, tile=7), tiled_clip_loss(*embeds, tile=7))
