"""Mutation testing: changes the library one operator or constant at a time, and asks its tests.

    python -m tests.mutation metrics losses/tiled.py ...     (or `make mutants ROOMS="metrics ..."`)

A mutant that no test notices is a line whose result nothing checks: it is printed, and the exit
status is 1. Mutants that cannot change a result are listed in `equivalent_mutants.yaml`, each with
its reason. A module's tests are those of its own room that import it. The tests that call the
mutated function come first, quick ones first; the first failure ends the try.

A mutant within a function is tried in a fork of a pytest that has collected the tests: the function
gets the mutated code. One that works when the module is imported needs a pytest of its own. The
mutated file also stands in the copy of the library that all of them import, so that processes
which a test starts see it too.
"""

import ast
import compileall
import contextlib
import gc
import importlib
import itertools
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType

import _pytest.main
import hypothesis
import pytest
import yaml

from tests.mutants import Mutant, mutants

ROOT = Path(__file__).parents[1]
LIB = ROOT / "lib"
LISTED = Path(__file__).with_name("equivalent_mutants.yaml")
FLAGS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", f"--rootdir={ROOT}",
         "--hypothesis-profile=mutation"]  # fmt: skip
MOMENTS = itertools.count()
SILENCE = os.open(os.devnull, os.O_WRONLY)
SPARE = 20  # seconds that a mutant may take beyond twice what the unchanged module takes


def tests_of(module: Path) -> list[str]:
    """Test files of the module's room that import it, or names that its package takes from it."""
    dotted = ".".join(module.relative_to(LIB).with_suffix("").parts)
    package, _, name = dotted.rpartition(".")

    def taken(path: Path, source: str) -> set[str]:
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == source]
        return {alias.name for node in imports for alias in node.names}

    handed_on = {name} | taken(module.with_name("__init__.py"), dotted)
    room = sorted((ROOT / "tests" / module.parent.relative_to(LIB / "towers")).glob("test_*.py"))
    named = [
        path for path in room
        if path.name == f"test_{name}.py" or taken(path, dotted) or handed_on & taken(path, package)
    ]  # fmt: skip
    return [str(path) for path in named or room]


def forked(work: Callable[[], object], answer: Path, limit: float = 3600) -> object:
    """What some work gives in a child process; "crash" or "time" where it gives nothing.

    The limit is in seconds of computing, so that a busy machine kills no mutant; whoever waits for
    something else has ten times as long.
    """
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
            for stream in (1, 2):
                os.dup2(SILENCE, stream)
            answer.write_bytes(pickle.dumps(work()))
        finally:
            os._exit(0)
    end = time.monotonic() + 10 * limit
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "time"
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it left running
    return pickle.loads(answer.read_bytes()) if answer.exists() else "crash"


class Trials:
    """A pytest plugin: instead of running the tests once, runs them for each mutant.

    Attributes:
        target: the module's file in the copy of the library.
        tried: mutants within functions, and whether their tests passed, "crash" or "time".
        seen: how long each test takes, and which functions of the module it calls.
    """

    def __init__(self, target: Path, wanted: list[Mutant]):
        self.target, self.wanted, self.tried, self.seen = target, wanted, [], {}
        self.answer = target.with_suffix(".answer")

    def pytest_runtestloop(self, session):
        begun = time.monotonic()
        self.seen = forked(lambda: watched(session, str(self.target)), self.answer)
        limit = 2 * (time.monotonic() - begun) + SPARE
        functions = defaultdict(list)
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType) and thing.__code__.co_filename == str(self.target):
                functions[thing.__code__.co_qualname].append(thing)
        for mutant in self.wanted if isinstance(self.seen, dict) else []:
            if not functions[mutant.function]:
                continue  # it is not called through a function: it needs a pytest of its own

            def work(mutant=mutant):
                for code in codes(compile(mutant.source, str(self.target), "exec")):
                    if code.co_qualname == mutant.function:
                        for function in functions[code.co_qualname]:
                            function.__code__ = code
                self.order(session.items, mutant)
                return passed(session)

            write(self.target, mutant.source)
            self.tried.append((mutant, forked(work, self.answer.with_suffix(".inner"), limit)))
        return True

    def order(self, items: list[pytest.Item], mutant: Mutant) -> None:
        """Tests that call the mutated function come first, quick ones first."""

        def rank(item):
            seconds, calls = self.seen.get(item.nodeid, (0, ()))
            return mutant.body and mutant.function not in calls, seconds

        items.sort(key=rank)


