"""Mutants of a module: its source with one operator, constant or condition changed.

Text makes no mutant: docstrings, annotations, error messages, names, seeds.
"""

import ast
import itertools
from collections.abc import Iterator
from typing import NamedTuple

COMPARED = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
CALLED = {"min": "max", "mean": "sum", "any": "all", "argmin": "argmax", "floor": "ceil",
          "minimum": "maximum", "amin": "amax"}  # fmt: skip
CALLED |= {other: name for name, other in CALLED.items()}
TEXT = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr)
TEXT_FIELDS = {"annotation", "returns", "decorator_list"}
TEXT_OPTIONS = {"seed", "strict", "desc", "unit", "title"}


class Mutant(NamedTuple):
    """One change of a module.

    Attributes:
        line: where it stands in the module as it was written.
        function: dotted name of the function or method around it.
        change: the expression before and after.
        source: the mutated module, each statement on one line.
        body: whether it lies within a function's body, which calls alone run.
    """

    line: int
    function: str
    change: str
    source: str
    body: bool


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    for *around, node in computing(tree):
        parent, scopes, body = (around or [None])[-1], [], False
        for outer, inner in itertools.pairwise([*around, node]):
            if isinstance(outer, ast.FunctionDef | ast.ClassDef) and not body:
                scopes.append(outer.name)
                body = isinstance(outer, ast.FunctionDef) and inner in outer.body
        option = ""
        if isinstance(parent, ast.arguments):
            option = f"{option_of(node, parent)}="
        if option[:-1] in TEXT_OPTIONS:
            continue
        shown = parent if isinstance(node, ast.Constant) and isinstance(parent, ast.expr) else node
        shown = parent if isinstance(parent, ast.keyword) else shown
        for holder, attribute, new in changes(node, parent):
            old, before = getattr(holder, attribute), decided(shown)
            setattr(holder, attribute, new)
            change = f"{option}{before} -> {option}{decided(shown)}"
            yield Mutant(node.lineno, ".".join(scopes), change, ast.unparse(tree), body)
            setattr(holder, attribute, old)


def computing(node: ast.AST, *around: ast.AST) -> Iterator[tuple[ast.AST, ...]]:
    """Every node that is more than text, behind those around it."""
    yield (*around, node)
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            text = field in TEXT_FIELDS or isinstance(child, TEXT)
            text |= isinstance(child, ast.keyword) and child.arg in TEXT_OPTIONS
            if isinstance(child, ast.AST) and not text:
                yield from computing(child, *around, node)


def changes(node: ast.AST, parent: ast.AST | None) -> Iterator[tuple[ast.AST, str, object]]:
    """What to change about a node, for each mutant that it makes: object, attribute, new value."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in COMPARED[type(operator)]:
                    yield node, "ops", [*node.ops[:index], other(), *node.ops[index + 1 :]]
        case ast.BinOp(op=ast.BitOr()) if isinstance(parent, ast.Module | ast.Assign):
            pass  # a union of types
        case ast.BinOp() | ast.AugAssign() if type(node.op) in COMPUTED:
            yield node, "op", COMPUTED[type(node.op)]()
        case ast.BoolOp():
            yield node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not()):
            yield node, "operand", ast.UnaryOp(ast.Not(), node.operand)
        case ast.UnaryOp():
            yield node, "op", ast.UAdd()
        case ast.Constant(value=bool()):
            yield node, "value", not node.value
        case ast.Constant(value=int() | float()):
            yield node, "value", node.value + 1
            if node.value and not isinstance(parent, ast.UnaryOp):
                yield node, "value", node.value - 1 if isinstance(node.value, int) else -node.value
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            yield node.func, "id", CALLED[name]
        case ast.Call(func=ast.Attribute(attr=name)) if name in CALLED:
            yield node.func, "attr", CALLED[name]
        case ast.If() | ast.IfExp() | ast.While() if isinstance(
            node.test, ast.Name | ast.Attribute | ast.Call
        ):
            yield node, "test", ast.UnaryOp(ast.Not(), node.test)


def option_of(default: ast.AST, arguments: ast.arguments) -> str:
    """The name of the argument that a default belongs to."""
    named = zip(arguments.args[::-1], arguments.defaults[::-1], strict=False)
    keyed = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return next((a.arg for a, value in [*named, *keyed] if value is default), "")


def decided(node: ast.AST) -> str:
    """The source of an expression, or of what a statement decides by."""
    return ast.unparse(node.test if isinstance(node, ast.If | ast.While) else node)
