"""Experiments are found, and what is wrong with one is said in a line that names file and key."""

import json

import pytest

from tests import made_up_book
from tests.made_up_book import PARAMETERS, YAML
from towers import experiments
from towers.experiments import ExperimentError


def yaml(**changes: str | None) -> str:
    """The usual YAML with keys replaced, added, or removed (None)."""
    lines = dict(line.split(": ", 1) for line in YAML.splitlines()) | changes
    return "\n".join(f"{key}: {value}" for key, value in lines.items() if value is not None)


class TestFind:
    def test_gives_every_experiment_by_name(self, checkout):
        made_up_book.add(checkout, "lilt/two")
        made_up_book.add(checkout, "clip/one", yaml=yaml(needs="[lilt/two]", gpu="[paper]"))
        (checkout / "notebooks/clip/.ipynb_checkpoints").mkdir()
        (checkout / "notebooks/clip/.one.ipynb").write_text("{")
        found = experiments.find()
        assert list(found) == ["clip/one", "lilt/two"]
        one = found["clip/one"]
        assert (one.title, one.paper, one.serves) == ("Tiny", "clip", ["Table 1"])
        assert (one.needs, one.gpu, one.minutes["laptop"]) == (["lilt/two"], ["paper"], 1.0)
        assert one.parameters() == {"scale": "laptop", "seed": 0, "candidates": 100, "rate": 0.5}

    def test_optional_keys_have_defaults(self, checkout):
        text = yaml(paper=None, serves=None, scales=None)
        made_up_book.add(checkout, "foundations/data", yaml=text)
        found = experiments.get("foundations/data")
        assert (found.paper, found.serves, found.needs, found.gpu) == (None, [], [], [])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"servs": "[]"}, "a/b.yaml: expected keys of title, question, .*; got 'servs'"),
            ({"title": None}, "a/b.yaml: expected title, which is missing"),
            ({"minutes": None}, "a/b.yaml: expected minutes, which is missing"),
            ({"title": "3"}, "a/b.yaml: expected title to be a valid string, got 3"),
            ({"serves": "Table 1"}, "a/b.yaml: expected serves to be a valid list, got 'Table 1'"),
            ({"serves": ""}, "a/b.yaml: expected serves to be a valid list, got None"),
            ({"gpu": "[huge]"}, "gpu.0 to be 'smoke', 'laptop' or 'paper', got 'huge'"),
            ({"needs": "[a/c]"}, "a/b.yaml: needs: no experiment 'a/c'"),
            ({"needs": "[a/b]"}, "a/b.yaml: needs: no experiment 'a/b'"),
            (
                {"minutes": "{laptop: 1}"},
                "expected minutes for each of smoke, laptop, paper, got {'laptop': 1",
            ),
            (
                {"minutes": "{smoke: 1, laptop: 0, paper: 1}"},
                "expected minutes.laptop to be greater than 0, got 0",
            ),
            (
                {"minutes": "{smoke: 1, laptop: x, paper: 1}"},
                "expected minutes.laptop to be a valid number, got 'x'",
            ),
            (
                {"scales": "{laptop: {seed: 1}}"},
                "scales.laptop to be 'smoke' or 'paper', got 'laptop'",
            ),
            ({"scales": "{huge: {seed: 1}}"}, "scales.huge to be 'smoke' or 'paper', got 'huge'"),
            ({"scales": "{smoke: {sed: 1}}"}, "a/b.yaml: a/b has no parameter 'sed'; its param"),
            ({"scales": "{smoke: {seed: 1.5}}"}, "a/b.yaml: a/b: seed must be int, got 1.5"),
            ({"scales": "{smoke: {seed: -1}}"}, r"a/b.yaml: a/b: seed must be in \[0, 2\^32\)"),
            ({"choices": "{sed: [1]}"}, "a/b.yaml: a/b has no parameter 'sed'"),
            ({"choices": "{seed: [1]}"}, "choices: seed lacks its default"),
            ({"title": "x\ntitle: y"}, "a/b.yaml: line 2: title is there twice"),
        ],
    )
    def test_refuses_a_wrong_entry_in_one_line(self, checkout, changes, message):
        made_up_book.add(checkout, "a/b", yaml=yaml(**changes))
        for read in (experiments.find, lambda: experiments.get("a/b")):
            with pytest.raises(ExperimentError, match=message) as caught:
                read()
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "- 1", "text", "\x00", "\ud800"])
    def test_refuses_a_file_without_keys(self, checkout, text):
        path = made_up_book.add(checkout, "a/b").with_suffix(".yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(ExperimentError, match=r"a/b\.yaml: "):
            experiments.find()

    def test_refuses_a_circle_of_needs(self, checkout):
        for name, need in (("a/a", "a/b"), ("a/b", "a/c"), ("a/c", "a/a")):
            made_up_book.add(checkout, name, yaml=yaml(needs=f"[{need}]"))
        with pytest.raises(ExperimentError, match=r"a circle, got .*a/a -> a/b"):
            experiments.find()
        with pytest.raises(ExperimentError, match="a circle"):
            experiments.in_order(["a/b"])

    def test_refuses_a_notebook_or_a_yaml_alone(self, checkout):
        made_up_book.add(checkout, "a/b").with_suffix(".yaml").unlink()
        with pytest.raises(ExperimentError, match=r"b\.ipynb: expected b\.yaml beside it"):
            experiments.find()
        (checkout / "notebooks/a/b.ipynb").rename(checkout / "notebooks/a/b.txt")
        (checkout / "notebooks/a/b.yaml").write_text(YAML)
        with pytest.raises(ExperimentError, match=r"b\.yaml: expected a notebook b\.ipynb"):
            experiments.find()

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ("seed: int = 0", 'its parameters need `scale: str = "laptop"`'),
            ('scale = "smoke"\nseed = 0', 'its parameters need `scale: str = "laptop"`'),
            ('scale = "laptop"', "its parameters need `seed: int = 0`"),
            ('scale = "laptop"\nseed = 0.0', "its parameters need `seed: int = 0`"),
            (PARAMETERS + "x = y", "parameters cell, line 5: expected a literal for x, got `y`"),
        ],
    )
    def test_refuses_a_parameters_cell_that_breaks_the_contract(
        self, checkout, parameters, message
    ):
        made_up_book.add(checkout, "a/b", parameters=parameters)
        with pytest.raises(ExperimentError, match=message):
            experiments.find()

    def test_refuses_a_notebook_without_its_one_parameters_cell(self, checkout):
        path = made_up_book.add(checkout, "a/b")
        content = json.loads(path.read_text())
        for tagged in (0, 2):
            for number, cell in enumerate(content["cells"][:2]):
                cell["metadata"]["tags"] = ["parameters"] if number < tagged else []
            path.write_text(json.dumps(content))
            with pytest.raises(ExperimentError, match=f"`parameters`, got {tagged}"):
                experiments.find()

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{}]}', "\x00"])
    def test_refuses_what_is_no_notebook(self, checkout, text):
        made_up_book.add(checkout, "a/b").write_text(text)
        with pytest.raises(ExperimentError, match=r"b\.ipynb: expected a notebook"):
            experiments.find()


