"""The explorer of policies: what it says, and that it needs nothing to say it."""

import re

import pandas as pd
import pytest

from towers.widgets import policy_explorer

LAYERS = pd.DataFrame(
    [
        ("image", "input", "weights", 1000, 0),
        ("image", "layer 1", "weights", 2000, 0),
        ("image", "layer 1", "norms", 20, 20),
        ("image", "layer 1", "adapters", 300, 300),
        ("text", "layer 1", "weights", 400, 40),
    ],
    columns=["tower", "part", "kind", "parameters", "trainable"],
)


def test_the_numbers_are_those_of_the_frame():
    page = policy_explorer({"one & all": LAYERS}, {"one & all": "R@10 <b>"})._repr_html_()
    assert "360 of 3,720 parameters move, 9.68%." in page
    assert "R@10 &lt;b&gt;" in page
    assert "one &amp; all" in page
    assert "image tower, 9.64% moves" in page
    assert '<span class="added" title="adapters: 300, added">300</span>' in page
    assert '<span class="moves" title="norms: 20, move">20</span>' in page
    assert '<span class="moves" title="weights: 40 of 400, move">40 of 400</span>' in page
    assert '<span class="locked" title="weights: 2,000, locked">2,000</span>' in page


def test_the_first_policy_is_chosen_and_each_shows_its_own_panel():
    page = policy_explorer({"a": LAYERS, "b": LAYERS})._repr_html_()
    assert re.findall(r'<input [^>]+-(\d)"( checked)?>', page) == [("0", " checked"), ("1", "")]
    assert page.count('<div class="policy">') == 2
    assert re.findall(r":has\(#\S+-(\d):checked\) .policy:nth-of-type\((\d)\)", page) == [
        ("0", "1"), ("1", "2"),
    ]  # fmt: skip


def test_nothing_is_loaded_and_nothing_runs():
    page = policy_explorer({"a": LAYERS})._repr_html_()
    assert "<script" not in page
    assert "http" not in page
    assert "url(" not in page


def test_two_on_a_page_do_not_meet():
    first, second = (policy_explorer({"a": LAYERS})._repr_html_() for _ in range(2))
    assert set(re.findall(r'id="([^"]+)"', first)).isdisjoint(re.findall(r'id="([^"]+)"', second))


@pytest.mark.parametrize(("layers", "told"), [({}, {}), ({"a": LAYERS}, {"b": "no such"})])
def test_lines_about_other_policies_are_refused(layers, told):
    with pytest.raises(ValueError, match="expected policies, and lines about these only"):
        policy_explorer(layers, told)
