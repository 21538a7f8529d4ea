"""A parameters cell declares typed literals, and only values of those types take their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.experiments.parameters import ExperimentError, accept, declared, infer

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


class TestCell:
    def test_declares_names_defaults_and_types(self):
        cell = 'a: float = 1  # rate\nb = [1, 2.5]\nc = ("x",)\n'
        cell += 'd: int | None = None\ne = -3\nf = {"k": 1}'
        found = declared(cell, "cell")
        assert {name: item.default for name, item in found.items()} == {
            "a": 1.0, "b": [1, 2.5], "c": ("x",), "d": None, "e": -3, "f": {"k": 1},
        }  # fmt: skip
        assert [item.annotation for item in found.values()] == [
            "float",
            "list[int | float]",
            "tuple[str, ...]",
            "int | None",
            "int",
            "dict",
        ]
        assert type(found["a"].default) is float

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            ("import os", "cell, line 1: expected `name: type = literal`"),
            ("a = 1\nprint(a)", "cell, line 2: expected `name: type = literal`"),
            ("a = b = 1", "expected `name: type = literal`"),
            ("a, b = 1, 2", "expected `name: type = literal`"),
            ("a: int", "expected `name: type = literal`"),
            ("a += 1", "expected `name: type = literal`"),
            ("a.b = 1", "expected `name: type = literal`"),
            ("a = 2 ** 3", r"expected a literal for a, got `2 \*\* 3`"),
            ("a = open('x')", r"expected a literal for a, got `open\('x'\)`"),
            ("a = f'x'", "expected a literal for a"),
            ("a = {1, 2}", r"a must be None \| bool \| int .*, got {1, 2} \(set\)"),
            ("a = 1e999", "a must be float, got inf"),
            ("a = b'x'", r"a must be None \| bool \| int .*, got b'x' \(bytes\)"),
            ("a: int = 'x'", r"cell, line 1: a must be int, got 'x' \(str\)"),
            ("a: int = True", r"a must be int, got True \(bool\)"),
            ("a: Path = 'x'", "a must have a type such as .*, got `Path`"),
            ("a: list[str] = [1]", r"a must be list\[str\], got \[1\]"),
            ("a = 1\na = 2", "cell: a is declared twice"),
            ("a = (", "cell: expected Python assignments"),
            ("a = '\0'", "cell: expected Python assignments"),
        ],
    )
    def test_refuses_everything_else_with_its_line(self, cell, message):
        with pytest.raises(ExperimentError, match=message):
            declared(cell, "cell")


class TestAccept:
    @pytest.mark.parametrize(
        ("annotation", "value", "expected"),
        [
            ("float", 3, 3.0),
            ("int | float", 3, 3),
            ("tuple[int, ...]", [1, 2], (1, 2)),
            ("list[float]", (1, 2), [1.0, 2.0]),
            ("tuple[str, ...]", [], ()),
            ("dict[str, float]", {"a": 1}, {"a": 1.0}),
            ("str | None", None, None),
            ("list", [1, "x", None], [1, "x", None]),
            ("list[list[int]]", ((1,), ()), [[1], []]),
        ],
    )
    def test_converts_what_fits(self, annotation, value, expected):
        given = accept(value, annotation)
        assert given == expected
        assert repr(given) == repr(expected)

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            ("int", True), ("int", 1.0), ("int", "1"), ("bool", 0), ("float", True),
            ("float", "1"), ("float", float("nan")), ("float", float("inf")), ("float", 2**2000),
            ("str", 1), ("str", None), ("list[int]", [1, True]), ("list[int]", "12"),
            ("list[str]", {"a": 1}), ("dict[str, int]", {1: 1}), ("dict", [1]),
            ("int | None", "x"), ("list", [float("nan")]), ("list", [object()]),
        ],
    )  # fmt: skip
    def test_refuses_what_does_not(self, annotation, value):
        with pytest.raises(ExperimentError, match=r"^must be ") as caught:
            accept(value, annotation)
        assert len(str(caught.value)) < 200

    @given(LITERALS)
    def test_a_default_fits_its_own_type_unchanged(self, value):
        assert repr(accept(value, infer(value))) == repr(value)

    @given(LITERALS, LITERALS)
    def test_accepting_twice_is_accepting_once(self, default, value):
        try:
            once = accept(value, infer(default))
        except ExperimentError:
            return
        assert repr(accept(once, infer(default))) == repr(once)

    def test_an_empty_default_list_takes_text_and_none_takes_anything(self):
        assert accept(["en"], infer([])) == ["en"]
        with pytest.raises(ExperimentError, match=r"must be list\[str\]"):
            accept([1], infer([]))
        assert accept([1, {"a": None}], infer(None)) == [1, {"a": None}]
