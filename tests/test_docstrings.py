"""Every public name of the library says what it is.

The rule: a public module, class, function, method or property has a docstring that begins with a
full sentence; and where a function takes four arguments or more, its docstring explains them under
`Args:` (ruff's D417 then finds one that is left out) or names, in `code`, what they mean or whose
arguments they are. Methods that a library calls, and protocols' methods, speak for themselves.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import towers

PACKAGE = Path(towers.__file__).parent
EXPLAINED = re.compile(r"\nArgs:\n|`")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public classes and functions of a module, methods included, with dotted names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def arguments(node: Definition) -> list[str]:
    """Names of a function's arguments, `self` and `cls` apart."""
    if isinstance(node, ast.ClassDef):
        return []
    names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def speaks_for_itself(node: Definition) -> bool:
    """Whether a name needs no docstring: a body of `...`, a setter, or a library's hook."""
    body = node.body[-1]
    empty = isinstance(body, ast.Expr) and getattr(body.value, "value", None) is ...
    marks = [mark.attr for mark in node.decorator_list if isinstance(mark, ast.Attribute)]
    return empty or bool({"setter", "deleter"} & {*marks}) or node.name == "extra_repr"


def lacking(source: str) -> list[str]:
    """What a module's docstrings lack, one line each."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in public(tree):
        text = ast.get_docstring(node) or ""
        if not text and not speaks_for_itself(node):
            found.append(f"{name} has no docstring")
        elif text and not text.split("\n\n")[0].rstrip().endswith((".", "?", ":")):
            found.append(f"{name}: its docstring begins with no full sentence")
        elif len(arguments(node)) >= 4 and "." not in name and not EXPLAINED.search(text):
            found.append(f"{name}: its docstring says nothing of its arguments")
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_every_public_name_says_what_it_is(path):
    assert lacking(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""M."""\ndef f(): pass', ["f has no docstring"]),
        ('"""M."""\nclass C:\n    """C."""\n    def m(self): pass', ["C.m has no docstring"]),
        (
            '"""M."""\ndef f():\n    """Gives x"""',
            ["f: its docstring begins with no full sentence"],
        ),
        (
            '"""M."""\ndef f(a, b, c, d):\n    """Adds."""',
            ["f: its docstring says nothing of its arguments"],
        ),
        ("", ["the module has no docstring"]),
        ('"""M."""\ndef _f(a, b, c): pass\nclass C:\n    """C."""\n    def m(self): ...', []),
        ('"""M."""\ndef f(a, b, c, d):\n    """As `g`."""', []),
        ('"""M."""\ndef f(a, b, c, d):\n    """Adds.\n\n    Args:\n        a: x.\n    """', []),
    ],
)
def test_the_checker_sees_what_is_lacking(source, expected):
    assert lacking(source) == expected
