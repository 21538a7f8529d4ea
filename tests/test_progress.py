"""Signs of life: whatever works for long touches the file by which a stall is seen."""

import os
from pathlib import Path

import pytest
from filelock import Timeout

import towers
from towers import files, progress

LONG_AGO = 1_000_000_000.0


@pytest.fixture
def touched(tmp_path, monkeypatch):
    """Whether the file of a run was touched since this was asked last."""
    path = tmp_path / "alive"
    path.touch()
    monkeypatch.setenv(progress.ALIVE, str(path))
    monkeypatch.setattr(progress, "APART", 0.0)

    def ask() -> bool:
        moved = path.stat().st_mtime != LONG_AGO
        os.utime(path, (LONG_AGO, LONG_AGO))
        return moved

    ask()
    return ask


def test_each_step_of_a_hidden_bar_is_a_sign_of_life(touched):
    steps = iter(progress.tqdm(range(2), disable=True))
    assert not touched()
    for number in range(2):
        assert next(steps) == number
        assert touched()
    bar = progress.tqdm(total=2, disable=True)
    touched()
    bar.update()
    assert touched()


def test_who_waits_for_a_lock_is_alive(touched, tmp_path):
    with files.locked(tmp_path / "shared"):
        touched()
        with pytest.raises(Timeout), files.locked(tmp_path / "shared").acquire(timeout=0.2):
            pass
    assert touched()


def test_a_loop_of_many_steps_touches_the_file_twice_a_second_at_most(touched, monkeypatch):
    monkeypatch.setattr(progress, "APART", 60.0)
    monkeypatch.setattr(progress, "_touched", -60.0)
    progress.beat()
    assert touched()
    progress.beat()
    assert not touched()


def test_outside_a_run_nothing_happens(touched, monkeypatch, tmp_path):
    monkeypatch.setenv(progress.ALIVE, str(tmp_path / "gone"))
    progress.beat()
    assert not (tmp_path / "gone").exists()
    monkeypatch.delenv(progress.ALIVE)
    progress.beat()
    assert not touched()


def test_every_bar_of_the_library_gives_signs_of_life():
    plain = [
        path.name
        for path in Path(towers.__file__).parent.rglob("*.py")
        if "from tqdm" in path.read_text(encoding="utf-8")
    ]
    assert plain == []
