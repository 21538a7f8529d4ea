"""Writes the pages of the book that are not kept in the repository.

These are the executed notebooks, a notice for each that has no result, and the library's reference.
"""

import base64
from pathlib import Path

import nbformat

from towers import experiments, files, records
from towers.report.pages import finishing_cells, missing_markdown


def assemble(scale: str, root: Path | None = None) -> list[Path]:
    """Put the executed notebooks, and the library's reference, where the contents expect them.

    Each notebook gets its closing cells (provenance, links). An experiment without a good run at
    this scale gets a page that says so, and why. Pages that did not change keep their file times.

    Args:
        scale: the scale to show.
        root: the checkout; found if None.

    Returns:
        The notebooks' pages, under `book/run/`; the reference is in `book/api/`.
    """
    root = root or files.repo_root()
    write_api_pages(root / "book/api")
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


def write_api_pages(folder: Path) -> None:
    """Write the library's reference: a page for each package, with an entry for each module.

    Args:
        folder: of the pages; what else is in it goes.
    """
    from sphinx.ext import apidoc  # takes a second

    options = ["-q", "--no-toc", "--force", "--remove-old"]
    options += ["--templatedir", str(Path(__file__).parent), "--output-dir", str(folder)]
    apidoc.main([*options, str(Path(__file__).parents[1])])


def _page(result: Path, experiment: experiments.Experiment) -> nbformat.NotebookNode:
    """The source notebook with the outputs of a run, if both have the same code.

    So an edit of a sentence or of a caption shows without another run. If the code differs, the
    notebook is shown as it ran. Parameters that differ from the notebook's are shown below those.
    """
    executed = nbformat.read(result / records.NOTEBOOK, as_version=4)
    source = nbformat.read(experiment.notebook, as_version=4)
    injected = [cell for cell in executed.cells if _tagged(cell, "injected-parameters")]
    ran = [cell for cell in executed.cells if cell.cell_type == "code" and cell not in injected]
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    if [cell.source for cell in ran] != [cell.source for cell in code]:
        return executed
    for cell, done in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
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
