"""Run every benchmark beside its peer and print one table: `python -m benchmarks [NAME ...]`.

A benchmark is a module of this folder with METRIC, PEER, GOAL, PEER_SETTINGS, `prepare` and
`agree`. Both sides run in this process, in turns; the peer first looks for its best setting.
A ratio is the peer's time over ours, so higher is better; it counts only after the results agree.
Where a module has UNIT and `measure`, they stand for something else than seconds, as memory; and
its REPEATS for the usual number of turns.
"""

import argparse
import importlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

REPEATS = 5


def main() -> int:
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem[0] != "_")
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"unknown {sorted(unknown)}; expected some of {names}")
    print("| metric | peer | setting | ours | peer | times less (range) | goal |")
    print("|---|---|---|---|---|---|---|", flush=True)
    met = [run(name, max(1, options.repeats)) for name in options.names or names]
    return 0 if all(met) else 1


def run(name: str, repeats: int) -> bool:
    """Measure one benchmark in turns, print its row, and tell whether it met its goal."""
    module = importlib.import_module(f"benchmarks.{name}")
    measure, unit = getattr(module, "measure", answered), getattr(module, "UNIT", "s")
    ours, peer = module.prepare()
    setting, wanted = best_setting(module, peer, measure)
    if not module.agree(measure(ours)[1], wanted):
        print(f"| {module.METRIC} | {module.PEER} | results differ: no ratio | | | | |")
        return False
    repeats = min(repeats, getattr(module, "REPEATS", repeats))
    turns = [(measure(ours)[0], measure(peer, **setting)[0]) for _ in range(repeats)]
    ratios = [theirs / own for own, theirs in turns]
    own, theirs = (statistics.median(side) for side in zip(*turns, strict=True))
    ratio = statistics.median(ratios)
    print(
        f"| {module.METRIC} | {module.PEER} | "
        f"{', '.join(f'{key} {value}' for key, value in setting.items())} | {own:.3g} {unit} | "
        f"{theirs:.3g} {unit} | {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
        f">= {module.GOAL:.3g} |",
        flush=True,
    )
    return ratio >= module.GOAL


def best_setting(module: ModuleType, peer: Callable, measure: Callable) -> tuple[dict, object]:
    """The peer's setting with the least time (or what else is measured), and its answer."""
    settings = [
        dict(zip(module.PEER_SETTINGS, values, strict=True))
        for values in itertools.product(*module.PEER_SETTINGS.values())
    ]
    amounts, answers = zip(*(measure(peer, **setting) for setting in settings), strict=True)
    best = amounts.index(min(amounts))
    return settings[best], answers[best]


def answered(call: Callable, **arguments: int) -> tuple[float, object]:
    """Wall time of one call, in seconds, and its answer."""
    start = time.perf_counter()
    answer = call(**arguments)
    return time.perf_counter() - start, answer


if __name__ == "__main__":
    sys.exit(main())
