"""Fixtures of the fault tests, and the table of what they did."""

import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

PROPERTY = "faults"


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


@pytest.fixture
def tally(record_property):
    """Counts a test's faults; a loss fails the test when it ends."""
    counted = Tally()
    yield counted
    record_property(PROPERTY, [counted.area, counted.injected, counted.lost])
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
