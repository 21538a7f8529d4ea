"""Speed and memory beside named peers: both sides in one process, in turns, as ratios.

A benchmark is a module of the checkout's `benchmarks/` with METRIC (a text over its size), PEER,
GOAL, PEER_SETTINGS, SIZES, `prepare` and `agree`. Where it has UNIT and `measure`, they stand for
something else than seconds, as memory; REPEATS is then the most turns that make sense. Its `notes`
says what else the medians tell, as the share of the machine's limit.
"""

import itertools
import pkgutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch

from towers import files
from towers.progress import tqdm
from towers.records import Measurement

SIZES = ("full", "laptop", "smoke")
"""A goal is one of the full size."""

HEADER = (
    "| metric | peer | setting | ours | peer | times less (range) | goal | notes |\n"
    "|---|---|---|---|---|---|---|---|"
)


class SpeedError(ValueError):
    """A benchmark that there is not, or that cannot run here."""


@dataclass(frozen=True)
class Comparison:
    """One quantity, measured in turns on both sides.

    Attributes:
        name: of the benchmark.
        metric: what was measured, with its size.
        peer: beside whom.
        setting: of the peer, at its best.
        unit: of `ours` and `peers`; less is better.
        size: "full", "laptop" or "smoke".
        ours: one amount a turn; none where results differ.
        peers: the peer's, of the same turns.
        goal: ratio that is to be reached at full size.
        agreed: whether both sides gave the same results; without it nothing is measured.
        notes: what else the medians tell, and its value.
    """

    name: str
    metric: str
    peer: str
    setting: str
    unit: str
    size: str
    ours: tuple[float, ...]
    peers: tuple[float, ...]
    goal: float
    agreed: bool
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The peer's amount over ours, turn by turn: above 1, ours is less."""
        return tuple(theirs / ours for ours, theirs in zip(self.ours, self.peers, strict=True))

    @property
    def ratio(self) -> float | None:
        """Median of `ratios`; None where results differ."""
        return statistics.median(self.ratios) if self.agreed else None

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None at other sizes than the full one, where it is none."""
        return (self.agreed and self.ratio >= self.goal) if self.size == "full" else None

    def line(self) -> str:
        """A row of the Markdown table that `HEADER` begins."""
        if not self.agreed:
            return f"| {self.metric} | {self.peer} | {self.setting} | | | results differ | | |"
        ours, theirs = (statistics.median(side) for side in (self.ours, self.peers))
        goal = f">= {self.goal:.3g}" if self.size == "full" else ""
        notes = ", ".join(f"{name} {value:.3g}" for name, value in self.notes.items())
        return (
            f"| {self.metric} | {self.peer} | {self.setting} | {ours:.3g} {self.unit} | "
            f"{theirs:.3g} {self.unit} | {self.ratio:.2f} ({min(self.ratios):.2f} to "
            f"{max(self.ratios):.2f}) | {goal} | {notes} |"
        )


def names(folder: Path | None = None) -> list[str]:
    """The benchmarks that there are, sorted.

    Args:
        folder: of benchmarks; default: the checkout's `benchmarks/`.
    """
    return sorted(path.stem for path in _home(folder).glob("*.py") if path.stem[0] != "_")


def compare(
    name: str,
    size: str = "full",
    repeats: int = 5,
    progress: bool = True,
    folder: Path | None = None,
) -> Comparison:
    """Measure one benchmark: the peer looks for its best setting, results must agree, then turns.

    Args:
        name: one of `names()`.
        size: "full", which the goal is for; "laptop", which takes seconds; "smoke", which shows
            that it runs.
        repeats: turns, at least one.
        progress: show a bar.
        folder: as for `names`.

    Raises:
        SpeedError: no such benchmark or size, no turns, or the peer is not installed.
    """
    check([name], size, repeats, folder)
    module = _load(name, _home(folder))
    threads = torch.get_num_threads()
    repeats = min(repeats, getattr(module, "REPEATS", repeats))
    settings = _settings(module)
    steps = len(settings) + 1 + 2 * repeats
    try:
        with (
            torch.random.fork_rng(devices=[]),
            tqdm(total=steps, desc=name, disable=None if progress else True) as bar,
        ):
            return _compared(module, name, size, repeats, settings, bar)
    finally:
        torch.set_num_threads(threads)


def check(
    wanted: Iterable[str], size: str = "full", repeats: int = 5, folder: Path | None = None
) -> None:
    """Refuse what `compare` cannot do, before anything is measured.

    Raises:
        SpeedError: no such benchmark or size, or no turns.
    """
    known = names(folder)
    for name in wanted:
        if name not in known:
            raise SpeedError(f"expected a benchmark of {', '.join(known) or 'none'}, got {name!r}")
    if size not in SIZES or repeats < 1:
        raise SpeedError(
            f"expected a size of {', '.join(SIZES)} and at least one repeat, got {size!r} and "
            f"{repeats}"
        )


def evaluate(comparisons: Iterable[Comparison]) -> list[Measurement]:
    """Comparisons as records, `data` being the benchmark's name and `n` its turns.

    Returns:
        For each "times less", the median ratio, whose interval holds all turns, from the lowest to
        the highest, and estimates nothing beyond them; its goal; both sides' medians, in the unit
        that the metric names; the notes; and "results agree", 1 or 0, which stands alone if 0.
    """
    return [row for comparison in comparisons for row in _rows(comparison)]


def _rows(comparison: Comparison) -> list[Measurement]:
    shared = {"data": comparison.name, "n": max(1, len(comparison.ours))}

    def row(metric: str, value: float, model: str = "towers", **bounds: float) -> Measurement:
        return Measurement(model=model, metric=metric, value=value, **shared, **bounds)

    agreement = row("results agree", float(comparison.agreed))
    if not comparison.agreed:
        return [agreement]
    lowest, highest = min(comparison.ratios), max(comparison.ratios)
    return [
        row("times less", comparison.ratio, low=lowest, high=highest),
        row("goal at full size", comparison.goal),
        row(f"median ({comparison.unit})", statistics.median(comparison.ours)),
        row(f"median ({comparison.unit})", statistics.median(comparison.peers), comparison.peer),
        *(row(metric, value) for metric, value in comparison.notes.items()),
        agreement,
    ]


def _compared(
    module: ModuleType, name: str, size: str, repeats: int, settings: list[dict], bar: tqdm
) -> Comparison:
    measure, numbers = getattr(module, "measure", _timed), module.SIZES[size]

    def measured(call: Callable, **setting: int) -> tuple[float, object]:
        amount = measure(call, **setting)
        bar.update()
        return amount

    ours, peer = module.prepare(**numbers)
    tried = [(*measured(peer, **setting), setting) for setting in settings]
    _, wanted, best = min(tried, key=lambda attempt: attempt[0])
    agreed = bool(module.agree(measured(ours)[1], wanted))
    turns = [(measured(ours)[0], measured(peer, **best)[0]) for _ in range(repeats * agreed)]
    mine, theirs = zip(*turns, strict=True) if turns else ((), ())
    medians = map(statistics.median, (mine, theirs)) if turns else ()
    notes = module.notes(*medians, **numbers) if turns and hasattr(module, "notes") else {}
    return Comparison(
        name, module.METRIC.format(**numbers), module.PEER,
        ", ".join(f"{key} {value}" for key, value in best.items()), getattr(module, "UNIT", "s"),
        size, mine, theirs, module.GOAL, agreed, notes,
    )  # fmt: skip


def _settings(module: ModuleType) -> list[dict]:
    """All combinations of the peer's settings."""
    return [
        dict(zip(module.PEER_SETTINGS, values, strict=True))
        for values in itertools.product(*module.PEER_SETTINGS.values())
    ]


def _timed(call: Callable, **arguments: int) -> tuple[float, object]:
    """Wall time of one call, in seconds, and its answer."""
    start = time.perf_counter()
    answer = call(**arguments)
    return time.perf_counter() - start, answer


def _home(folder: Path | None) -> Path:
    return folder or files.repo_root() / "benchmarks"


def _load(name: str, folder: Path) -> ModuleType:
    """A benchmark as a module of its folder, by which child processes find it as well."""
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    try:
        return pkgutil.resolve_name(f"{folder.name}.{name}:")
    except ModuleNotFoundError as error:
        raise SpeedError(
            f"expected the package {error.name} for {name}, got none; pip install 'towers[bench]'"
        ) from None
