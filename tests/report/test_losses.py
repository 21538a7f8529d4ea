"""A book is built whatever its chapters do: one fails, one hangs, one is slow on a busy machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

from tests import made_up_book
from towers import files, records

pytestmark = pytest.mark.slow

STALL = 18.0
"""Seconds; the start of a kernel among four busy processes takes some of them."""
YAML = made_up_book.YAML.replace("smoke: 1", "smoke: 0.02").replace("Tiny", "NAME")
QUOTE = "{{record}}`{}; r; value`"
BUSY = """\
import subprocess, sys, time
from towers.progress import tqdm
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
try:
    for _ in tqdm(range(40), disable=None):
        time.sleep(0.5)
finally:
    for other in others:
        other.kill()
"""
CHAPTERS = {
    "first/good": [made_up_book.ADD],
    "second/fails": ["1 / 0"],
    "second/after": [made_up_book.ADD],
    "second/hangs": ["while True: pass"],
    "second/slow": [made_up_book.ADD, BUSY],
}
CLAIM = """\
- id: clip-table-{number}
  paper: clip
  item: Table {number}
  section: Section 3
  claim: Something.
  experiment: {name}
  rules: [{{says: It is, record: m; r; value, expect: above 0, over: items}}]
  note: Ours.
"""
LIBRARY = "# Library\n" + "".join(
    f"\n```{{eval-rst}}\n.. automodule:: towers.{name}\n   :members:\n```\n"
    for name in ("experiments.recording", "records", "progress")
)
"""What the made-up chapters call, so that their links lead somewhere."""


def write(root: Path) -> None:
    """A checkout with five chapters; a page quotes them all, with a figure and the ledger."""
    source = files.repo_root()
    for name in ("Snakefile", "_config.yml", "book/references.bib"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, root / name)
    for name in ("book/_ext", "book/_static"):
        shutil.copytree(source / name, root / name)
    for name, cells in CHAPTERS.items():
        yaml = YAML.replace("NAME", name) + (
            "needs: [second/fails]\n" if name.endswith("after") else ""
        )
        if name.endswith("slow"):
            yaml = yaml.replace("smoke: 0.02", "smoke: 0.05")
        made_up_book.add(root, name, *cells, yaml=yaml)
    path = root / "notebooks/second/fails.ipynb"
    named = '"metadata": {"mystnb": {"figure": {"name": "fig-one", "caption": "One."}, '
    named += '"image": {"alt": "One."}}, "tags": []}'
    content = path.read_text()
    last = content.rindex('"metadata": {"tags": []}')
    path.write_text(content[:last] + named + content[last + len('"metadata": {"tags": []}') :])
    quotes = "\n\n".join(f"{name}: {QUOTE.format(name)}" for name in CHAPTERS)
    picture = "```{picture} second/fails fig-one\nOne.\n```"
    ledger = "```{ledger} clip\n```\n\n{verdicts}`clip`\n\n```{status}\n```"
    files.atomic_write(root / "book/intro.md", f"# Made up\n\n{quotes}\n\n{picture}\n\n{ledger}\n")
    files.atomic_write(root / "book/library.md", LIBRARY)
    claims = [CLAIM.format(number=n, name=name) for n, name in enumerate(CHAPTERS, 1)]
    files.atomic_write(root / "book/claims.yaml", "".join(claims))
    pages = ["book/library", *(f"book/run/{name}" for name in CHAPTERS)]
    listed = "".join(f"  - file: {page}\n" for page in pages)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nchapters:\n{listed}")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """The checkout, the report's exit code and words, and what a page says."""
    root = tmp_path_factory.mktemp("losses")
    write(root)
    environment = os.environ | {
        "TOWERS_ROOT": str(root), "TOWERS_STALL_MINUTES": str(STALL / 60),
        "TOWERS_HOME": str(root / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "towers.cli", "report", "--scale", "smoke", "--jobs", "2"],
        cwd=root, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip

    def page(name: str) -> str:
        text = (root / f"_build/html/book/{name}.html").read_text()
        article = BeautifulSoup(text, "html.parser").find("article")
        return re.sub(r"\s+", " ", article.get_text(" ")) if article else ""

    return SimpleNamespace(root=root, done=done, page=page)


def test_the_book_is_built_and_the_exit_code_is_1(made):
    *words, last = made.done.stderr.splitlines()
    assert made.done.returncode == 1
    assert last == (
        "towers: error: of 5 chapters 2 failed (second/fails, second/hangs), 1 skipped "
        "(second/after); the book is _build/html/index.html"
    )
    assert words[0].startswith("0 of 5 chapters are up to date; 5 to run: first/good, ")
    assert "first/good: 0.5 " in made.page("intro")
    assert not (made.root / "_build/next").exists()


def test_a_chapter_that_fails_is_named_with_its_last_words_and_what_to_do(made):
    said = [line for line in made.done.stderr.splitlines() if line.startswith("second/fails: ")]
    assert said[0] == said[1]  # at once, and again at the end
    assert said[0] == (
        "second/fails: failed, cell 4: ZeroDivisionError: division by zero; see "
        "results/second/fails/smoke.failed.ipynb; its output is in "
        "_build/logs/smoke/second/fails.log, `towers run second/fails --scale smoke` tries again"
    )
    page = made.page("run/second/fails")
    assert "This chapter has no result" in page
    assert re.search(r"smoke scale failed on 20\d\d-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "cell 4: ZeroDivisionError: division by zero" in page
    assert "towers run second/fails --scale smoke" in page
    assert "_build/logs/smoke/second/fails.log" in page


def test_what_needs_a_chapter_that_failed_is_skipped_and_says_so(made):
    words = "second/after: skipped, it needs second/fails; then `towers run second/after"
    assert words in made.done.stderr
    page = made.page("run/second/after")
    assert "Not run yet at smoke scale: it needs second/fails, which has no result" in page


def test_other_pages_say_what_has_not_run(made):
    page = made.page("intro")
    for name in ("second/fails", "second/after", "second/hangs"):
        assert f"{name}: (not run yet)" in page
    assert "of 5 tables and figures 5 not run" in page
    assert re.search(r"second/fails smoke (– ){4}never run; its last run failed on", page)


def test_a_chapter_that_hangs_is_stopped_and_named(made):
    words = "cell 4: nothing has moved for 0.3 min, no output and no step of a loop"
    assert f"second/hangs: failed, {words}" in made.done.stderr
    assert words in made.page("run/second/hangs")


def test_a_slow_chapter_among_four_busy_processes_is_not_stopped(made):
    used = records.read(made.root / "results/second/slow/smoke")[0].wall_seconds
    assert used > max(STALL, 60 * 0.05)  # longer than a stall may be, and than its budget
    assert "second/slow: 0.5 " in made.page("intro")


def test_time_and_budget_of_each_chapter_are_shown_at_the_end(made):
    assert re.search(r"^second/slow +done +\d+ s +3 s +over$", made.done.stderr, re.MULTILINE)
    assert re.search(r"^second/after +skipped +- +1 s$", made.done.stderr, re.MULTILINE)
    assert re.search(r"^all +\d+ s +8 s +over$", made.done.stderr, re.MULTILINE)
    assert "2 at a time on " in made.done.stderr


def test_the_first_part_and_the_longest_chapter_start_before_all_others(made):
    log = (made.root / "_build/logs/smoke.log").read_text()
    started = re.findall(r"output: _build/ran/smoke/(\S+)", log)
    assert {*started[:2]} == {"first/good", "second/slow"}  # two at once, named in any order
