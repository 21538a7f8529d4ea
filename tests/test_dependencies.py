"""What the library imports is what it declares: nothing rests on the dependencies of others."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import towers

PACKAGE = Path(towers.__file__).parent
ROOT = Path(__file__).parents[1]


def imported(source: str) -> Iterator[str]:
    """First names of the modules that a source file imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def spelt(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_package_is_declared_and_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {spelt(re.match(r"[\w.-]+", entry)[0]) for entry in project["dependencies"]}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {spelt(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    names = {name for path in PACKAGE.rglob("*.py") for name in imported(path.read_text("utf-8"))}
    owners = importlib.metadata.packages_distributions()
    for name in sorted(names - sys.stdlib_module_names - {"towers"}):
        assert declared & {spelt(owner) for owner in owners[name]}, f"{name} is not declared"
    assert declared <= locked


def test_every_peer_of_a_benchmark_is_declared_and_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    declared = {spelt(re.match(r"[\w.-]+", entry)[0]) for entry in entries}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {spelt(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    names = {
        name for path in ROOT.glob("benchmarks/*.py") for name in imported(path.read_text("utf-8"))
    }
    owners = importlib.metadata.packages_distributions()
    for name in sorted(names - sys.stdlib_module_names - {"towers", "benchmarks"}):
        assert (declared & locked) & {spelt(owner) for owner in owners[name]}, f"{name} is missing"


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\ndef f():\n    from d.e import g\n    from . import h"
    assert set(imported(source)) == {"a", "c", "d"}
