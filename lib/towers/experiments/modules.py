"""A module of the house, read as text: a digest of what it does, and what it imports.

Parsing takes about 20 microseconds a line, so what is found is remembered in the user's cache, by
the module's text; what is remembered wrongly, or not at all, is worked out again.
"""

import ast
import contextlib
import functools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from towers import files
from towers.experiments.parameters import ExperimentError

MOST = 5000  # entries of the memory; beyond, it starts afresh


class Module(NamedTuple):
    """What a module does, as a digest of its syntax tree without docstrings; what it imports."""

    digest: str
    imports: tuple[str, ...]


def locate(package: Path, name: str) -> Path | None:
    """The source file of a module of `towers`, or None where the name is none of a module.

    Args:
        package: folder of the `towers` package.
        name: dotted, for example "towers.data.images".
    """
    stem = package.joinpath(*name.split(".")[1:])
    for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if path.is_file():
            return path
    return None


def read(package: Path, name: str) -> Module | None:
    """A module of `towers`, or None where the name is none of a module.

    Args:
        package: folder of the `towers` package.
        name: dotted, for example "towers.data.images".

    Raises:
        ExperimentError: its source is no Python.
    """
    path = locate(package, name)
    if path is None:
        return None
    source = path.read_bytes()
    whole = path.name == "__init__.py"
    key = files.sha256(f"{_version()}\0{name}\0{whole}\0".encode() + source)
    memory = _memory(files.cache_home())
    if key not in memory:
        try:
            memory[key] = _parse(source, name if whole else name.rpartition(".")[0])
        except (SyntaxError, ValueError, RecursionError) as error:
            raise ExperimentError(f"{path}: expected Python: {error}") from error
        memory.grown = True
    return memory[key]


def remember() -> None:
    """Keep what this process has found out for the next one; a full disk is no matter."""
    memory = _memory(files.cache_home())
    if memory.grown:
        with contextlib.suppress(OSError):
            files.atomic_write(memory.path, json.dumps(memory))
        memory.grown = False


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Everything of `towers` that some code may import.

    Args:
        tree: the code.
        package: dotted name of the package it stands in; "" outside packages.

    Returns:
        "towers.data" for `import towers.data`, "towers.data:load" for `from towers.data import
        load`, which may be a module or a name that the package's face brings: see `target`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found: Iterable[str] = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            found = [f"{base}:{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in found if name.partition(":")[0].split(".")[0] == "towers")


def target(package: Path, imported: str) -> str:
    """The module that an import brings: the one that is named, else what is asked for a name.

    A package's face is not counted where one of its modules is imported by name: it runs, but what
    it gathers from other modules goes nowhere.

    Args:
        package: folder of the `towers` package.
        imported: as `imports` gives it.
    """
    base, _, name = imported.partition(":")
    module = f"{base}.{name}"
    return module if name and locate(package, module) else base


class _Memory(dict):
    """Key of a source -> module, as it stands in a file."""

    def __init__(self, path: Path):
        self.path = path
        self.grown = False
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            found = json.loads(path.read_text(encoding="utf-8"))
            if len(found) < MOST:
                self |= {
                    key: Module(digest, tuple(names)) for key, (digest, names) in found.items()
                }


@functools.cache
def _memory(home: Path) -> _Memory:
    return _Memory(home / "modules.json")


@functools.cache
def _version() -> str:
    """What the digests depend on beside the source: how they are made."""
    return f"{sys.version_info[:2]} {files.sha256(Path(__file__))}"


def _parse(source: bytes, package: str) -> Module:
    tree = ast.parse(source)
    names = tuple(sorted(set(imports(tree, package))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[isinstance(first.value.value, str) :]
    return Module(files.sha256(ast.dump(tree).encode()), names)
