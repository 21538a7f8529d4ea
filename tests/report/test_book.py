"""Pages made from runs: today's prose with the outputs of the run, or a word that none ran."""

import base64
import dataclasses
import json
import os
import re
from pathlib import Path

import nbformat
import pytest

import towers
from tests import made_up_book
from tests.report.test_quotes import PROVENANCE, record
from towers import experiments, files, records
from towers.report import assembly, book, html, pages
from towers.report.chapters import log_of

PNG = base64.b64encode(b"not really a picture").decode()


@pytest.fixture
def page(checkout):
    """An experiment that never ran, and where its page lies."""
    made_up_book.add(checkout, "clip/tiny")
    return checkout / "book/run/clip/tiny.ipynb"


def ran(checkout, edit=lambda cells: None, **parameters) -> None:
    """Put a finished run of clip/tiny where `towers run` puts it; parameters are its changes."""
    content = nbformat.read(checkout / "notebooks/clip/tiny.ipynb", as_version=4)
    for number, cell in enumerate(c for c in content.cells if c.cell_type == "code"):
        cell.execution_count = number + 1
        cell.outputs = [nbformat.v4.new_output("stream", text=f"output {number}")]
    edit(content.cells)
    folder = checkout / "results/clip/tiny/smoke"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, folder / "notebook.ipynb")
    values = experiments.find(checkout)["clip/tiny"].parameters() | parameters
    run = dataclasses.replace(PROVENANCE, experiment="clip/tiny", parameters=values)
    row = record(experiment="clip/tiny", scale=run.scale)
    records.write(folder, run, [row])


def text(page) -> str:
    """Everything on a page, sources and outputs."""
    return json.dumps(json.loads(page.read_text())["cells"])


def test_a_page_without_a_run_says_so(checkout, page):
    assembly.assemble("smoke", checkout)
    assert "Not run yet at smoke scale: `towers run clip/tiny --scale smoke`." in text(page)


def failed(checkout, words: str) -> None:
    """Put the log of a failed run where a report keeps it."""
    files.atomic_write(log_of("clip/tiny", "smoke", checkout), f"towers: error: {words}\n")


def test_a_page_of_a_run_that_failed_says_why_and_what_to_do(checkout, page):
    failed(checkout, "clip/tiny (smoke) failed in cell 3: `x` is not there")
    assembly.assemble("smoke", checkout)
    assert "clip/tiny (smoke) failed in cell 3: 'x' is not there" in text(page)
    assert "`towers run clip/tiny --scale smoke`" in text(page)
    assert "_build/logs/smoke/clip/tiny.log" in text(page)


def test_an_earlier_run_is_shown_as_stale_beside_a_later_failure(checkout, page):
    ran(checkout)
    failed(checkout, "clip/tiny (smoke) failed in cell 3")
    results = checkout / "results/clip/tiny/smoke/records.json"
    os.utime(results, (1e9, 1e9))
    assembly.assemble("smoke", checkout)
    assert "output 0" in text(page)
    box = pages.provenance_markdown("clip/tiny", "smoke", page.parent)
    assert re.search(r"records, stale: .*; a later run failed on 20\d\d-", box)


def test_a_page_of_damaged_results_says_so(checkout, page):
    ran(checkout)
    (checkout / "results/clip/tiny/smoke/records.json").write_text("{")
    assembly.assemble("smoke", checkout)
    assert "Results are damaged at smoke scale" in text(page)


def test_how_far_a_paper_is_is_counted_from_chapters_and_claims(checkout):
    made_up_book.add(checkout, "clip/tiny")
    row = "- {{id: clip-table-{0}, paper: clip, item: Table {0}, section: S, claim: C, note: N, "
    row += "experiment: clip/tiny, verdict: {1}}}\n"
    verdicts = enumerate(("not run", "not run", "illustration"), 1)
    claims = "".join(row.format(*pair) for pair in verdicts)
    files.atomic_write(checkout / "book/claims.yaml", claims)
    words = "1 chapter; of 3 tables and figures 2 not run, 1 illustration"
    assert pages.verdicts_text("clip", "laptop") == words
    assert pages.verdicts_text("lilt", "laptop") == "to come"


def test_a_page_shows_the_run_and_its_provenance(checkout, page):
    ran(checkout)
    assembly.assemble("smoke", checkout)
    assert "output 0" in text(page)
    assert "{provenance} clip/tiny" in text(page)


def test_an_edited_sentence_shows_without_another_run(checkout, page):
    ran(checkout)
    path = checkout / "notebooks/clip/tiny.ipynb"
    path.write_text(path.read_text().replace("A tiny question", "A better question"))
    assembly.assemble("smoke", checkout)
    assert "A better question" in text(page)
    assert "output 0" in text(page)


