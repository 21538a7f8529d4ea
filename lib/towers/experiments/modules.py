"""Reads the library's modules as text: a digest of each one's code, its imports, its words.

Parsing all of them takes a second or two, so the results are kept in the user's cache, by the
text of each module; a damaged or missing cache only costs that time.
"""

import ast
import contextlib
import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from towers import files
from towers.experiments.parameters import ExperimentError

MOST = 5000  # entries of the cache; beyond, it starts afresh


class Module(NamedTuple):
    """One module of the library.

    Attributes:
        digest: of its syntax tree without docstrings.
        imports: as `imports` gives them.
        words: strings without spaces, keywords of calls, and imported names.
        face: whether it is a package's `__init__.py`.
    """

    digest: str
    imports: tuple[str, ...]
    words: tuple[str, ...]
    face: bool


class Package(dict):
    """The modules of `towers` by dotted name, each read when it is first asked for.

    A name that no module has gives None.

    Args:
        folder: of the package.

    Raises:
        ExperimentError: a module that is asked for is no Python.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.memory = _memory(files.cache_home())

    def __missing__(self, name: str) -> Module | None:
        path = locate(self.folder, name)
        if path is None:
            return self.setdefault(name, None)
        source = path.read_bytes()
        key = files.sha256(f"{_version()}\0{name}\0{path.name}\0".encode() + source)
        if key not in self.memory:
            try:
                self.memory[key] = _parse(source, name, path.name == "__init__.py")
            except (SyntaxError, ValueError, RecursionError) as error:
                raise ExperimentError(f"{path}: expected Python: {error}") from error
            self.memory.grown = True
        return self.setdefault(name, self.memory[key])

    def target(self, imported: str) -> str:
        """The module whose code an import uses.

        For `from towers.data import load` this is the module from which `towers/data/__init__.py`
        imports `load`, or `towers.data` itself if `load` is defined there. What else that
        `__init__.py` imports does not count.

        Args:
            imported: as `imports` gives it.
        """
        name = imported.replace(":", ".")
        if "." not in name or self[name]:
            return name
        base, _, last = name.rpartition(".")
        module = self[base]
        if module is None:
            return self.target(base)
        sources = [source for source in module.imports if source.endswith(f":{last}")]
        return self.target(sources[0]) if module.face and sources else base

    def remember(self) -> None:
        """Write the cache for the next process; a full disk does not matter."""
        if self.memory.grown:
            with contextlib.suppress(OSError):
                files.atomic_write(self.memory.path, json.dumps(self.memory))
            self.memory.grown = False


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


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Everything of `towers` that some code imports, anywhere in it.

    Args:
        tree: the code.
        package: dotted name of the package it stands in; "" outside packages.

    Returns:
        "towers.data" for `import towers.data`; "towers.data:load" for `from towers.data import
        load`; "towers.data.load" for `data.load` where `data` was imported and nothing else is done
        with it; see `Package.target`.
    """
    nodes = list(ast.walk(tree))
    uses: dict[str, set[str]] = {}  # name -> attributes that are read; "" where it stands alone
    owners = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Name):
            uses.setdefault(node.id, set()).add(owners.get(id(node), ""))
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.asname or "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            names = [(f"{base}:{alias.name}", alias.asname or alias.name) for alias in node.names]
        else:
            continue
        for name, bound in names:
            if name.partition(":")[0].split(".")[0] == "towers":
                attributes = uses.get(bound, {""})
                whole = name.replace(":", ".")
                yield from [name] if "" in attributes else (f"{whole}.{a}" for a in attributes)


def words(tree: ast.AST) -> Iterator[str]:
    """The words of some code: strings without spaces, and keywords of its calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not re.search(r"\s", node.value):
                yield node.value
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


class _Memory(dict):
    """Key of a source -> module, as it stands in a file."""

    def __init__(self, path: Path):
        self.path = path
        self.grown = False
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            entries = json.loads(path.read_text(encoding="utf-8"))
            if len(entries) < MOST:
                self |= {
                    key: Module(digest, tuple(imports), tuple(words), face)
                    for key, (digest, imports, words, face) in entries.items()
                }


@functools.cache
def _memory(home: Path) -> _Memory:
    return _Memory(home / "modules.json")


@functools.cache
def _version() -> str:
    """What the digests depend on beside the source: how they are made."""
    return f"{sys.version_info[:2]} {files.sha256(Path(__file__))}"


def _parse(source: bytes, name: str, face: bool) -> Module:
    tree = ast.parse(source)
    names = tuple(sorted(set(imports(tree, name if face else name.rpartition(".")[0]))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[isinstance(first.value.value, str) :]
    named = {re.split("[.:]", name)[-1] for name in names} | set(words(tree))
    return Module(files.sha256(ast.dump(tree).encode()), names, tuple(sorted(named)), face)
