"""The book at smoke scale, built once from a copy of the checkout, and a browser to read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from towers import files


def copy_of_checkout(target: Path) -> Path:
    """Copy what git tracks or would track, without results, into a folder of its own."""
    root = files.repo_root()
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)
    return target


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which every experiment ran at smoke scale and the book was built."""
    root = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    run = report(root)
    assert run.returncode == 0, run.stdout + run.stderr
    return root


def report(root: Path) -> subprocess.CompletedProcess:
    """`towers report --scale smoke` in a checkout."""
    return subprocess.run(
        [sys.executable, "-m", "towers.cli", "report", "--scale", "smoke", "--jobs", "1"],
        cwd=root,
        env=os.environ | {"TOWERS_ROOT": str(root)},
        capture_output=True,
        text=True,
        timeout=3600,  # a slow machine is no fault; a chapter that stalls is stopped by itself
    )


@pytest.fixture(scope="session")
def html(checkout: Path) -> Path:
    """The folder of the built book."""
    return checkout / "_build/html"
