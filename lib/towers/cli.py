"""The `towers` command line. Each command imports what it needs, since some imports take seconds.

Exit codes: 0 done, 1 something failed or is missing, 2 a wrong command, 130 and 143 interrupted.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCALES = ("smoke", "laptop", "paper")


class UsageError(ValueError):
    """A command line that cannot be understood."""


class _Parser(argparse.ArgumentParser):
    """Raises its errors, so that all errors are printed alike."""

    def __init__(self, *arguments: Any, **options: Any):
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(*arguments, allow_abbrev=False, formatter_class=form, **options)

    def error(self, message: str):
        raise UsageError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `towers` command.

    Args:
        argv: the arguments; default: the process's.

    Returns:
        The exit code: 0 done, 1 something failed or is missing, 2 a wrong command, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # paths are shown in any encoding
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser().parse_args(argv)
        code = arguments.handler(arguments) or 0
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # --help, --version, or a signal while a kernel ran
        code = stop.code if isinstance(stop.code, int) else 1
        return _complain("stopped by a signal", code) if stop.code else 0
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # `towers list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("TOWERS_TRACEBACK"):
            traceback.print_exc()
        return _complain(*_verdict(error))


def _verdict(error: Exception) -> tuple[str, int]:
    """The message for an error, and the exit code."""
    if isinstance(error, ValueError):
        return str(error), 2
    if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
        return str(error), 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}{_advice(error)}", 1
    name = type(error).__name__
    return f"{name}: {error} (a defect; TOWERS_TRACEBACK=1 shows where)", 1


def _advice(error: OSError) -> str:
    """What to do if the cache cannot be written."""
    from towers import files

    with contextlib.suppress(RuntimeError, ValueError):
        if error.filename and Path(str(error.filename)).is_relative_to(files.cache_home()):
            return "; TOWERS_HOME names another folder for the cache"
    return ""


def _complain(message: str, code: int) -> int:
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    print(f"towers: error: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="towers", description="Run, inspect and build the Towers book.")
    version = importlib.metadata.version("towers")
    parser.add_argument("--version", action="version", version=f"towers {version}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, summary, example, handler, options in COMMANDS:
        group, _, word = name.rpartition(" ")
        command = groups[group].add_parser(
            word, help=summary, description=f"{summary}.", epilog=f"example:\n  {example}"
        )
        command.set_defaults(handler=handler)
        if handler is None:
            groups[name] = command.add_subparsers(metavar="COMMAND", required=True)
        for option in options:
            alone = isinstance(option, tuple)
            target = command if alone else command.add_mutually_exclusive_group()
            for flags, settings in [option] if alone else option:
                target.add_argument(*flags, **settings)
    return parser


def _path(text: str) -> Path:
    from towers import files

    try:
        return files.user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


COMMANDS: list[tuple] = []
"""Name, summary, example, handler and options of each command; groups have no handler."""


def _command(name: str, summary: str, example: str, *options: Any) -> Callable:
    """Decorator for the handler of a command; options in a list exclude each other."""

    def register(handler: Callable | None) -> Callable | None:
        COMMANDS.append((name, summary, example, handler, options))
        return handler

    return register


def _option(*flags: str, **settings: Any) -> tuple:
    return flags, settings


def _switch(flag: str, text: str) -> tuple:
    return _option(flag, action="store_true", help=text)


def _scale(default: str | None = "laptop") -> tuple:
    text = f"{', '.join(SCALES)}; default: {default or 'all'}"
    return _option("--scale", choices=SCALES, default=default, metavar="SCALE", help=text)


def _settings(text: str) -> tuple:
    return _option("-p", dest="given", action="append", default=[], metavar="KEY=VALUE", help=text)


RESULTS = _option("--results", type=_path, metavar="PATH", help="default: results/")
NAMES = _option("names", nargs="*", metavar="NAME", help="default: all")


@_command(
    "list", "List the experiments and their last runs", "towers list --scale smoke",
    _scale(), RESULTS, _switch("--json", "all fields, as JSON"),
)  # fmt: skip
def _list(arguments: argparse.Namespace) -> None:
    from towers import listing

    print(listing.experiments(arguments.scale, arguments.results, as_json=arguments.json))


@_command(
    "claims", "Show what became of the papers' claims", "towers claims --paper clippo",
    _scale(), RESULTS, _switch("--json", "with rules and records, for machines"),
    _option("--paper", metavar="PAPER", help="only its claims, for example clip"),
)  # fmt: skip
def _claims(arguments: argparse.Namespace) -> None:
    from towers import listing
    from towers.report import verdicts

    rows = verdicts.table(arguments.scale, arguments.results, arguments.paper)
    if arguments.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    cells = [(row["paper"], row["item"], row["verdict"], row["experiment"] or "-") for row in rows]
    print(listing.table(cells, ("PAPER", "ITEM", "VERDICT", "EXPERIMENT")))
    counts = Counter(row["verdict"] for row in rows)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))


@_command(
    "run", "Run experiments", "towers run clip/zero_shot --scale laptop -p seed=1",
    _option("names", nargs="*", metavar="NAME", help="as `towers list` shows them"),
    _switch("--all", "every experiment"),
    _scale(),
    _settings("a parameter"),
    _switch("--if-stale", "only those not up to date"),
    _option("--minutes", type=float, help="stop after so many minutes"),
    _switch("--anyway", "run without a GPU what would take days on one"),
    RESULTS,
)  # fmt: skip
def _run(arguments: argparse.Namespace) -> None:
    from towers import experiments

    known = experiments.names()
    if bool(arguments.names) == arguments.all:
        raise UsageError(f"expected names or --all; there are: {', '.join(known)}")
    wanted = known if arguments.all else arguments.names
    given = {name: _given(experiments.get(name), arguments.given) for name in wanted}
    for name, overrides in given.items():
        experiments.resolve(experiments.get(name), arguments.scale, overrides)
    order = experiments.in_order(given)
    due = experiments.stale(order, arguments.scale, arguments.results)
    if not arguments.if_stale:  # needed results may be stale, but must be there
        due = {*given, *(name for name, reason in due.items() if reason == experiments.NEVER)}
    for experiment in order:
        if experiment.name in due:
            _run_one(experiment, given.get(experiment.name, {}), arguments)
        elif experiment.name in given:
            print(f"{experiment.name} {arguments.scale} fresh", flush=True)


def _run_one(experiment: Any, overrides: dict, arguments: argparse.Namespace) -> None:
    from towers import experiments, files

    start = time.monotonic()
    path = experiments.run(
        experiment,
        arguments.scale,
        overrides,
        results=arguments.results,
        minutes=arguments.minutes,
        anyway=arguments.anyway,
    )
    seconds = time.monotonic() - start
    for line in experiments.left_out(path):
        print(line, file=sys.stderr)
    print(f"{experiment.name} {arguments.scale} {seconds:.1f} s {files.shown(path)}", flush=True)


def _given(experiment: Any, pairs: Sequence[str]) -> dict[str, Any]:
    from towers import experiments

    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"expected -p KEY=VALUE, got {pair!r}")
        if name in given:
            raise UsageError(f"-p {name} is given twice")
        given[name] = experiments.from_text(experiment, name, text)
    return given


@_command(
    "train", "Train towers from a recipe",
    "torchrun --nproc-per-node 2 -m towers.cli train recipe.yaml --folder runs/first",
    _option("recipe", type=_path, metavar="RECIPE", help="a YAML file"),
    _option("--folder", type=_path, metavar="PATH", help="default: in the cache"),
    _settings("a field"),
    [
        _switch("--resume", "continue an earlier run; the default"),
        _switch("--fresh", "delete an earlier run and start again"),
    ],
    _switch("--dry-run", "only print what would be done"),
)  # fmt: skip
def _train(arguments: argparse.Namespace) -> None:
    from towers.training import command

    for line in command.run(
        arguments.recipe, arguments.given, arguments.folder, not arguments.fresh, arguments.dry_run
    ):
        print(line, flush=True)


_command("data", "Fetch, list or export data", "towers data get clipart stamps")(None)
_command(
    "data export", "Write a collection in another format",
    'towers data export shards "scenes:train?count=20000" scenes/',
)(None)  # fmt: skip


@_command(
    "data export shards", "Write a collection as WebDataset tars",
    'towers data export shards "scenes:train?count=20000" scenes/',
    _option("name", metavar="NAME", help='as data.load takes it, for example "stamps"'),
    _option("folder", type=_path, metavar="FOLDER", help="made if it is missing"),
    _option("--per-shard", type=int, default=1000, metavar="N", help="items of a tar; 1000"),
)  # fmt: skip
def _data_shards(arguments: argparse.Namespace) -> None:
    from towers import data
    from towers.data.export import INDEX, export_shards

    collection = data.load(arguments.name)
    index = export_shards(collection, arguments.folder, arguments.per_shard)
    where = arguments.folder / INDEX
    print(f"{len(index['shards'])} shards, {index['samples']} samples {where}")


@_command("data get", "Fetch and verify data sources", "towers data get clipart stamps", NAMES)
def _data_get(arguments: argparse.Namespace) -> None:
    from towers import listing

    for line in listing.fetched(arguments.names):
        print(line, flush=True)


@_command("data list", "List data sources and their state", "towers data list")
def _data_list(_: argparse.Namespace) -> None:
    from towers import listing

    print(listing.sources())


@_command(
    "export", "Write all records to one table", "towers export out.parquet",
    _option("path", type=_path, metavar="PATH", help="ends in .csv or .parquet"),
    _scale(default=None),
    RESULTS,
)  # fmt: skip
def _export(arguments: argparse.Namespace) -> None:
    from towers import records

    table = records.table(arguments.results, arguments.scale)
    records.export(table, arguments.path)
    print(f"{len(table)} records {arguments.path}")


@_command(
    "report", "Run what is stale, then build the book",
    "towers report --scale laptop --part clip --jobs 2",
    _scale(),
    _option("--part", help="run experiments of this part only, for example clip"),
    _option("--jobs", type=int, default=os.cpu_count() or 1, help="experiments at a time"),
    _switch("--force", "even if nothing changed"),
)  # fmt: skip
def _report(arguments: argparse.Namespace) -> None:
    if arguments.jobs < 1:
        raise UsageError(f"expected --jobs as a whole number > 0, got {arguments.jobs}")
    from towers import report

    def end(number: int, _: Any) -> None:
        sys.exit(128 + number)  # as an exception, so that child processes are stopped

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in signals}
    try:
        page = report.build(
            scale=arguments.scale, part=arguments.part, jobs=arguments.jobs, force=arguments.force
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    print(page)


@_command(
    "bench", "Compare speed and memory with other libraries",
    "towers bench clip_loss_time --size laptop",
    NAMES,
    _option("--size", default="full", help="smoke, laptop, full (the default)"),
    _option("--repeats", type=int, default=5, metavar="N", help="default: 5"),
)  # fmt: skip
def _bench(arguments: argparse.Namespace) -> int:
    from towers.evaluation import speed

    speed.check(arguments.names, arguments.size, arguments.repeats)
    print(speed.HEADER, flush=True)
    fine = True
    for name in arguments.names or speed.names():
        outcome = speed.compare(name, arguments.size, arguments.repeats)
        print(outcome.line(), flush=True)
        fine &= outcome.agreed and outcome.met is not False
    return 0 if fine else 1


@_command("doctor", "Check packages, data and folders", "towers doctor")
def _doctor(_: argparse.Namespace) -> int:
    from towers import listing

    text, sound = listing.doctor()
    print(text)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
