"""Fixtures for every room."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from playwright.sync_api import Browser, sync_playwright

from tests.browser_setup import find

# Machines differ too much in speed for a limit per example; what must be quick has its own test.
hypothesis.settings.register_profile("book", deadline=None)
hypothesis.settings.load_profile("book")

# Chromium's own connections are switched off, so that every request seen is a page's.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


SLOW_FOLDERS = {"book", "faults"}


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what a mark does not choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks whole folders as slow; other tests and modules are marked where they stand."""
    for item in items:
        if SLOW_FOLDERS & {*item.path.relative_to(Path(__file__).parent).parts[:-1]}:
            item.add_marker("slow")


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Arithmetic in one thread, as in a worker among others: sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        yield chromium
        chromium.close()
