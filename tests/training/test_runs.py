"""Whole runs: learn, stop anywhere, go on bit by bit, and refuse what does not belong together."""

import json
import os

import pytest
import torch

from tests import toy_towers
from tests.training import ranks, toy_runs
from tests.training.toy_runs import bits, recipe, train
from towers import losses, models, training
from towers.training import logs, loop, states

pytestmark = pytest.mark.usefixtures("one_thread")


def stopped(monkeypatch, folder, after, **changes):
    """A run that is interrupted after some updates, before anything is done about the last."""
    update = loop.Trainer.update

    def interrupted(self, step, batches):
        if step == after:
            raise toy_runs.Stop
        return update(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "update", interrupted)
        with pytest.raises(toy_runs.Stop):
            train(folder, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from beginning to end."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    train(folder)
    return folder


def told(folder):
    """The log without what depends on the clock and the machine."""
    drop = ("pairs_per_second", "peak_memory_bytes")
    return [{k: v for k, v in line.items() if k not in drop} for line in logs.read(folder)]


def test_a_run_learns_and_leaves_what_it_promises(tmp_path):
    done = train(tmp_path, steps=60, checkpoint_every=25, accumulate=1, batch=16, precision="bf16")
    seen = [line["loss"] for line in told(tmp_path)]
    assert len(seen) == 60
    assert sum(seen[-5:]) < 0.6 * sum(seen[:5])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock", "checkpoints", "final.safetensors", "log.jsonl", "recipe.json", "tensorboard",
    ]  # fmt: skip
    steps = states.Checkpoints(tmp_path / "checkpoints", 1).steps()
    assert steps == [60, 50]  # the newest two of 25, 50 and the last
    assert (done.steps, done.resumed, done.bad.total()) == (60, 0, 0)
    header, tensors = models.checkpoints.read(tmp_path / "final.safetensors")
    own = done.dual.state_dict()
    assert {name.partition(".")[0] for name in tensors} >= {"image", "text"}
    assert header.name == done.dual.name
    assert all(torch.equal(tensors[name], own[name]) for name in tensors)
    assert os.listdir(tmp_path / "tensorboard")
    last = logs.read(tmp_path)[-1]
    assert last["peak_memory_bytes"] > 10**6
    assert last["pairs_per_second"] > 0


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_run_cut_after_any_update_ends_as_if_it_had_not_been(monkeypatch, tmp_path, whole, cut):
    """Cuts lie inside epochs (5 steps each) and between checkpoints; parts are accumulated."""
    stopped(monkeypatch, tmp_path, cut)
    done = train(tmp_path)
    assert done.resumed == cut - cut % 3
    assert bits(tmp_path, 12) == bits(whole, 12)
    assert told(tmp_path) == told(whole)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(monkeypatch, tmp_path, whole):
    stopped(monkeypatch, tmp_path, 7, workers=2)
    train(tmp_path, workers=1)
    assert bits(tmp_path, 12) == bits(whole, 12)
    assert told(tmp_path) == told(whole)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_resume_exactly_too(monkeypatch, tmp_path, precision):
    train(tmp_path / "whole", precision=precision)
    stopped(monkeypatch, tmp_path / "cut", 8, precision=precision)
    train(tmp_path / "cut", precision=precision)
    assert bits(tmp_path / "cut", 12) == bits(tmp_path / "whole", 12)
    scaler = states.Checkpoints(tmp_path / "cut/checkpoints", 1).read(12).scaler
    assert (scaler != {}) == (precision == "fp16")


def test_the_next_batches_are_those_of_the_uninterrupted_run(monkeypatch, tmp_path):
    seen = {}

    def reading(name):
        data = toy_runs.source(toy_towers.trainable())
        read = type(data).read

        def noted(rows, picks):
            seen.setdefault(name, []).append((rows.tolist(), picks.tolist()))
            return read(data, rows, picks)

        object.__setattr__(data, "read", noted)
        return data

    train(tmp_path / "a", source=reading("whole"))
    stopped(monkeypatch, tmp_path / "b", 7, source=reading("cut"))
    train(tmp_path / "b", source=reading("resumed"))
    assert seen["resumed"] == seen["whole"][2 * 6 :]  # two parts a step, from step 6 on
    assert seen["cut"][: 2 * 7] == seen["whole"][: 2 * 7]


