"""Builds the HTML pages with Jupyter Book, and replaces the old ones all at once."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from towers import experiments, files


class ReportError(RuntimeError):
    """The report could not be finished; the message is one line."""


class Build:
    """One run of Jupyter Book, into a folder beside the current pages.

    Attributes:
        root: the checkout.
        digest: of everything the pages are made from.
        log: the output of Jupyter Book.
    """

    def __init__(self, root: Path, scale: str):
        """Start it."""
        self.root, self.digest = root, _digest(root, scale)
        self.log = root / "_build/logs/book.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._folder = root / "_build/next"
        shutil.rmtree(self._folder, ignore_errors=True)
        command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(root), "--all"]
        command += ["--path-output", str(self._folder), "-W", "-n", "--keep-going"]
        environment = os.environ | {"TOWERS_SCALE": scale, "TOWERS_ROOT": str(root)}
        environment["NO_COLOR"] = "1"  # its first complaint is shown as it is
        with self.log.open("w") as sink:
            self.process = subprocess.Popen(
                command, cwd=root, stdout=sink, stderr=subprocess.STDOUT, env=environment
            )

    @property
    def running(self) -> bool:
        """Whether the build goes on."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the build; the current pages stay."""
        self.process.terminate()
        self.process.wait()

    def publish(self) -> str | None:
        """Wait for the new pages and put them in the place of the current ones, warnings or not.

        Returns:
            The first warning of the strict build, if there is one.

        Raises:
            ReportError: there are no new pages; the current ones stay.
        """
        code = self.process.wait()
        lines = self.log.read_text(errors="replace").splitlines()
        warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
        worst = warnings[0] if warnings else (lines[-1] if lines else "no output")
        complaint = f"the strict book build failed: {worst} (log: {files.shown(self.log)})"
        built, old = self._folder / "_build/html", self._folder / "old"
        if not (built / "index.html").is_file():
            raise ReportError(complaint)
        _stamp(self.root).unlink(missing_ok=True)
        shown = first_page(self.root).parent
        if shown.exists():
            shown.rename(old)
        built.rename(shown)
        shutil.rmtree(self._folder, ignore_errors=True)
        if code:
            return complaint
        files.atomic_write(_stamp(self.root), self.digest)
        return None


def first_page(root: Path) -> Path:
    """The path of the book's first page, which is there once the book is built."""
    return root / "_build/html/index.html"


def is_current(root: Path, scale: str) -> bool:
    """Whether the pages are up to date with their sources, and were built without a warning."""
    stamp = _stamp(root)
    if not (first_page(root).is_file() and stamp.is_file()):
        return False
    return stamp.read_text() == _digest(root, scale)


def in_reading_order(root: Path) -> list[str]:
    """The experiments in the order of the book's contents.

    Raises:
        ReportError: the contents lack an experiment, or list one that is not there.
    """
    contents = (root / "_toc.yml").read_text()
    yaml.safe_load(contents)
    lines = [line for line in contents.splitlines() if "book/run/" in line]
    listed = [line.split("book/run/")[1].strip() for line in lines]
    known = set(experiments.find(root))
    if set(listed) != known:
        raise ReportError(
            f"expected _toc.yml to list every experiment once, it differs in "
            f"{', '.join(sorted(set(listed) ^ known))}"
        )
    return listed


def _stamp(root: Path) -> Path:
    return root / "_build/html.digest"


def _digest(root: Path, scale: str) -> str:
    """A hash of everything that the book is made from."""
    digest = hashlib.sha256(scale.encode())
    sources = [root / "_config.yml", root / "_toc.yml"]
    for folder in (root / "book", root / "lib/towers", files.results_home(), root / "notebooks"):
        sources += sorted(path for path in folder.rglob("*") if _shown(path, folder))
    for path in sources:
        digest.update(f"{path}\0{files.sha256(path)}\n".encode())
    return digest.hexdigest()


def _shown(path: Path, folder: Path) -> bool:
    """Whether a path is a file of the book, not a hidden one of a run or a lock."""
    parts = path.relative_to(folder).parts
    return path.is_file() and not any(part[0] == "." or part == "__pycache__" for part in parts)