def codes(code: CodeType):
    """A module's code and all code within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def passed(session: pytest.Session) -> bool:
    """Runs the collected tests up to the first failure."""
    try:
        _pytest.main.pytest_runtestloop(session)
    except (session.Failed, session.Interrupted):
        return False
    return not session.testsfailed


def watched(session: pytest.Session, target: str) -> dict | None:
    """Each test's seconds and what functions of a file it calls; None if a test fails."""
    seen = {}

    class Watch:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item):
            calls, begun = set(), time.monotonic()

            def note(frame, event, argument):
                if frame.f_code.co_filename == target:
                    calls.add(frame.f_code.co_qualname.split(".<locals>")[0])

            sys.settrace(note)
            result = yield
            sys.settrace(None)
            seen[item.nodeid] = (time.monotonic() - begun, calls)
            return result

    session.config.pluginmanager.register(Watch())
    return seen if passed(session) else None


def try_module(module: Path, copy: Path, excused: set[str]) -> Counter:
    """Tries every mutant of a module, prints those that survive, and counts."""
    begun, place = time.monotonic(), module.relative_to(ROOT)
    tests, target = tests_of(module), copy / module.relative_to(LIB)
    source = module.read_text("utf-8")
    every = [*mutants(source)]
    if stale := excused - {f"{mutant.function}: {mutant.change}" for mutant in every}:
        sys.exit(
            f"{place}: {LISTED.name} names mutants that are not made any more: {sorted(stale)}"
        )
    wanted = [mutant for mutant in every if f"{mutant.function}: {mutant.change}" not in excused]
    plain = ast.unparse(ast.parse(source))  # whose lines are those of the mutants
    write(target, plain)
    trials = Trials(target, [mutant for mutant in wanted if mutant.body])

    def session():
        pytest.main([*FLAGS, *tests], plugins=[trials])
        return trials.tried, trials.seen, [*sys.modules]

    given = forked(session, copy.parent / "session")
    if isinstance(given, str) or not isinstance(given[1], dict):
        sys.exit(f"{place}: its tests fail without a mutant; run pytest {' '.join(tests)}")
    tried, trials.seen, modules = given
    for name in modules:  # in the order in which the tests needed them
        if name.partition(".")[0] not in ("towers", "tests"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    for mutant in wanted[:]:
        if mutant not in [known for known, _ in tried]:
            write(target, mutant.source)
            tried.append(
                (
                    mutant,
                    forked(lambda m=mutant: alone(tests, trials, m), copy.parent / "alone", 300),
                )
            )
    write(target, source)
    surviving = sorted(mutant for mutant, result in tried if result is True)
    for mutant in surviving:
        print(f"{place}:{mutant.line}  {mutant.function}: {mutant.change}")
    counts = Counter(made=len(every), equivalent=len(every) - len(wanted), surviving=len(surviving))
    counts["killed"] = len(wanted) - len(surviving)
    print(f"{place}: {dict(counts)} in {time.monotonic() - begun:.0f} s", flush=True)
    return counts


def alone(tests: list[str], trials: Trials, mutant: Mutant) -> bool:
    """Whether the tests pass in a pytest that imports the mutant."""

    class Ordered:
        def pytest_collection_modifyitems(self, items):
            trials.order(items, mutant)

    return pytest.main([*FLAGS, *tests], plugins=[Ordered()]) == pytest.ExitCode.OK


def write(target: Path, source: str) -> None:
    """Writes a module so that no compiled one of the same second is taken for it."""
    target.write_text(source, "utf-8")
    moment = int(time.time()) + next(MOMENTS)
    os.utime(target, (moment, moment))


def main(rooms: list[str]) -> int:
    """Tries every module of some rooms; 1 if a mutant survives."""
    hypothesis.settings.register_profile(
        "mutation", deadline=None, derandomize=True, database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )  # fmt: skip
    listed = yaml.safe_load(LISTED.read_text("utf-8"))
    total = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "lib"
        shutil.copytree(LIB, copy)
        compileall.compile_dir(copy, quiet=1)
        os.environ |= {"PYTHONPATH": f"{copy}:{ROOT}", "TOWERS_ROOT": str(ROOT),
                       "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/examples"}  # fmt: skip
        sys.path.insert(0, str(copy))
        os.chdir(ROOT)
        for room in rooms:
            path = LIB / "towers" / room
            for module in [path] if path.is_file() else sorted(path.glob("*.py")):
                if module.name != "__init__.py":
                    entries = listed.get(str(module.relative_to(LIB / "towers")), [])
                    total += try_module(module, copy, {entry["mutant"] for entry in entries})
    print(dict(total))
    return int(total["surviving"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
