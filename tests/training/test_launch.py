"""Launching: commands that say where, runs that outlive their starter, stop, resume and fail."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from submitit.core.utils import DelayedSubmission

from tests.training import ranks
from towers import training
from towers.models import checkpoints
from towers.training import launch, logs, slurm, states

RECIPE = training.Recipe(
    image="scratch:vit?image=32&patch=16&width=16&depth=1&heads=1",
    text="scratch:bow?width=16&context=8&vocabulary=514",
    data=("scenes:train?count=64&size=32",), steps=8, warmup=1, batch=8, embed=8, lr=1e-2,
    checkpoint_every=2, eps=1e-4,
)  # fmt: skip


def weights(folder):
    return checkpoints.read(folder / "final.safetensors")[1]


def test_a_command_on_one_machine_needs_no_address(tmp_path):
    line = launch.command(tmp_path, 4, fresh=True)
    assert "--standalone" in line
    assert "--nproc-per-node=4" in line
    assert line[-6:] == ["towers.cli", "train", str(tmp_path / "recipe.yaml"), "--folder",
                         str(tmp_path), "--fresh"]  # fmt: skip


def test_each_of_several_machines_has_its_own_number_and_one_meeting_place(tmp_path):
    lines = [shlex.split(line) for line in launch.commands(tmp_path, 8, 2, "node1")]
    assert [line[3] for line in lines] == ["--node-rank=0", "--node-rank=1"]
    assert [line[4:] for line in lines] == [lines[0][4:]] * 2
    assert "--rdzv-endpoint=node1:29400" in lines[0]
    assert "--nnodes=2" in lines[0]
    assert "--rdzv-endpoint=node1:1234" in launch.commands(tmp_path, 1, 2, "node1:1234")[0]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"ranks": 0}, "at least one rank .* got 0 ranks, machine 0 of 1"),
        ({"ranks": 1, "nodes": 2, "node": 2, "address": "a"}, "machine 2 of 2"),
        ({"ranks": 1, "nodes": 2}, "expected the address of machine 0 for 2 machines, got none"),
    ],
)
def test_impossible_launches_are_refused(tmp_path, numbers, message):
    with pytest.raises(training.TrainingError, match=message):
        launch.command(tmp_path, **numbers)


def test_a_folder_without_a_run_has_nothing_to_attach_to(tmp_path):
    with pytest.raises(training.TrainingError, match="expected a run that was started in"):
        launch.attach(tmp_path)


@pytest.mark.slow
def test_two_ranks_stopped_and_resumed_end_where_one_process_does(tmp_path):
    long = dataclasses.replace(RECIPE, steps=4000, checkpoint_every=4000)
    started = launch.start(long, tmp_path / "long", 2)
    steps = [record["step"] for record in started.follow(steps=3)]
    assert steps == [1, 2, 3]
    with pytest.raises(training.TrainingError, match="one is going on; stop it first"):
        launch.start(RECIPE, tmp_path / "long", 2)
    assert launch.attach(tmp_path / "long") == started
    started.stop()
    assert not started.running
    assert not started.finished
    with pytest.raises(training.TrainingFailed, match=r"output\.txt"):
        started.wait()
    reached = logs.read(tmp_path / "long")[-1]["step"]
    assert states.Checkpoints(tmp_path / "long/checkpoints", 2).steps() == [reached]
    assert reached < 4000

    two = launch.start(RECIPE, tmp_path / "two", 2)
    two.wait()
    assert two.finished
    (line,) = (tmp_path / "two/output.txt").read_text().splitlines()
    assert line.startswith("vit and bow: 8 steps, 0 of them earlier, loss ")
    one = training.train(RECIPE, tmp_path / "one", progress=False)
    expected = weights(one.folder)
    for name, tensor in weights(tmp_path / "two").items():
        # Sums in another order; eps keeps Adam from blowing up gradients that are only rounding.
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_run_that_fails_says_why_in_its_own_words(tmp_path):
    failing = dataclasses.replace(RECIPE, data=("scenes:train?count=64&size=48",), lr=1e30)
    with pytest.raises(training.TrainingFailed, match="finite") as error:
        launch.start(failing, tmp_path, 1).wait()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_submitit_runs_the_same_ranks(tmp_path, monkeypatch):
    job = slurm.submit(RECIPE, tmp_path, 2, minutes=3, cluster="local", gpus=False)
    queued = slurm.Queued(tmp_path, job)
    monkeypatch.setattr(slurm.Queued, "look", 0.1)
    assert [line["step"] for line in queued.follow() if "loss" in line] == [*range(1, 9)]
    assert queued.finished
    assert job.results() == [8, 8]


@pytest.mark.slow
def test_a_queued_run_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.Queued, "look", 0.1)
    failing = dataclasses.replace(RECIPE, lr=1e30)
    queued = slurm.Queued(
        tmp_path, slurm.submit(failing, tmp_path, 1, minutes=3, cluster="local", gpus=False)
    )
    with pytest.raises(training.TrainingFailed, match="finite") as error:
        queued.wait()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_two_machines_that_meet_do_what_one_process_does(tmp_path):
    folder = tmp_path / "two"
    launch.write(RECIPE, folder)
    place = f"127.0.0.1:{ranks.free_port()}"
    machines = [
        subprocess.Popen(
            launch.command(folder, 1, nodes=2, node=node, address=place),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for node in range(2)
    ]
    assert [machine.wait(120) for machine in machines] == [0, 0]
    alone = training.train(RECIPE, tmp_path / "one", progress=False)
    expected = weights(alone.folder)
    for name, tensor in weights(folder).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_a_log_that_was_cut_is_followed_on(tmp_path):
    class Run(logs.Followed):
        looks = iter([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4, 5]])
        running = property(lambda self: next(self.turns))
        turns = iter([True, True, False])
        finished = True
        look = 0.0

    records = [[{"step": step} for step in steps] for steps in Run.looks]
    told = iter(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "read", lambda folder: next(told))
        assert [line["step"] for line in Run(tmp_path).follow()] == [1, 2, 3, 4, 4, 5]


def test_a_folder_where_somebody_else_trains_is_refused(tmp_path):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(training.TrainingError, match="one is going on; stop it first"),
    ):
        launch.start(RECIPE, tmp_path, 1)
    assert not (tmp_path / "recipe.yaml").exists()


@pytest.mark.slow
def test_accelerate_launches_the_same(tmp_path):
    path = launch.write(RECIPE, tmp_path / "two")
    done = subprocess.run(
        [Path(sys.executable).with_name("accelerate"), "launch", "--cpu", "--num_processes=2",
         f"--main_process_port={ranks.free_port()}", "-m", "towers.cli", "train", path,
         "--folder", path.parent],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "vit and bow: 8 steps" in done.stdout
    expected = weights(training.train(RECIPE, tmp_path / "one", progress=False).folder)
    for name, tensor in weights(path.parent).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_a_job_outlives_any_number_of_time_limits(tmp_path, monkeypatch):
    """Written for a cluster whose commands are there, but do nothing."""
    for name in ("srun", "sbatch"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho Submitted batch job 42\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = slurm.submit(RECIPE, tmp_path / "run", 2, minutes=3, gpus=False)
    assert job.job_id == "42"
    waiting = DelayedSubmission.load(job.paths.submitted_pickle)
    assert waiting._timeout_countdown == slurm.AGAIN >= 10_000
    assert waiting.function.checkpoint().function is waiting.function


def test_no_slurm_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(training.TrainingError, match="expected Slurm's commands on this machine"):
        slurm.submit(RECIPE, tmp_path, 1)


@pytest.mark.parametrize(
    ("environment", "count"),
    [({}, 1), ({"TOWERS_RANKS": "3"}, 3), ({"TOWERS_RANKS": "3", "RANK": "1"}, 1)],
)
def test_a_run_takes_a_rank_an_accelerator_or_what_the_environment_says(
    monkeypatch, environment, count
):
    for name in ("RANK", "TOWERS_RANKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    assert launch.ranks() == count
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 8)
    assert launch.ranks() == (count if environment else 8)


@pytest.mark.parametrize("said", ["0", "two", "-1", "1.5"])
def test_no_number_of_ranks_is_refused(monkeypatch, said):
    monkeypatch.setenv("TOWERS_RANKS", said)
    with pytest.raises(training.TrainingError, match=f"above 0 in TOWERS_RANKS, got '{said}'"):
        launch.ranks()


@pytest.mark.slow
def test_a_run_of_several_accelerators_is_started_followed_and_found_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "one"))
    alone = training.train(RECIPE)
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "two"))
    monkeypatch.setenv("TOWERS_RANKS", "2")
    both = training.train(RECIPE)
    assert (alone.resumed, both.resumed) == (0, RECIPE.steps)  # all updates were the ranks' own
    assert "8 steps, 0 of them earlier" in (both.folder / "output.txt").read_text()
    for mine, theirs in zip(alone.dual.parameters(), both.dual.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("it was started again"))
    again = training.train(RECIPE)
    assert again.dual.checksum == both.dual.checksum


def test_a_batch_that_the_ranks_cannot_share_is_refused_before_they_start(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    monkeypatch.setenv("TOWERS_RANKS", "3")
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("ranks were started"))
    for folder in (None, tmp_path / "run"):
        with pytest.raises(training.TrainingError, match="a batch that 3 ranks share equally"):
            training.train(RECIPE, folder)


def test_whoever_is_interrupted_stops_the_ranks(monkeypatch, tmp_path):
    class Interrupted:
        stopped = False

        def follow(self):
            yield {"step": 1, "loss": 1.0}
            raise KeyboardInterrupt

        def stop(self):
            self.stopped = True

    run = Interrupted()
    monkeypatch.setattr(launch, "start", lambda *_, **__: run)
    with pytest.raises(KeyboardInterrupt):
        launch.together(RECIPE, tmp_path, 2)
    assert run.stopped


def test_a_closed_form_and_what_others_cannot_see_stay_in_this_process(monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERS_RANKS", "2")
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("ranks were started"))
    done = training.train(RECIPE, tmp_path, evaluate=lambda objective: {"one": 1.0})
    assert done.steps == 8