class TestGet:
    def test_knows_one_experiment_whatever_state_the_others_are_in(self, checkout):
        made_up_book.add(checkout, "a/b")
        made_up_book.add(checkout, "a/c", yaml="nonsense")
        assert experiments.get("a/b").name == "a/b"

    def test_an_unknown_name_gives_the_closest_ones(self, checkout):
        for name in ("clip/zero_shot", "clip/retrieval"):
            made_up_book.add(checkout, name)
        with pytest.raises(ExperimentError, match="'clip/zeroshot'; did you mean clip/zero_shot"):
            experiments.get("clip/zeroshot")
        with pytest.raises(ExperimentError, match="there are: clip/retrieval, clip/zero_shot"):
            experiments.get("qqq")

    @pytest.mark.parametrize("name", ["../../etc/passwd", "", "/", "a/b/../b", "a/b.ipynb"])
    def test_a_name_is_no_path(self, checkout, name):
        made_up_book.add(checkout, "a/b")
        with pytest.raises(ExperimentError, match="no experiment"):
            experiments.get(name)


class TestOrder:
    def test_each_comes_after_what_it_needs(self, checkout):
        made_up_book.add(checkout, "a/last", yaml=yaml(needs="[a/mid, a/first]"))
        made_up_book.add(checkout, "a/mid", yaml=yaml(needs="[a/first]"))
        made_up_book.add(checkout, "a/first")
        made_up_book.add(checkout, "a/alone")
        order = [item.name for item in experiments.in_order(["a/last", "a/mid"])]
        assert order == ["a/first", "a/mid", "a/last"]


