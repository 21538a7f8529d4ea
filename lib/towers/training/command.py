"""The command `towers train`: trains a recipe from a file, with changed fields."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from towers import files, strict_yaml
from towers.models import trainable
from towers.training import logs, runs, states
from towers.training.errors import TrainingError
from towers.training.folder import CHECKPOINTS
from towers.training.recipe import Recipe


def run(
    path: Path,
    given: Sequence[str] = (),
    folder: Path | None = None,
    resume: bool = True,
    dry: bool = False,
) -> Iterator[str]:
    """Train what a recipe describes, in this process or as one of a launcher's ranks.

    Args:
        path: of the recipe.
        given: "field=value" for each field to change, the value as in YAML.
        folder: of the run; default: `default_folder`.
        resume: go on with what is in the folder; False: begin afresh.
        dry: only say what would be done, and what of the pair would move; nothing is read but the
            recipe, the folder and, for their shapes, towers that are not from scratch.

    Yields:
        Lines for a person, on rank 0 only.

    Raises:
        TrainingError: a mistake in the recipe or the changes, before anything else happens.
    """
    recipe = Recipe.from_yaml(path, changes(given))
    folder = folder or default_folder(path, recipe)
    first = int(os.environ.get("RANK", 0)) == 0
    if dry:
        if first:
            yield from _outlook(recipe, folder, resume)
        return
    done = runs.train(recipe, folder, resume)
    if first:
        losses = [line["loss"] for line in logs.read(folder) if "loss" in line]
        yield (
            f"{recipe.title}: {done.steps} steps, {done.resumed} of them earlier, loss "
            f"{losses[-1]:.3f}, {done.seconds:.1f} s, {files.shown(folder)}"
        )


def changes(given: Sequence[str]) -> dict[str, Any]:
    """Parse "field=value" arguments.

    Raises:
        TrainingError: another form, no YAML, or a field that is given twice.
    """
    fields: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name or name in fields:
            raise TrainingError(f"expected -p FIELD=VALUE, each field once, got {pair!r}")
        try:
            fields[name] = strict_yaml.load(text)
        except ValueError as error:
            raise TrainingError(f"expected a value of YAML for {name}, got {error}") from None
    return fields


def default_folder(path: Path, recipe: Recipe) -> Path:
    """The folder of a run by default: in the cache, by the recipe's file name and digest."""
    return files.cache_home() / "runs" / f"{Path(path).stem}-{recipe.digest[:12]}"


def _outlook(recipe: Recipe, folder: Path, resume: bool) -> Iterator[str]:
    """What a dry run prints."""
    yield from (f"{name}: {value}" for name, value in recipe.mapping().items())
    yield f"digest: {recipe.digest}"
    yield f"folder: {files.shown(folder)}"
    steps = states.Checkpoints(folder / CHECKPOINTS, recipe.keep).steps() if resume else []
    yield f"begins: after step {steps[0]}" if steps else "begins: afresh"
    yield from _moves(recipe)


def _moves(recipe: Recipe) -> Iterator[str]:
    """Trainable parameters, a line for each part of the pair; or why they cannot be counted."""
    try:
        parts = trainable.report(runs.pair(recipe, device="meta"))
    except ValueError as error:
        yield f"moves: {error}"
        return
    for part in parts.to_dict("records"):
        yield (
            f"moves: {part['part']}: {part['trainable tensors']} of {part['tensors']} tensors, "
            f"{part['trainable']:,} of {part['parameters']:,} parameters, {part['share']:.2%}"
        )
