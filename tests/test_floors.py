"""The floors of the house: a module imports only from floors below its own, never in a circle.

All imports count, also those inside functions. Rooms of one floor do not import each other; within
a room, modules may import each other as long as no circle comes of it.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import towers
from towers.data import cards

FLOORS = {
    0: ("checked", "names", "progress", "strict_yaml"),
    1: ("files",),
    2: ("records", "data", "losses", "metrics"),
    3: ("rendering", "experiments", "plots", "published"),
    4: ("models",),
    5: ("training", "evaluation", "widgets", "report", "listing"),
    6: ("papers", "cli"),
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> source file of every module below a package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(name: str, path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """The modules of the package that a module imports, each with its line."""
    inside = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            targets = [target if target in known else base for target in names]
        else:
            continue
        yield from ((target, node.lineno) for target in targets if target.split(".")[0] == "towers")


def hidden(path: Path) -> list[int]:
    """Lines that import by a name made at run time, which no reader of the source can follow."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", ""))
        in ("import_module", "__import__")
    ]


def faults(package: Path) -> list[str]:
    """Every arrow that the floors forbid, one line each."""
    known = modules(package)
    graph: dict[str, set[str]] = {name: set() for name in known}
    found = []
    for name, path in known.items():
        room = name.split(".")[1] if "." in name else None
        if (
            room != "report"
        ):  # it looks up the names that the prose mentions; no notebook reaches it
            place = path.relative_to(package)
            found += [f"{place}:{line}: a hidden import" for line in hidden(path)]
        if room not in FLOOR and name != "towers":
            found.append(f"{name}: room {room!r} stands on no floor")
            continue
        for target, line in arrows(name, path, known):
            where = f"{path.relative_to(package)}:{line}: {name} imports {target}"
            graph[name].add(target)
            other = target.split(".")[1] if "." in target else None
            if target not in known:
                found.append(f"{where}, which does not exist")
            elif room is None or other is None:
                found.append(f"{where}: the house itself holds nothing")
            elif room != other and FLOOR.get(other, 99) >= FLOOR[room]:
                way = "sideways" if FLOOR.get(other) == FLOOR[room] else "up"
                found.append(f"{where}: {way}")
    for card in cards.of(package).values():
        if card.reader:
            target = f"towers.data.{card.reader.partition(':')[0]}"
            graph["towers.data"].add(target)
            if target not in known:
                found.append(f"card {card.name}: its reader {target} does not exist")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"circle: {' -> '.join(error.args[1])}")
    return found


def test_the_house_stands():
    assert faults(Path(towers.__file__).parent) == []


@pytest.fixture
def house(tmp_path):
    """Builds a made-up package from sources, and gives its faults."""

    def build(**sources: str) -> list[str]:
        package = tmp_path / "towers"
        for name, text in {"__init__": "", **sources}.items():
            path = package / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return faults(package)

    return build


class TestTheChecker:
    def test_lets_arrows_run_down_and_within_a_room(self, house):
        assert not house(
            files="import os",
            records="from towers import files",
            cli="import towers.records\nfrom .models import pretrained",
            models__in____init__="from towers.models.pretrained import load",
            models__in__pretrained="from towers.models import encoders\nload = 1",
            models__in__encoders="from ..records import Record",
        )

    @pytest.mark.parametrize(
        "text",
        [
            "import towers.models",
            "from towers import models",
            "from towers.models import load",
            "from . import models",
            "def late():\n    from .models import load",
            "if TYPE_CHECKING:\n    import towers.models.encoders as e",
        ],
    )
    def test_catches_an_arrow_that_runs_up(self, house, text):
        found = house(records=text, models__in____init__="load = 1", models__in__encoders="")
        assert len(found) == 1
        assert found[0].startswith("records.py:")
        assert found[0].endswith(": up")

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("losses", "metrics"),
            ("records", "data"),
            ("plots", "published"),
            ("report", "training"),
        ],
    )
    def test_catches_an_arrow_between_rooms_of_a_floor(self, house, first, second):
        found = house(**{first: f"from towers.{second} import x", second: "x = 1"})
        assert found == [f"{first}.py:1: towers.{first} imports towers.{second}: sideways"]

    def test_catches_a_circle_within_a_room_also_through_functions(self, house):
        found = house(
            data__in____init__="",
            data__in__a="from towers.data import b",
            data__in__b="def late():\n    from .c import x",
            data__in__c="import towers.data.a\nx = 1",
        )
        assert len(found) == 1
        assert found[0].startswith("circle: towers.data.")

    def test_catches_a_circle_through_the_face_of_a_room(self, house):
        found = house(
            data__in____init__="from towers.data.a import x",
            data__in__a="from towers.data import y",
        )
        assert found[0].startswith("circle: ")

    def test_follows_the_readers_that_cards_name(self, house, tmp_path):
        (tmp_path / "towers/data/cards").mkdir(parents=True)
        (tmp_path / "towers/data/cards/a.yaml").write_text("reader: a:read\n")
        (tmp_path / "towers/data/cards/b.yaml").write_text("reader: b:read\n")
        found = house(data__in____init__="", data__in__a="from towers.data import b\nimport os")
        assert "card b: its reader towers.data.b does not exist" in found
        cards.of.cache_clear()
        found = house(
            data__in____init__="load = 1",
            data__in__a="from towers.data import load",
            data__in__b="",
        )
        assert found == ["circle: towers.data -> towers.data.a -> towers.data"]

    def test_catches_imports_that_hide(self, house):
        found = house(
            files="import importlib\nimportlib.import_module('towers.cli')",
            records="x = __import__('towers.cli')",
        )
        assert found == ["files.py:2: a hidden import", "records.py:1: a hidden import"]

    def test_catches_rooms_without_a_floor_and_modules_that_are_not_there(self, house):
        found = house(helpers="", files="import towers.nowhere", records="import towers")
        assert "towers.helpers: room 'helpers' stands on no floor" in found
        assert "files.py:1: towers.files imports towers.nowhere, which does not exist" in found
        assert any("the house itself holds nothing" in line for line in found)
