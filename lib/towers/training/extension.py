"""Continue a run from before its learning rate decayed: longer, or at another resolution.

A schedule that looks at its end only in its descent, as the reciprocal square root, makes a longer
run the same run up to there. Each run keeps the checkpoint of that moment.

Source: Tschannen et al. 2023, appendix B and B.1.
"""

import json
import shutil
from pathlib import Path

from towers import files, models
from towers.training import states
from towers.training.errors import TrainingError
from towers.training.folder import CHECKPOINTS, LOG, RECIPE, written
from towers.training.recipe import Recipe, differences
from towers.training.runs import pair


def extended(source: Path, folder: Path, recipe: Recipe) -> int:
    """Begin a longer run in a new folder, from a shorter one's checkpoint before its decay.

    `train(recipe, folder)` then goes on: bit by bit as if it had never been the shorter run.

    Args:
        source: folder of the shorter run; it stays as it is.
        folder: of the longer one; must not hold a run.
        recipe: of the longer one; the shorter one's, but with more steps.

    Returns:
        Updates that need not be done again.

    Raises:
        TrainingError: recipes that differ in more, or whose schedule depends on the end from the
            beginning; a folder that holds a run; no checkpoint from before the descent.
    """
    source, folder = files.user_path(source), files.user_path(folder)
    shorter, data = _run(source)
    other = [line for line in differences(shorter.mapping(), recipe.mapping())
             if not line.startswith("steps ")]  # fmt: skip
    if other or not 0 < shorter.steps < recipe.steps:
        raise TrainingError(
            f"expected the recipe of {files.shown(source)} with more than its {shorter.steps} "
            f"steps, got {recipe.steps}{''.join(f'; {line}' for line in other)}"
        )
    if (folder / RECIPE).exists():
        raise TrainingError(
            f"expected a folder without a run, got {files.shown(folder)}; name another one"
        )
    state = _state(source, shorter)
    states.Checkpoints(folder / CHECKPOINTS, recipe.keep).write(state)
    if (source / LOG).is_file():
        shutil.copyfile(source / LOG, folder / LOG)
    about = {"recipe": recipe.mapping(), "data": data}
    files.atomic_write(folder / RECIPE, json.dumps(about, indent=1))
    return state.step


def before_descent(folder: Path) -> models.DualTower:
    """The pair of a run from before its learning rate decayed, trainable.

    `models.continued` brings it to another resolution; `train(recipe, folder, dual=...)` trains it
    on from there, with new moments, as the paper's models at 384 pixels.

    Raises:
        TrainingError: no such run, or no checkpoint from before its descent.
    """
    folder = files.user_path(folder)
    recipe, _ = _run(folder)
    state, dual = _state(folder, recipe), pair(recipe)
    weights = {n.removeprefix("dual."): t for n, t in state.weights.items() if n[:5] == "dual."}
    loaded = dual.load_state_dict(weights, strict=False)
    moving = {name for name, weight in dual.named_parameters() if weight.requires_grad}
    if unfit := [*loaded.unexpected_keys, *sorted(moving & {*loaded.missing_keys})]:
        raise TrainingError(
            f"expected the weights of {recipe.title} that move in {files.shown(folder)}, got "
            f"others, {unfit[0]!r} among them; train it again"
        )
    return dual.train()


def _run(folder: Path) -> tuple[Recipe, str]:
    """The recipe of a folder's run, and the digest of its data."""
    about = written(folder / RECIPE)
    if about is None:
        raise TrainingError(f"expected a run in {files.shown(folder)}, got none; check the path")
    return Recipe.from_mapping(about["recipe"]), about["data"]


def _state(folder: Path, recipe: Recipe) -> states.State:
    """The newest checkpoint from before the learning rate decays."""
    kept, last = states.Checkpoints(folder / CHECKPOINTS, recipe.keep), recipe.descent
    steps = [step for step in kept.steps() if step <= last]
    if not steps:
        raise TrainingError(
            f"expected a checkpoint of at most {last} steps in {files.shown(folder)}, got "
            f"{', '.join(map(str, kept.steps())) or 'none'}; {recipe.schedule} cannot be extended "
            "from later ones"
        )
    return kept.read(steps[0])
