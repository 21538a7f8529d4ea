"""The folder of a run: locked while it trains, and never used for another recipe.

It holds `recipe.json`, `log.jsonl`, `tensorboard/`, `checkpoints/`, and in the end
`final.safetensors`.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout

from towers import files
from towers.training import processes
from towers.training.errors import TrainingError
from towers.training.recipe import Recipe, differences

RECIPE, LOG, CHECKPOINTS, FINAL = "recipe.json", "log.jsonl", "checkpoints", "final.safetensors"


def working(folder: Path) -> bool:
    """Whether a run is training in a folder."""
    lock = FileLock(folder / ".lock")
    if not folder.is_dir():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


@contextlib.contextmanager
def alone(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """Lock a folder while a run trains in it.

    Raises:
        TrainingError: on all ranks, if another run is going on there.
    """
    lock = FileLock(folder / ".lock")

    def acquire() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(
                f"expected no other run in {files.shown(folder)}, but one is going on there; wait "
                "for it or name another folder"
            ) from None

    processes.agree(accelerator, acquire, only_main=True)
    try:
        yield
    finally:
        lock.release()


def claim(accelerator: Accelerator, folder: Path, recipe: Recipe, data: str, resume: bool) -> None:
    """Write the recipe into a folder; refuse a folder with another one.

    Args:
        accelerator: of the ranks; all of them call this.
        folder: of the run.
        recipe: of the run.
        data: digest of its samples.
        resume: whether to go on with what is there; else it is removed.

    Raises:
        TrainingError: on all ranks; names the fields of the recipe that differ.
    """

    def work() -> None:
        path = folder / RECIPE
        if not resume:
            _clear(folder)
        mine = {"recipe": recipe.mapping(), "data": data}
        theirs = written(path)
        if theirs is not None:
            other = differences(theirs["recipe"], mine["recipe"])
            if theirs["data"] != data:
                other.append(f"data with digest {theirs['data'][:12]} there, {data[:12]} here")
            if other:
                raise TrainingError(
                    f"expected the recipe of the run in {files.shown(folder)}, got another one: "
                    f"{'; '.join(other)}; name another folder, or begin afresh"
                )
        files.atomic_write(path, json.dumps(mine, indent=1))

    processes.agree(accelerator, work, only_main=True)


def written(path: Path) -> dict | None:
    """Read `recipe.json`: "recipe" and the digest of its "data"; None where there is none."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        fits = isinstance(about["recipe"], dict) and isinstance(about["data"], str)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise TrainingError(
            f"expected a recipe in {files.shown(path)}, got something else; name another folder"
        )
    return about


def _clear(folder: Path) -> None:
    """Remove what an earlier run left: its checkpoints near the end, its recipe last."""
    for name in (FINAL, LOG):
        (folder / name).unlink(missing_ok=True)
    for name in ("tensorboard", CHECKPOINTS):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    (folder / RECIPE).unlink(missing_ok=True)