def test_a_damaged_checkpoint_is_passed_over(monkeypatch, tmp_path, whole, capsys):
    stopped(monkeypatch, tmp_path, 8)
    newest = tmp_path / "checkpoints/step-00000006/weights.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert train(tmp_path).resumed == 3
    assert bits(tmp_path, 12) == bits(whole, 12)
    lines = capsys.readouterr().err.splitlines()
    assert "another content of weights.safetensors; trying the one before" in lines[0]
    assert "resuming after step 3 of 12" in lines[1]


def test_a_finished_run_is_not_trained_again(whole):
    before = (whole / "final.safetensors").read_bytes(), bits(whole, 12)
    done = train(whole)
    assert (done.resumed, done.steps) == (12, 12)
    assert ((whole / "final.safetensors").read_bytes(), bits(whole, 12)) == before


def test_another_recipe_is_refused_and_names_the_fields(tmp_path, whole):
    with pytest.raises(training.TrainingError) as caught:
        train(whole, lr=0.5, seed=3)
    assert "\n" not in str(caught.value)
    assert "lr 0.01 there, 0.5 here; seed 0 there, 3 here; name another folder" in str(caught.value)
    train(whole, keep=1, checkpoint_every=5, name="mine")  # these change no weight


def test_other_data_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(training.TrainingError, match=r"data with digest [0-9a-f]{12} there"):
        train(tmp_path, source=toy_runs.source(toy_towers.trainable(), 45))


def test_a_fresh_run_leaves_nothing_of_the_old_one(tmp_path, whole):
    train(tmp_path, seed=5, steps=20)
    done = train(tmp_path, resume=False)
    assert done.resumed == 0
    assert bits(tmp_path, 12) == bits(whole, 12)
    assert told(tmp_path) == told(whole)


def test_a_folder_has_one_run_at_a_time(tmp_path):
    def evaluate(_):
        with pytest.raises(training.TrainingError, match="expected no other run in"):
            train(tmp_path)
        return {"refused": 1.0}

    train(tmp_path, evaluate=evaluate)
    assert told(tmp_path)[-1] == {"step": 12, "evaluation": {"refused": 1.0}}


def test_evaluation_happens_on_time_and_disturbs_nothing(tmp_path, whole):
    def evaluate(objective):
        assert not objective.dual.training
        assert not torch.is_grad_enabled()
        return {"draw": torch.rand(()).item()}

    train(tmp_path, evaluate=evaluate, evaluate_every=5)
    assert [line["step"] for line in told(tmp_path) if "evaluation" in line] == [5, 10, 12]
    assert bits(tmp_path, 12) == bits(whole, 12)


def test_validation_is_the_loss_and_the_recall_of_all_pairs_at_once():
    dual = toy_towers.trainable().eval()
    data = toy_runs.source(dual)
    found = training.validation.Validation(data)(training.objectives.Contrastive(dual).eval())
    order = training.order.Order((44,), 44, 0).draw(0)
    read = data.read(order.rows, order.picks)
    with torch.no_grad():
        images = dual.embed_images(dual.image.transform.normalised(torch.from_numpy(read.images)))
        texts = dual.embed_texts(dual.text.tokenize(read.texts))
        sims = images @ texts.T
        loss = losses.clip_loss(images, texts, dual.logit_scale).item()
    right = torch.arange(44)
    assert found == pytest.approx({
        "validation loss": loss,
        "validation text retrieval R@1": (sims.argmax(1) == right).float().mean().item(),
        "validation image retrieval R@1": (sims.argmax(0) == right).float().mean().item(),
    }, rel=1e-5)  # fmt: skip


def test_evaluation_without_anything_to_look_at_is_refused(tmp_path):
    """Before any data is read, and before anything is written."""
    asked = recipe(evaluate_every=3, data=(f"shards:{tmp_path}/nowhere.tar",))
    with pytest.raises(training.TrainingError, match="expected validation data for evaluate_every"):
        training.train(asked, tmp_path / "run", dual=toy_towers.trainable(), progress=False)
    assert not (tmp_path / "run").exists()


