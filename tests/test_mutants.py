"""What mutation changes, and what it leaves alone."""

import pytest

from tests.mutants import mutants


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", {"a < b -> a <= b", "a < b -> a > b"}),
        ("return a + b", {"a + b -> a - b"}),
        ("a *= b", {"a *= b -> a /= b"}),
        ("return a and not b", {"a and (not b) -> a or not b", "not b -> not not b"}),
        ("return f(2)", {"f(2) -> f(3)", "f(2) -> f(1)"}),
        ("return f(axis=0)", {"axis=0 -> axis=1"}),
        ("return f(0.5, -1)", {"f(0.5, -1) -> f(1.5, -1)", "f(0.5, -1) -> f(-0.5, -1)", "-1 -> +1",
                               "-1 -> -2"}),
        ("return a.mean() if b else min(a)", {"a.mean() -> a.sum()", "min(a) -> max(a)",
                                              "a.mean() if b else min(a) -> "
                                              "a.mean() if not b else min(a)"}),
        ("def g(k=True, seed=0): return k", {"k=True -> k=False"}),
        ("raise ValueError(f'{a + 1}', 2)", set()),
        ("'''Text of 1 + 1.'''", set()),
        ("x: Array[3] = f(seed=1, strict=True)", set()),
    ],
)  # fmt: skip
def test_a_line_makes_these_mutants(line, expected):
    made = list(mutants(f"import a\ndef outer(a, b):\n    {line}"))
    assert {mutant.change for mutant in made} == expected
    assert {(mutant.line, mutant.function, mutant.body) for mutant in made} <= {(3, "outer", True)}


def test_a_constant_of_the_module_and_a_default_work_when_it_is_imported():
    made = list(mutants("LIMIT = 3\nclass C:\n    def f(self, k=0): return k"))
    assert {(mutant.function, mutant.change, mutant.body) for mutant in made} == {
        ("", "3 -> 4", False), ("", "3 -> 2", False), ("C.f", "k=0 -> k=1", False)
    }  # fmt: skip


def test_a_mutant_is_the_module_with_one_change():
    first, second = mutants(
        "def f(a, b):\n    return a - b\ndef g(a, b):\n    return a - b  # less"
    )
    assert "a + b" in first.source.split("def g")[0]
    assert "a + b" in second.source.split("def g")[1]
    assert first.source.count("+") == second.source.count("+") == 1