def test_edited_code_shows_as_it_ran(checkout, page):
    ran(checkout)
    path = checkout / "notebooks/clip/tiny.ipynb"
    path.write_text(path.read_text().replace("value=rate", "value=0.25"))
    assembly.assemble("smoke", checkout)
    assert "value=rate" in text(page)
    assert "value=0.25" not in text(page)


def inject(cells) -> None:
    cell = nbformat.v4.new_code_cell("candidates = 10")
    cell.metadata["tags"] = ["injected-parameters"]
    cells.insert(2, cell)


def test_a_parameter_cell_that_was_injected_does_not_hide_the_prose(checkout, page):
    ran(checkout, inject)
    path = checkout / "notebooks/clip/tiny.ipynb"
    path.write_text(path.read_text().replace("A tiny question", "A better question"))
    assembly.assemble("smoke", checkout)
    assert "A better question" in text(page)
    assert "candidates = 10" not in text(page)  # the notebook's own values ran


def test_other_parameters_than_the_notebook_s_own_are_shown(checkout, page):
    ran(checkout, inject, candidates=10)
    assembly.assemble("smoke", checkout)
    cells = [cell.source for cell in nbformat.read(page, as_version=4).cells]
    assert cells[2] == "candidates = 10"
    assert "candidates: int" in cells[1]


def test_an_unchanged_page_keeps_its_file_time(checkout, page):
    ran(checkout)
    assembly.assemble("smoke", checkout)
    before = page.stat().st_mtime_ns
    assembly.assemble("smoke", checkout)
    assert page.stat().st_mtime_ns == before


def test_named_figures_become_files_for_other_pages(checkout, page):
    def draw(cells) -> None:
        cells[-1].metadata["mystnb"] = {"figure": {"name": "fig-one", "caption": "One."}}
        picture = nbformat.v4.new_output("display_data", data={"image/png": PNG})
        cells[-1].outputs = [picture]

    path = checkout / "notebooks/clip/tiny.ipynb"
    content = nbformat.read(path, as_version=4)
    draw(content.cells)
    content.cells[-1].outputs = []
    nbformat.write(content, path)
    ran(checkout, draw)
    assembly.assemble("smoke", checkout)
    assert (page.with_suffix("") / "fig-one.png").read_bytes() == base64.b64decode(PNG)


def test_contents_must_list_every_experiment(checkout, page):
    with pytest.raises(html.ReportError, match="clip/tiny"):
        html.in_reading_order(checkout)
    (checkout / "_toc.yml").write_text("root: intro\n# - file: book/run/clip/tiny\n")
    assert html.in_reading_order(checkout) == ["clip/tiny"]


def test_unknown_part_names_the_known_ones(checkout, page):
    with pytest.raises(ValueError, match="expected a part among clip, got 'nosuch'"):
        book.build("smoke", part="nosuch")


def test_library_references_are_the_public_functions_that_a_notebook_names(checkout):
    code = "from towers import metrics\nfrom towers.metrics import intervals as i\n"
    code += "metrics.recall_at_k\ni.bootstrap(values)\nother.thing()"
    path = made_up_book.add(checkout, "clip/calls", code)
    found = " ".join(pages.library_references(path))
    assert "towers.metrics.retrieval.recall_at_k" in found
    assert "towers.metrics.intervals.bootstrap" in found
    assert "towers.experiments.recording.begin" in found
    assert "thing" not in found


def test_the_reference_shows_every_module_once(tmp_path):
    (tmp_path / "towers.gone.rst").write_text("of a package that is no more")
    assembly.write_api_pages(tmp_path)
    shown = [
        name
        for path in tmp_path.iterdir()
        for name in re.findall(r"^.. automodule:: (\S+)$", path.read_text(), re.MULTILINE)
    ]
    package = Path(towers.__file__).parent
    modules = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    names = [".".join(path.parts).removesuffix(".__init__") for path in modules]
    assert sorted(shown) == sorted(names)


def test_every_experiment_of_the_book_stands_in_its_contents():
    html.in_reading_order(experiments.get("clip/zero_shot").notebook.parents[2])


def test_what_a_run_hides_leaves_the_pages_current(checkout, page):
    (checkout / "_toc.yml").write_text("- file: book/run/clip/tiny\n")
    (checkout / "_config.yml").touch()
    ran(checkout)
    before = html._digest(checkout, "smoke")
    for name in (".smoke.run.lock", ".smoke.staging-1/notebook.ipynb"):
        files.atomic_write(checkout / "results/clip/tiny" / name, "x")
    assert html._digest(checkout, "smoke") == before
    files.atomic_write(checkout / "results/clip/tiny/smoke/bars.csv", "x")
    assert html._digest(checkout, "smoke") != before