def test_epochs_are_counted_in_whole_batches(tmp_path):
    assert train(tmp_path, steps=0, epochs=3).steps == 3 * (44 // 8)
    with pytest.raises(training.TrainingError, match="warmup below the 5 steps of 1 epochs, got 9"):
        train(tmp_path / "b", steps=0, epochs=1, warmup=9)


def test_data_smaller_than_a_batch_is_refused(tmp_path):
    with pytest.raises(training.TrainingError, match="a batch of at most 44 rows"):
        train(tmp_path, batch=64)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(training.TrainingError, match=r"expected a recipe in .*recipe.json, got"):
        train(tmp_path)


def test_what_stood_before_a_loss_that_is_not_finite_is_kept(tmp_path, whole):
    dual = toy_towers.trainable()
    forward = dual.image.forward

    def poisoned(images):
        features = forward(images)
        return features * float("nan") if len(logs.read(tmp_path)) == 7 else features

    dual.image.forward = poisoned
    with pytest.raises(training.TrainingFailed, match=r"^expected a finite loss, got nan .* 8 of"):
        train(tmp_path, dual=dual)
    assert len(logs.read(tmp_path)) == 7
    assert states.Checkpoints(tmp_path / "checkpoints", 1).steps() == [7, 6]
    assert train(tmp_path).resumed == 7
    assert bits(tmp_path, 12) == bits(whole, 12)  # statistics that saw the bad batch, too
    assert told(tmp_path) == told(whole)


def test_a_gradient_that_is_not_finite_is_caught_though_the_loss_is(tmp_path):
    dual = toy_towers.trainable()
    dual.image_proj.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        training.TrainingFailed, match=r"^expected finite gradients, got .* step 1 "
    ):
        train(tmp_path, dual=dual)
    assert not (tmp_path / "final.safetensors").exists()


def test_bad_samples_are_counted_across_an_interruption(monkeypatch, tmp_path):
    def damaged():
        data = toy_runs.source(toy_towers.trainable())
        for row in (3, 17):
            object.__setattr__(data.collection[row], "image", b"\x89PNG\r\n\x1a\n broken")
        return data

    train(tmp_path / "whole", source=damaged())
    stopped(monkeypatch, tmp_path / "cut", 8, source=damaged())
    done = train(tmp_path / "cut", source=damaged())
    assert done.bad.total() > 1
    assert set(done.bad) <= {"truncated", "damaged"}
    assert bits(tmp_path / "cut", 12) == bits(tmp_path / "whole", 12)
    assert told(tmp_path / "cut")[-1]["bad"] == done.bad.total()


def test_too_many_bad_samples_stop_a_run(tmp_path):
    data = toy_runs.source(toy_towers.trainable())
    for row in range(0, 44, 2):
        object.__setattr__(data.collection[row], "image", b"")
    with pytest.raises(
        training.TrainingFailed, match=r"a share of 0.05 unreadable .* empty\)"
    ) as caught:
        train(tmp_path, source=data)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_worker_that_is_killed_stops_the_run_with_one_line(tmp_path, whole):
    (ended,) = ranks.run(toy_runs.losing_a_worker, tmp_path)
    assert ended.code == 1
    assert "worker" in ended.said
    assert "\n" not in ended.said
    assert train(tmp_path).steps == 12
    assert bits(tmp_path, 12) == bits(whole, 12)


def test_the_recipe_lies_in_the_folder(whole):
    written = json.loads((whole / "recipe.json").read_text())
    assert training.Recipe.from_mapping(written["recipe"]).digest == recipe().digest


def test_chunks_change_nothing_but_rounding(tmp_path):
    """The towers' statistics and dropout would differ by chunk: these towers have neither."""
    for name, chunk in (("whole", 0), ("chunks", 3)):
        dual = toy_towers.dual().requires_grad_(True)
        train(tmp_path / name, dual=dual, chunk=chunk, accumulate=1)
    for whole, chunks in zip(told(tmp_path / "whole"), told(tmp_path / "chunks"), strict=True):
        assert whole == pytest.approx(chunks, rel=1e-4)  # 12 updates amplify the last bit


@pytest.mark.parametrize("changes", [
    {"chunk": 3, "accumulate": 1}, {"objective": "bag-of-words"}, {"objective": "captions"},
])  # fmt: skip
def test_other_ways_to_learn_resume_exactly_too(monkeypatch, tmp_path, changes):
    train(tmp_path / "whole", **changes)
    stopped(monkeypatch, tmp_path / "cut", 8, **changes)
    done = train(tmp_path / "cut", **changes)
    assert bits(tmp_path / "cut", 12) == bits(tmp_path / "whole", 12)
    seen = [line["loss"] for line in told(tmp_path / "cut")]
    assert seen[-1] < seen[0]
    assert ("objective" in changes) == hasattr(done.objective, "head")


