"""Fixtures of the fault tests, and the table of what they did."""

import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

PROPERTY = "faults"
FAILED = pytest.StashKey[bool]()


@pytest.fixture
def disk(tmp_path):
    """A folder in memory where there is one: forcing it to disk costs nothing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield Path(folder)


@dataclass
class Tally:
    """What a test injected and what was lost by it; it appears in the table under its area.

    Attributes:
        area: of the table.
        injected: faults that struck.
        lost: of them, those after which something was not as promised.
    """

    area: str = ""
    injected: int = 0
    lost: int = 0

    def struck(self, fine: bool) -> None:
        """Count one fault, and whether all was as promised after it."""
        self.injected += 1
        self.lost += not fine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def tally(request, record_property):
    """Counts a test's faults; a loss fails the test when it ends, and a test that fails is a loss.

    The area of a test that names none is its mark's; it is one fault where it counts none.
    """
    mark = request.node.get_closest_marker("area")
    counted = Tally(mark.args[0] if mark else "")
    yield counted
    if counted.area:
        lost = max(counted.lost, int(request.node.stash.get(FAILED, False)))
        record_property(PROPERTY, [counted.area, max(counted.injected, 1), lost])
    assert counted.lost == 0


def pytest_terminal_summary(terminalreporter):
    """Area, faults injected, lost: of all tests that counted theirs."""
    areas: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "teardown":
                continue
            for name, value in report.user_properties:
                if name == PROPERTY:
                    areas[value[0]][0] += value[1]
                    areas[value[0]][1] += value[2]
    if areas:
        terminalreporter.section("faults")
        width = max(map(len, areas))
        terminalreporter.write_line(f"{'area':{width}}  injected  lost")
        for area, (injected, lost) in sorted(areas.items()):
            terminalreporter.write_line(f"{area:{width}}  {injected:8}  {lost:4}")
