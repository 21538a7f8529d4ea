"""Every notebook keeps the contract: short cells, no logic, no outputs, no typed results."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from towers import files

NOTEBOOKS = sorted((files.repo_root() / "notebooks").glob("*/*.ipynb"))


def code_cells(path: Path) -> list:
    """The code cells of a notebook."""
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
class TestContract:
    def test_outputs_are_stripped(self, path):
        assert all(not c.outputs and c.execution_count is None for c in code_cells(path))

    def test_cells_are_few_and_short(self, path):
        lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
        assert len(lengths) <= 20
        assert max(lengths) <= 20
        assert statistics.median(lengths) <= 6

    def test_cells_hold_no_classes_functions_or_batch_loops(self, path):
        for cell in code_cells(path):
            for node in ast.walk(ast.parse(cell.source)):
                forbidden = (ast.ClassDef, ast.FunctionDef, ast.While, ast.Try, ast.Global)
                assert not isinstance(node, forbidden), cell.source

    def test_first_call_begins_and_last_call_writes(self, path):
        source = "\n".join(cell.source for cell in code_cells(path))
        name = f"{path.parent.name}/{path.stem}"
        assert f'experiments.begin("{name}", globals())' in source
        assert "run.write()" in source

    def test_every_figure_has_a_name_a_caption_and_a_description(self, path):
        names = set()
        for cell in code_cells(path):
            if "plots." in cell.source:
                shown = cell.metadata.get("mystnb", {})
                assert len(shown["figure"]["caption"]) > 40
                assert len(shown["image"]["alt"]) > 20
                names.add(shown["figure"]["name"])
        assert names
        assert all(re.fullmatch(r"fig-[a-z0-9-]+", name) for name in names)

    def test_prose_has_no_typed_percentages(self, path):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                ours = re.sub(r"(?s):::\{admonition\} What the paper says.*?\n:::", "", cell.source)
                ours = re.sub(r"\{record\}`[^`]*`|95 % interval", "", ours)
                assert not re.search(r"\d\s?%", ours), cell.source
