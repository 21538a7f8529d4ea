"""Provenance says what git, the installed packages and the kernel say."""

import os
import resource
import subprocess
import sys

import pytest

from towers.experiments import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.txt").write_text("1")
    for command in (
        ["init", "--quiet"],
        ["add", "a.txt"],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "--quiet", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_commit_and_whether_the_checkout_differs_from_it(repository):
    head = subprocess.run(
        ["git", "-C", str(repository), "log", "-1", "--format=%H"], capture_output=True, text=True
    ).stdout.strip()
    assert provenance.commit(repository) == (head, False)
    (repository / "b.txt").write_text("new")
    assert provenance.commit(repository) == (head, True)


def test_outside_git_and_without_git_there_is_no_commit(tmp_path, repository, monkeypatch):
    outside = tmp_path.parent / "outside"
    outside.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    assert provenance.commit(outside) == (None, None)
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(repository) == (None, None)


def test_versions_are_those_that_are_imported():
    import numpy

    found = provenance.versions()
    assert found["numpy"] == numpy.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.slow
def test_peak_memory_grows_with_what_is_held():
    before = provenance.peak_memory_bytes()
    held = bytearray(os.urandom(1) * (before + 50 * 2**20))
    assert provenance.peak_memory_bytes() >= before + 40 * 2**20  # 10 MB: pages freed meanwhile
    assert provenance.peak_memory_bytes() <= resource.getrusage(0).ru_maxrss * 1024 + 2**20
    del held


def test_hardware_counts_only_the_cores_that_may_be_used():
    found = provenance.hardware()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] > 2**28
    assert found["cpu"]
