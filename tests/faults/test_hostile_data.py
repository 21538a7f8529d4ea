"""Hostile data: mutated files by the thousand, and bombs that are meant to harm.

Each family runs in a process of its own under a memory limit; nothing may crash, hang, grow, be
skipped in silence or be accepted that is a bomb.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.bombs import BOMBS

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"
)

MUTANTS = {"images": 90, "folder": 10, "tars": 400, "texts": 125}
"""Mutants per seed: 14 seeds of images (twice), one of tars, four of texts."""
SEEDS = {"images": 14, "folder": 14, "tars": 1, "texts": 4}
LIMIT_SECONDS = 120
"""A family that takes longer hangs; on one core the slowest takes about ten."""
CASE_SECONDS = 10
MOST_GROWN = 256 * 2**20


@cache
def results(family: str, count: int = 0) -> list[dict]:
    root = Path(__file__).parents[2]
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.hostile_files", family, folder, str(count)],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    last = found[-1]["name"] if found else "the start"
    assert done.returncode == 0, f"died with {done.returncode} after {last}: {done.stderr[-2000:]}"
    return found


def test_mutants_number_two_thousand():
    assert sum(MUTANTS[family] * SEEDS[family] for family in MUTANTS) >= 2000


@pytest.mark.area("data: mutants")
@pytest.mark.parametrize("family", MUTANTS)
def test_mutants_never_crash_hang_or_grow(tally, family):
    found = results(family, MUTANTS[family])
    tally.injected = MUTANTS[family] * SEEDS[family]
    assert len(found) == (1 if family == "folder" else MUTANTS[family] * SEEDS[family])
    assert [case for case in found if case["outcome"].startswith("CRASH")] == []
    assert max(case["seconds"] for case in found) < (60 if family == "folder" else CASE_SECONDS)
    assert max(case["grown"] for case in found) <= MOST_GROWN


def test_mutants_meet_every_kind_of_answer():
    outcomes = {case["outcome"] for case in results("images", MUTANTS["images"])}
    assert {"read", "truncated", "damaged", "unknown type"} <= outcomes
    shards = {case["outcome"] for case in results("tars", MUTANTS["tars"])}
    assert {"kept 8", "kept 7", "refused"} <= shards


def test_bombs_number_fifty():
    assert len(BOMBS) >= 50


@pytest.mark.area("data: bombs")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_not_accepted(name):
    case = next(case for case in results("bombs") if case["name"] == name)
    assert case["outcome"] in {"refused", "only the good one"}
    assert case["seconds"] < CASE_SECONDS
    assert case["grown"] <= MOST_GROWN
