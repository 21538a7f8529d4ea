"""A real Slurm on this machine: ranks start through it, and a job that is queued again goes on.

Part of the long suite, where Debian's `slurm-wlm` and `munge` are installed and we are root.
"""

import dataclasses
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.training import ranks
from tests.training.test_launch import RECIPE
from towers import files
from towers.training import launch, logs, slurm, states

FULL = os.environ.get("TOWERS_FAULTS") == "full"
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=towers
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
MinJobAge=300
KillWait=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = [
    pytest.mark.skipif(not FULL, reason="part of the long suite: TOWERS_FAULTS=full"),
    pytest.mark.skipif(
        not all(shutil.which(name) for name in DAEMONS) or os.geteuid() != 0,
        reason="needs root and Debian's slurm-wlm and munge",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Munge, a controller and one node of two cores, all of them ours; one cluster at a time.

    Jobs of two clusters would have the same numbers, and so the same ports.
    """
    folder = tmp_path_factory.mktemp("slurm")
    with files.locked(Path(tempfile.gettempdir()) / "towers-slurm"):
        yield from started(folder)


def started(folder):
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    path = folder / "slurm.conf"
    path.write_text(
        CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, ports=[ranks.free_port(), ranks.free_port()]
        )
    )
    environment = os.environ | {"SLURM_CONF": str(path)}
    munge = [
        f"--{name}-file={folder}/{file}"
        for name, file in (
            ("key", "key"),
            ("pid", "munged.pid"),
            ("log", "munged.log"),
            ("seed", "seed"),
        )
    ]
    commands = [
        ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D"], ["slurmd", "-D"],
    ]  # fmt: skip
    running = []
    with (folder / "output").open("wb") as output:
        for command in commands:
            running.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
            time.sleep(2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(path))
            patch.setenv("OMP_NUM_THREADS", "1")
            until(lambda: "idle" in said("sinfo", "-h", "-o", "%T"), 30)
            yield
            subprocess.run(["scancel", "--user=root"], check=False)
            until(lambda: not said("squeue", "-h"), 60)
        for process in reversed(running):
            process.terminate()
            process.wait(20)


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.5)


def test_two_ranks_train_through_slurm(cluster, tmp_path):
    job = slurm.submit(RECIPE, tmp_path, 2, minutes=5, gpus=False)
    assert job.results() == [8, 8]
    assert (tmp_path / "final.safetensors").is_file()


def test_a_rank_that_cannot_meet_the_others_takes_all_down(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "Rank", Lonely)
    job = slurm.submit(RECIPE, tmp_path, 2, minutes=5, gpus=False)
    until(lambda: list((tmp_path / "slurm").glob("*_0_result.pkl")), 60)
    until(lambda: not said("squeue", "-h", "-j", job.job_id, "-t", "R,PD,CG", "-o", "%i"), 60)
    assert not (tmp_path / "final.safetensors").exists()


class Lonely(slurm.Rank):
    """A rank of which the first one never gets as far as the others."""

    def __call__(self):
        if os.environ["SLURM_PROCID"] == "0":
            raise OSError("address already in use")
        return super().__call__()


def test_a_job_that_is_queued_again_goes_on(cluster, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=1500, checkpoint_every=5)
    job = slurm.submit(recipe, tmp_path, 2, minutes=10, gpus=False)
    until(lambda: len(logs.read(tmp_path)) > 20, 120)
    subprocess.run(["scontrol", "requeue", job.job_id], check=True)
    until(lambda: "PENDING" in said("squeue", "-h", "-j", job.job_id, "-o", "%T"), 60)
    subprocess.run(["scontrol", "update", f"JobId={job.job_id}", "StartTime=now"], check=True)
    until(lambda: (tmp_path / "final.safetensors").is_file(), 240)
    assert job.results() == [1500, 1500]
    output = "".join(path.read_text() for path in (tmp_path / "slurm").glob("*_log.err"))
    assert "resuming after step" in output


def test_a_job_that_is_preempted_keeps_the_update_under_way_and_goes_on(cluster, tmp_path):
    recipe = dataclasses.replace(RECIPE, steps=1500, checkpoint_every=1500)
    job = slurm.submit(recipe, tmp_path, 2, minutes=10, gpus=False)
    until(lambda: len(logs.read(tmp_path)) > 20, 120)
    subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)
    checkpoints = states.Checkpoints(tmp_path / "checkpoints", 2)
    until(lambda: checkpoints.steps(), 30)
    (kept,) = checkpoints.steps()
    until(lambda: "PENDING" in said("squeue", "-h", "-j", job.job_id, "-o", "%T"), 60)
    assert logs.read(tmp_path)[-1]["step"] == kept
    subprocess.run(["scontrol", "update", f"JobId={job.job_id}", "StartTime=now"], check=True)
    until(lambda: (tmp_path / "final.safetensors").is_file(), 240)
    assert job.results() == [1500, 1500]
    output = "".join(path.read_text() for path in (tmp_path / "slurm").glob("*_log.err"))
    assert f"resuming after step {kept} of 1500" in output
