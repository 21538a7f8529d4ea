"""Fixtures for every room."""

import hypothesis
import pytest

# Machines differ too much in speed for a limit per example; what must be quick has its own test.
hypothesis.settings.register_profile("book", deadline=None)
hypothesis.settings.load_profile("book")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty made-up checkout that the library takes for the book's; see made_up_book."""
    root = tmp_path / "checkout"
    (root / "notebooks").mkdir(parents=True)
    (root / "_toc.yml").write_text("root: intro\n")
    monkeypatch.setenv("TOWERS_ROOT", str(root))
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    for name in ("TOWERS_RESULTS", "TOWERS_STAGING", "TOWERS_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    return root
