"""Fixtures of the fault tests."""

import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def disk(tmp_path):
    """A folder in memory where there is one: forcing it to disk costs nothing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield Path(folder)