class TestResolve:
    def test_scale_then_overrides_then_kinds(self, checkout):
        made_up_book.add(checkout, "a/b")
        one = experiments.get("a/b")
        assert experiments.resolve(one) == one.parameters()
        smoke = experiments.resolve(one, "smoke", {"rate": 1})
        assert smoke == {"scale": "smoke", "seed": 0, "candidates": 10, "rate": 1.0}
        assert type(smoke["rate"]) is float
        assert experiments.resolve(one, "smoke", {"candidates": 7})["candidates"] == 7

    @pytest.mark.parametrize(
        ("scale", "overrides", "message"),
        [
            ("huge", {}, "no scale 'huge'; expected one of smoke, laptop, paper"),
            ("smoke", {"nosuch": 1}, "a/b has no parameter 'nosuch'; its parameters: candidates"),
            ("smoke", {"seed": True}, r"a/b: seed must be int, got True \(bool\)"),
            ("smoke", {"rate": "x"}, r"a/b: rate must be float, got 'x' \(str\)"),
            ("smoke", {"scale": "paper"}, "scale is 'smoke'; set it with --scale, not -p"),
            ("smoke", {"seed": 2**32}, "seed must be in"),
            ("smoke", {"candidates": 3}, "a/b: candidates must be one of 10, 100, got 3"),
        ],
    )
    def test_refuses_in_one_line_with_key_given_and_allowed(
        self, checkout, scale, overrides, message
    ):
        made_up_book.add(checkout, "a/b", yaml=yaml(choices="{candidates: [10, 100]}"))
        with pytest.raises(ExperimentError, match=message):
            experiments.resolve(experiments.get("a/b"), scale, overrides)

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"models": [1]}, r"models must be list\[str\], got \[1\]"),
            ({"models": "toy"}, r"models must be list\[str\], got 'toy'"),
            ({"seeds": []}, "seeds must be in .*at least one, and each once, got"),
            ({"seeds": [0, 0]}, "each once"),
            ({"seeds": [-1]}, r"seeds must be in \[0, 2\^32\)"),
            ({"seeds": ["0"]}, r"seeds must be list\[int\], got \['0'\]"),
            ({"seeds": [0.5]}, r"seeds must be list\[int\], got \[0.5\]"),
            ({"tasks": []}, r"tasks must not be empty, got \[\]"),
            ({"about": ""}, "about must not be empty"),
            ({"candidates": -1}, "candidates must not be negative, got -1"),
            ({"lengths": [3, -3]}, "lengths must not be negative"),
            (
                {"about": "folder:l\udce4ufe"},
                r"about must be text in UTF-8, .*, got 'folder:l",
            ),
        ],
    )
    def test_refuses_what_no_run_could_use(self, checkout, overrides, message):
        more = 'models: list = []\nseeds: list = [0, 1]\ntasks: list = ["a"]\nabout: str = "b"\n'
        more += "lengths: list = [1, 2]\nshift: int = -1\nfew: list = [1]\n"
        about = yaml(needed="[tasks, about]")
        made_up_book.add(checkout, "a/b", parameters=PARAMETERS + more, yaml=about)
        one = experiments.get("a/b")
        with pytest.raises(ExperimentError, match=message) as raised:
            experiments.resolve(one, "smoke", overrides)
        assert "\n" not in str(raised.value)
        fine = {
            "models": ["x"],
            "seeds": [3],
            "tasks": ["c"],
            "few": [],
            "shift": -2,
            "lengths": [],
        }
        assert experiments.resolve(one, "smoke", fine).items() >= fine.items()

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("rate", "1", 1.0), ("rate", "1e-4", 1e-4), ("seed", "3", 3), ("note", "3", "3"),
            ("note", "'x'", "'x'"), ("note", "", ""), ("langs", "[en, no]", ["en", "no"]),
            ("langs", "['a b', \"c\"]", ["a b", "c"]), ("ks", "[1, 2]", (1, 2)),
            ("ks", "1,2", (1, 2)),
            ("maybe", "null", None), ("maybe", "None", None), ("maybe", "text", "text"),
            ("flag", "true", True), ("flag", "False", False),
        ],
    )  # fmt: skip
    def test_reads_values_from_the_command_line(self, checkout, name, text, expected):
        more = 'note = "x"\nlangs = ["en"]\nks = (1, 5)\nmaybe: str | None = None\nflag = False\n'
        made_up_book.add(checkout, "a/b", parameters=PARAMETERS + more)
        found = experiments.from_text(experiments.get("a/b"), name, text)
        assert found == expected
        assert type(found) is type(expected)

    @pytest.mark.parametrize("text", ["x", "", "1.5", "true", "[1", "9" * 5000, "(" * 9000, "\0"])
    def test_refuses_text_of_another_kind(self, checkout, text):
        made_up_book.add(checkout, "a/b")
        with pytest.raises(ExperimentError, match="a/b: seed must be int, got '") as caught:
            experiments.from_text(experiments.get("a/b"), "seed", text)
        assert len(str(caught.value)) < 200