@pytest.mark.slow
class TestTwoRanks:
    def test_see_the_same_batches_and_end_with_the_same_weights(self, tmp_path):
        """Dropout differs by rank and statistics by share, so that only a run without is equal."""
        ended = ranks.run(plain, tmp_path / "two", ranks=2)
        assert [rank.code for rank in ended] == [0, 0], ended
        assert ended[0].value == ended[1].value  # the ranks' own weights, bit by bit
        assert ranks.run(plain, tmp_path / "one")[0].code == 0
        one, both = (told(tmp_path / name) for name in ("one", "two"))
        for single, double in zip(one, both, strict=True):
            assert single == pytest.approx(double, rel=1e-4), (single, double)

    @pytest.mark.parametrize("changes", [
        {"chunk": 3, "accumulate": 1}, {"shard": True},
        {"shard": True, "chunk": 3, "accumulate": 1},
    ])  # fmt: skip
    def test_in_chunks_or_shards_do_as_one_process_does(self, tmp_path, changes):
        ended = ranks.run(plain, tmp_path / "two", **changes, ranks=2)
        assert [rank.code for rank in ended] == [0, 0], ended
        assert ended[0].value == ended[1].value
        assert ended[0].value == models.weights.checksum(
            models.checkpoints.read(tmp_path / "two/final.safetensors")[1]
        )
        assert ranks.run(plain, tmp_path / "one", **changes)[0].code == 0
        one, both = (told(tmp_path / name) for name in ("one", "two"))
        for single, double in zip(one, both, strict=True):
            assert single == pytest.approx(double, rel=1e-4), (single, double)

    def test_in_shards_resume_exactly_and_hold_a_half_each(self, tmp_path):
        for name, cuts in (("whole", ()), ("cut", (7,))):
            for cut in (*cuts, None):
                ended = ranks.run(toy_runs.sharded, tmp_path / name, cut, ranks=2)
                assert [rank.code for rank in ended] == [0, 0], ended
        assert bits(tmp_path / "cut", 12) == bits(tmp_path / "whole", 12)
        assert told(tmp_path / "cut") == told(tmp_path / "whole")
        shares = [rank.value for rank in ended]
        assert all(0.4 < share < 0.6 for share in shares)
        assert sum(shares) == pytest.approx(1, abs=0.01)  # the scale and the steps are on both

    def test_say_nothing_while_all_is_well(self, tmp_path):
        """What torch writes itself, too; one of them is late to leave."""
        ended = ranks.run(toy_runs.noted, tmp_path / "run", tmp_path, ranks=2)
        assert [rank.code for rank in ended] == [0, 0], ended
        assert [(tmp_path / f"stderr-{rank}").read_text() for rank in (0, 1)] == ["", ""]

    def test_add_up_in_the_same_order_after_a_resumption(self, tmp_path):
        """With two there is one order only."""
        options = {"batch": 6, "ranks": 3}
        for name, cuts in (("whole", ()), ("cut", (7,))):
            for cut in (*cuts, None):
                ended = ranks.run(toy_runs.seen, tmp_path / name, cut, **options)
                assert [rank.code for rank in ended] == [0, 0, 0], ended
        assert bits(tmp_path / "cut", 12) == bits(tmp_path / "whole", 12)

    @pytest.mark.parametrize("rank", [0, 1])
    def test_stop_together_when_one_of_them_meets_a_nan(self, tmp_path, rank):
        ended = ranks.run(toy_runs.poisoned, tmp_path, 7, rank, ranks=2, within=30)
        for one in ended:
            assert one.code == 1
            assert one.said.startswith("NotFinite: expected a finite loss, got nan at step 8")
            assert f"first on rank {rank}; lower lr" in one.said
            assert "\n" not in one.said
        assert abs(ended[0].seconds - ended[1].seconds) < 10
        assert states.Checkpoints(tmp_path / "checkpoints", 1).steps() == [7, 6]

    @pytest.mark.parametrize("rank", [0, 1])
    def test_stop_with_one_line_when_one_of_them_cannot_read(self, tmp_path, rank):
        ended = ranks.run(toy_runs.unreadable, tmp_path, rank, ranks=2, within=30)
        assert [one.code for one in ended] == [1, 1], ended
        assert "the shelf broke (at step 8)" in ended[rank].said
        assert "\n" not in ended[rank].said.strip()

    def test_refuse_a_batch_that_they_cannot_share(self, tmp_path):
        ended = ranks.run(toy_runs.train, tmp_path, ranks=3, within=30)
        for one in ended:
            assert "expected a batch that 3 ranks share equally in 2 parts, got 8" in one.said


def plain(folder, **changes):
    """A run whose towers know nothing of ranks; a hash of this rank's weights."""
    done = train(folder, dual=toy_towers.dual().requires_grad_(True), **changes)
    return models.weights.checksum(done.dual.state_dict())
