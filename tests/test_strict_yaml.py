"""YAML is read without the surprises of YAML 1.1."""

import contextlib

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from towers import strict_yaml


class Refused(ValueError):
    """Of the caller's own."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[en, no, on, yes, y, off]", ["en", "no", "on", "yes", "y", "off"]),  # languages
        ("1e-4", 1e-4), ("1E6", 1e6), ("-2.5e+3", -2500.0), (".5", 0.5), ("5.", 5.0), ("-3", -3),
        ("010", 10), ("1_000", "1_000"), ("12:30", "12:30"), ("2026-01-02", "2026-01-02"),
        ("true", True), ("~", None), ("null", None), ("None", "None"), ("", None), (".nan", ".nan"),
        ("0x1f", "0x1f"), ("a: {b: [1, x]}", {"a": {"b": [1, "x"]}}), ("'1'", "1"),
    ],
)  # fmt: skip
def test_values_are_what_they_look_like(text, expected):
    found = strict_yaml.load(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: a is there twice"),
        ("a: {b: 1, b: 2}", "line 1: b is there twice"),
        ("? [1]\n: 2", "line 1: expected a name as key"),
        ("a: [1", "line 1: "),
        ("a:\n\t- 1", "line 2: "),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("!!timestamp x", "could not determine a constructor"),
        ("!!bool x", "x"),
        ("!!int x", "invalid literal"),
        ("*nowhere", "undefined alias"),
        ("\x00", "special characters are not allowed"),
        ("[" * 5000, "RecursionError|recursion|line 1"),
    ],
)
def test_errors_are_one_line_with_the_place(text, message):
    with pytest.raises(Refused, match=message) as caught:
        strict_yaml.load(text, Refused)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        strict_yaml.load(text)


@example({"None": "None"})  # no null in YAML, so that it is written without quotes
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)  # fmt: skip
def test_what_yaml_writes_is_read_back(value):
    assert strict_yaml.load(yaml.safe_dump(value)) == value
