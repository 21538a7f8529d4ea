"""The `towers` command line. Each command imports what it needs, since some imports take seconds.

Exit codes: 0 done, 1 something failed or is missing, 2 a wrong command, 130 and 143 interrupted.
"""

import argparse
import contextlib
import importlib.metadata
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
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
        code = arguments.handler(arguments)
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
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_list(commands)
    _add_run(commands)
    _add_train(commands)
    _add_data(commands)
    _add_export(commands)
    _add_report(commands)
    _add_bench(commands)
    _add_doctor(commands)
    return parser


def _path(text: str) -> Path:
    from towers import files

    try:
        return files.user_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _command(commands: Any, name: str, handler: Any, summary: str, example: str) -> Any:
    command = commands.add_parser(
        name, help=summary, description=f"{summary}.", epilog=f"example:\n  {example}"
    )
    command.set_defaults(handler=handler)
    return command


def _add_results(command: Any) -> None:
    command.add_argument("--results", type=_path, metavar="PATH", help="default: results/")


def _add_scale(command: Any, default: str | None = "laptop") -> None:
    text = f"{', '.join(SCALES)}; default: {default or 'all'}"
    command.add_argument("--scale", choices=SCALES, default=default, metavar="SCALE", help=text)


def _add_list(commands: Any) -> None:
    command = _command(
        commands,
        "list",
        _list,
        "List the experiments and their last runs",
        "towers list --scale smoke",
    )
    _add_scale(command)
    _add_results(command)
    command.add_argument("--json", action="store_true", help="all fields, as JSON")


def _list(arguments: argparse.Namespace) -> int:
    from towers import listing

    print(listing.experiments(arguments.scale, arguments.results, as_json=arguments.json))
    return 0


def _add_run(commands: Any) -> None:
    command = _command(
        commands,
        "run",
        _run,
        "Run experiments",
        "towers run clip/zero_shot --scale laptop -p seed=1",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="as `towers list` shows them")
    command.add_argument("--all", action="store_true", help="every experiment")
    _add_scale(command)
    command.add_argument(
        "-p", dest="given", action="append", default=[], metavar="KEY=VALUE", help="a parameter"
    )
    command.add_argument("--if-stale", action="store_true", help="only those not up to date")
    command.add_argument("--minutes", type=float, help="stop after so many minutes")
    command.add_argument(
        "--anyway", action="store_true", help="run without a GPU what would take days on one"
    )
    _add_results(command)


def _run(arguments: argparse.Namespace) -> int:
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
    return 0


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


def _add_train(commands: Any) -> None:
    command = _command(
        commands, "train", _train, "Train towers from a recipe",
        "torchrun --nproc-per-node 2 -m towers.cli train recipe.yaml --folder runs/first",
    )  # fmt: skip
    command.add_argument("recipe", type=_path, metavar="RECIPE", help="a YAML file")
    command.add_argument("--folder", type=_path, metavar="PATH", help="default: in the cache")
    command.add_argument(
        "-p", dest="given", action="append", default=[], metavar="KEY=VALUE", help="a field"
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument("--resume", action="store_true", help="continue an earlier run; the default")
    how.add_argument("--fresh", action="store_true", help="delete an earlier run and start again")
    command.add_argument("--dry-run", action="store_true", help="only print what would be done")


def _train(arguments: argparse.Namespace) -> int:
    from towers.training import command

    for line in command.run(
        arguments.recipe, arguments.given, arguments.folder, not arguments.fresh, arguments.dry_run
    ):
        print(line, flush=True)
    return 0


def _add_data(commands: Any) -> None:
    command = _command(
        commands, "data", _data_list, "Fetch, list or export data", "towers data get clipart stamps"
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    get = _command(
        actions, "get", _data_get, "Fetch and verify data sources", "towers data get clipart stamps"
    )
    get.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    _command(actions, "list", _data_list, "List data sources and their state", "towers data list")
    _add_data_export(actions)


def _add_data_export(actions: Any) -> None:
    example = 'towers data export shards "scenes:train?count=20000" scenes/'
    export = _command(
        actions, "export", _data_shards, "Write a collection in another format", example
    )
    forms = export.add_subparsers(metavar="FORMAT", required=True)
    shards = _command(
        forms, "shards", _data_shards, "Write a collection as WebDataset tars", example
    )
    shards.add_argument("name", metavar="NAME", help='as data.load takes it, for example "stamps"')
    shards.add_argument("folder", type=_path, metavar="FOLDER", help="made if it is missing")
    shards.add_argument(
        "--per-shard", type=int, default=1000, metavar="N", help="items of a tar; default: 1000"
    )


def _data_shards(arguments: argparse.Namespace) -> int:
    from towers import data
    from towers.data.export import INDEX, export_shards

    collection = data.load(arguments.name)
    index = export_shards(collection, arguments.folder, arguments.per_shard)
    where = arguments.folder / INDEX
    print(f"{len(index['shards'])} shards, {index['samples']} samples {where}")
    return 0


def _data_get(arguments: argparse.Namespace) -> int:
    from towers import listing

    for line in listing.fetched(arguments.names):
        print(line, flush=True)
    return 0


def _data_list(_: argparse.Namespace) -> int:
    from towers import listing

    print(listing.sources())
    return 0


def _add_export(commands: Any) -> None:
    command = _command(
        commands, "export", _export, "Write all records to one table", "towers export out.parquet"
    )
    command.add_argument("path", type=_path, metavar="PATH", help="ends in .csv or .parquet")
    _add_scale(command, default=None)
    _add_results(command)


def _export(arguments: argparse.Namespace) -> int:
    from towers import records

    table = records.table(arguments.results, arguments.scale)
    records.export(table, arguments.path)
    print(f"{len(table)} records {arguments.path}")
    return 0


def _add_report(commands: Any) -> None:
    command = _command(
        commands, "report", _report, "Run what is stale, then build the book",
        "towers report --scale laptop --part clip --jobs 2",
    )  # fmt: skip
    _add_scale(command)
    command.add_argument("--part", help="run experiments of this part only, for example clip")
    command.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="experiments at a time"
    )
    command.add_argument("--force", action="store_true", help="even if nothing changed")


def _report(arguments: argparse.Namespace) -> int:
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
    return 0


def _add_bench(commands: Any) -> None:
    command = _command(
        commands, "bench", _bench, "Compare speed and memory with other libraries",
        "towers bench clip_loss_time --size laptop",
    )  # fmt: skip
    command.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    command.add_argument("--size", default="full", help="smoke, laptop, full (the default)")
    command.add_argument("--repeats", type=int, default=5, metavar="N", help="default: 5")


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


def _add_doctor(commands: Any) -> None:
    _command(
        commands,
        "doctor",
        _doctor,
        "Check packages, data and folders",
        "towers doctor",
    )


def _doctor(_: argparse.Namespace) -> int:
    from towers import listing

    text, sound = listing.doctor()
    print(text)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
