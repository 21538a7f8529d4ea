"""The book's sources: pages made from the notebooks that ran, and from a word where none did."""

import base64
from pathlib import Path

import nbformat

from towers import experiments, files, records
from towers.report.pages import finishing_cells, missing_markdown


def assemble(scale: str, root: Path | None = None) -> list[Path]:
    """Put the executed notebooks where the table of contents expects them.

    Each gets its closing cells (provenance, links). An experiment without a good run at this
    scale gets a page that says so, and why. Pages that did not change keep their file times.

    Args:
        scale: the scale to show.
        root: the checkout; found if None.

    Returns:
        The pages, under `book/run/`.
    """
    root = root or files.repo_root()
    pages = []
    for name, experiment in experiments.find(root).items():
        page = root / f"book/run/{name}.ipynb"
        try:
            notebook = _page(records.folder(name, scale), experiment)
            _extract_figures(notebook, page.with_suffix(""))
            notebook.cells += finishing_cells(name)
        except (FileNotFoundError, ValueError):  # it has never run well, or its files are damaged
            notebook = nbformat.v4.new_notebook()
            notebook.cells = [nbformat.v4.new_markdown_cell(missing_markdown(experiment, scale))]
        for index, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{index}"
        text = nbformat.writes(notebook)
        if not page.is_file() or page.read_text() != text:
            files.atomic_write(page, text)
        pages.append(page)
    return pages


def _page(result: Path, experiment: experiments.Experiment) -> nbformat.NotebookNode:
    """The source notebook with a run's outputs, where their code is the same.

    So an edit of a sentence or of a caption shows without another run; a run whose code differs
    is shown as it ran. Parameters other than the notebook's own are shown below those.
    """
    executed = nbformat.read(result / records.NOTEBOOK, as_version=4)
    source = nbformat.read(experiment.notebook, as_version=4)
    injected = [cell for cell in executed.cells if _tagged(cell, "injected-parameters")]
    done = [cell for cell in executed.cells if cell.cell_type == "code" and cell not in injected]
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    if [cell.source for cell in done] != [cell.source for cell in code]:
        return executed
    for cell, its in zip(code, done, strict=True):
        cell.outputs, cell.execution_count = its.outputs, its.execution_count
    if records.read(result)[0].parameters != experiment.parameters():
        place = next(n for n, cell in enumerate(source.cells) if _tagged(cell, "parameters"))
        source.cells[place + 1 : place + 1] = injected
    return source


def _tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())


def _extract_figures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Save each named figure as a file, so that other pages can show it."""
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        pictures = [o["data"] for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
        if name and pictures:
            content = base64.b64decode(pictures[-1]["image/png"])
            path = folder / f"{name}.png"
            if not path.is_file() or path.read_bytes() != content:
                files.atomic_write(path, content)
