"""Train a recipe: in a folder, or from the cache; a run that stopped is resumed."""

import contextlib
import copy
import functools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from towers import files, models, names
from towers.data.reports import told, too_many
from towers.experiments import fingerprints
from towers.models import encoders, trainable
from towers.training import launch, loading, logs, making, processes, room, samples, states, texts
from towers.training.errors import NotFinite, TrainingError, TrainingFailed
from towers.training.folder import CHECKPOINTS, FINAL, alone, claim
from towers.training.loop import Trainer, Update
from towers.training.objectives import Objective
from towers.training.recipe import Recipe
from towers.training.validation import Validation

Evaluation = Callable[[Objective], Mapping[str, float]]

CODE = "towers.training.runs"
"""What trains, with what it reaches for a recipe: see `experiments.chosen`."""
RUN = "run:"
"""Begins the name of another run's tower."""


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        folder: with `recipe.json`, `log.jsonl`, `checkpoints/` and `final.safetensors`.
        objective: what was trained, in evaluation mode: `dual`, and the `head` of a predictive one.
        steps: updates in all.
        resumed: updates that an earlier process had done.
        bad: reason -> unreadable samples that were replaced.
        seconds: of this process.
    """

    folder: Path
    objective: Objective
    steps: int
    resumed: int
    bad: Counter
    seconds: float

    @property
    def dual(self) -> models.DualTower:
        """The trained pair."""
        return self.objective.dual


def train(
    recipe: Recipe,
    folder: Path | None = None,
    resume: bool = True,
    *,
    dual: models.DualTower | None = None,
    source: samples.Samples | None = None,
    pairs: texts.TextPairs | None = None,
    evaluate: Evaluation | None = None,
    progress: bool = True,
) -> Finished:
    """Train what a recipe describes, on all of this machine's accelerators.

    Where there are several, it starts a rank for each and follows them (`launch.ranks`); unless a
    launcher has started this process as one of its ranks, or something is given that others would
    not see: a pair, samples, pairs or an evaluation. A run that would not fit, or takes longer than
    it may, is refused before its data is read (`training.room`).

    On one machine, with as many ranks, the weights are the same bit by bit whether a run was
    interrupted or not, and whatever the number of workers. A signal to stop (Ctrl-C, SIGTERM, and
    those that clusters warn with) takes effect after the update under way and its checkpoint; of
    signals that end the process a second one, a second later or more, takes effect at once.

    Args:
        recipe: what to train.
        folder: of the run; of one that stopped, to go on with it. All ranks see the same folder.
            By default the run is one of the cache's, found there if it was trained before: under a
            hash of the recipe (but for fields that change no weight), the first weights, the data
            and the code that computes it. A second process that asks for the same waits.
        resume: go on where the folder's newest good checkpoint ends; False: begin afresh and
            remove what an earlier run left there.
        dual: train this pair, locked as the recipe's policy says; by default the one that the
            recipe names.
        source: read these samples; by default the data that the recipe names.
        pairs: read these pairs of texts; by default those that the recipe names.
        evaluate: called on rank 0 with the objective (`.dual`) in evaluation mode, every
            `evaluate_every` updates and after the last one, when the recipe's validation data is
            looked at too; what it returns is logged.
        progress: show a bar on a terminal.

    Returns:
        The run; a pair of the cache's is frozen and in evaluation mode.

    Raises:
        TrainingError: the recipe does not suit the ranks, the device or the data, the folder holds
            another run, or something is given that only a run with a folder takes.
        TrainingFailed: on all ranks: a loss or gradient that is not finite (the state before is
            kept as a checkpoint), too many unreadable samples, checkpoints of which none is whole,
            or another rank that failed.
        ValueError: an unknown tower or collection.
        OSError: the disk is full or fails; the newest checkpoint is as it was.
    """
    if folder is None:
        if dual or source or pairs or evaluate or not resume:
            raise TrainingError(
                "expected a folder for a run afresh, or on a pair, samples or an evaluation of "
                "your own, got none; name one"
            )
        return _cached(recipe, progress)

    folder, ranks = files.user_path(folder), _ranks(recipe)
    alone = dual or source or pairs or evaluate  # what other processes would not see

    def begin() -> tuple[models.DualTower, making.Parts]:
        begins = pair(recipe, dual)
        room.check(recipe, begins, ranks if ranks > 1 else processes.start().num_processes)
        return begins, making.parts(recipe, begins, source, pairs)

    if ranks > 1 and not alone:
        making.check(recipe, ranks)
        launch.together(recipe, folder, ranks, fresh=not resume, progress=progress)
        resume = True
    return _go(recipe, folder, resume, begin, evaluate, progress)


def _ranks(recipe: Recipe) -> int:
    """Processes to train a recipe in; a closed form takes one."""
    return launch.ranks() if recipe.steps or recipe.epochs else 1


def named(recipe: Recipe) -> str:
    """A name by which other recipes begin with a tower of this run: "run:" and 16 hex digits.

    `?image=96` behind it resizes the tower's positions to such pictures (`models.continued`), and a
    recipe both of whose towers have one name begins with the pair. The recipe is written down in
    the cache; it is trained when another one needs it, and once.
    """
    short = recipe.digest[:16]
    files.atomic_write(_recipe_of(short), json.dumps(recipe.mapping(), indent=1))
    return f"{RUN}{short}"


def pair(
    recipe: Recipe, dual: models.DualTower | None = None, device: str = "cpu"
) -> models.DualTower:
    """The pair that a recipe begins with, locked as its policy says.

    Args:
        recipe: names the towers and the policy; a run whose tower it names is trained if need be.
        dual: take this pair instead of the one that is named.
        device: of the one that is named; "meta" for its shapes only, then nothing is trained.

    Raises:
        TrainingError: a run that nobody has named here, or as `train` of that run.
        ValueError: a tower that cannot be loaded, or that has not what the policy lets move.
    """
    if dual is None:
        sides = {"image": recipe.image, "text": recipe.text}
        others = {name for name in sides.values() if name.startswith((RUN, "file:"))}
        pairs = {name: _begun(name, device) for name in others}  # one, if both sides name one
        towers = [getattr(pairs.get(name), side, name) for side, name in sides.items()]
        dual = models.dual(
            *towers, recipe.embed or None, recipe.seed, name=recipe.title, device=device,
            bias=True if recipe.penalties else None,
        )  # fmt: skip
    return trainable.apply(dual, recipe.policy, recipe.seed)


def _begun(name: str, device: str) -> models.DualTower:
    """A copy of the pair of another run, or of a file, at the resolution that the name says."""
    parts = names.parse(name)
    said = names.options(_resized, parts)
    if parts.scheme == "file":
        return _resized(models.load(f"file:{parts.place}", device), **said)
    try:
        written = json.loads(_recipe_of(parts.place).read_text(encoding="utf-8"))
        recipe = Recipe.from_mapping(written)
    except (OSError, ValueError):
        raise TrainingError(
            f"expected a run that training.named has named on this machine, got {name!r}; run what "
            "names it first"
        ) from None
    if device == "meta":
        return _resized(pair(recipe, device="meta"), **said)
    return _resized(copy.deepcopy(_trained(recipe, files.cache_home())), **said)


def _resized(dual: models.DualTower, *, image: names.Size | None = None) -> models.DualTower:
    return models.continued(dual, image) if image else dual


@functools.lru_cache(maxsize=4)
def _trained(recipe: Recipe, home: Path) -> models.DualTower:
    """The pair of a run that others begin with; read once for all of them."""
    return _cached(recipe, progress=True).dual


def _recipe_of(short: str) -> Path:
    return files.cache_home() / "recipes" / f"{short}.json"


def _cached(recipe: Recipe, progress: bool) -> Finished:
    """The run of a recipe, from the cache or trained now, on all accelerators of this machine."""
    ranks, begins = _ranks(recipe), pair(recipe)
    room.check(recipe, begins, max(ranks, processes.start().num_processes))
    data = making.parts(recipe, begins)
    parts = [recipe.digest, begins.checksum, making.digest(data)]
    said = recipe.settings | {"validation": recipe.validation}  # its outcome is in the log
    parts.append(fingerprints.of_code([CODE, *encoders.made_of(begins)], said))
    folder = files.cache_home() / "runs" / files.sha256(json.dumps(parts).encode())[:32]
    with files.locked(folder) if processes.start().is_main_process else contextlib.nullcontext():
        if ranks > 1:
            making.check(recipe, ranks)
            launch.together(recipe, folder, ranks, progress=progress)
        finished = _go(recipe, folder, True, lambda: (begins, data), None, progress)
    finished.dual.requires_grad_(False).eval()
    return finished


def _go(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    begin: Callable[[], tuple[models.DualTower, making.Parts]],
    evaluate: Evaluation | None,
    progress: bool,
) -> Finished:
    """Train in a folder, see `train`."""
    begun = time.monotonic()
    accelerator = processes.start()
    making.check(recipe, accelerator.num_processes, looked_at=evaluate is not None)
    with processes.watched(accelerator), alone(accelerator, folder):
        made, parts = processes.agree(accelerator, begin)
        evaluations = [evaluate] if evaluate else []
        if recipe.validation:
            held_out = recipe.validation, made.image.transform, recipe.languages
            validation = processes.agree(accelerator, lambda: Validation(loading.load(*held_out)))
            evaluations.insert(0, validation)
        long = making.with_length(recipe, parts)
        claim(accelerator, folder, recipe, making.digest(parts), resume)
        objective = making.objective(recipe, made, parts)
        run = _Run(recipe, folder, Trainer(objective, long, accelerator))
        first = run.restore()
        with run.logged(first, evaluations, progress) as after, run.trainer.signals:
            run.trainer.run(making.batches(run.trainer, parts, first), first, after)
        objective = run.finish()
    seconds = time.monotonic() - begun
    return Finished(folder, objective, long.steps, first, run.bad, seconds)


class _Run:
    """A run under way: its trainer, its checkpoints, and what it has counted."""

    def __init__(self, recipe: Recipe, folder: Path, trainer: Trainer) -> None:
        self.recipe, self.folder, self.trainer = recipe, folder, trainer
        self.accelerator, self.steps = trainer.accelerator, trainer.recipe.steps
        self._agree = functools.partial(processes.agree, self.accelerator)
        descent = trainer.recipe.descent
        self.descent = descent if descent < self.steps else 0
        self.checkpoints = states.Checkpoints(folder / CHECKPOINTS, recipe.keep, self.descent)
        self.bad: Counter = Counter()
        self.done = 0  # updates

    def restore(self) -> int:
        """Bring the trainer to the newest good checkpoint; the updates done."""
        newest = self._agree(self._newest, only_main=True)
        step = processes.everywhere(self.accelerator, [newest.step if newest else 0])[0]
        if not step:
            return 0
        place = files.shown(self.checkpoints.path(step))
        state = self._agree(lambda: newest or self.checkpoints.read(step))
        self._agree(lambda: states.put(self.trainer, state, str(place)))
        self.bad, self.done = state.bad, step
        if step < self.steps:
            self._say(f"resuming after step {step} of {self.steps} from {place}")
        if step < self.steps and state.ranks != self.accelerator.num_processes:
            self._say(
                f"{state.ranks} ranks became {self.accelerator.num_processes}: the run goes on, "
                "but not bit by bit as it would have"
            )
        return step

    def _newest(self) -> states.State | None:
        self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoints.sweep()
        return self.checkpoints.newest(self._say)

    @contextlib.contextmanager
    def logged(
        self, first: int, evaluations: Sequence[Evaluation], progress: bool
    ) -> Iterator[Callable[[Update], None]]:
        """A function to call after each update: it logs, evaluates and saves."""
        log = self._agree(
            lambda: logs.Log(self.folder, first, self.steps, progress), only_main=True
        )

        def after(update: Update) -> None:
            self._count(update)
            self.done = update.step
            if log:
                log.update(update, self.bad.total())
            due = self.recipe.evaluate_every and update.step % self.recipe.evaluate_every == 0
            if evaluations and (due or update.step == self.steps):
                self._evaluate(update.step, evaluations, log)
            due = update.step % self.recipe.checkpoint_every == 0
            if due or update.asked or update.step in (self.descent, self.steps):
                self._save(update.step)
                if log:
                    log.flush()
            if update.asked:
                self._say(f"stopped after step {update.step} of {self.steps}; start again to go on")
                self.trainer.signals.hand_on(update.asked)

        try:
            yield after
        except NotFinite:
            self._keep_what_was_good()
            raise
        finally:
            if log:
                log.close()

    def finish(self) -> Objective:
        """Write the trained pair; returns the trained objective."""
        objective, path = self.trainer.whole().eval(), self.folder / FINAL
        objective.dual.name = self.recipe.title
        self._agree(lambda: models.save(objective.dual, path), only_main=True)
        return objective

    def _count(self, update: Update) -> None:
        self.bad += update.bad
        seen = update.step * self.recipe.batch
        if too_many(self.bad.total(), seen, self.recipe.max_bad):
            raise TrainingFailed(
                f"expected at most a share of {self.recipe.max_bad:g} unreadable samples, got "
                f"{self.bad.total()} beside {seen} good ones ({told(self.bad)}) at step "
                f"{update.step}; check the data or raise max_bad"
            )

    def _save(self, step: int) -> None:
        state = states.take(self.trainer, step, self.bad)
        self._agree(lambda: self.checkpoints.write(state), only_main=True)

    def _keep_what_was_good(self) -> None:
        """A checkpoint of what stood before an update that failed, if all its weights are finite.

        A disk that fails now does not hide what came first.
        """
        if not self.done:
            return
        state = states.take(self.trainer, self.done, self.bad)

        def write() -> None:
            if not all(tensor.isfinite().all() for tensor in state.weights.values()):
                return
            try:
                self.checkpoints.write(state)
            except OSError as error:
                self._say(f"could not keep step {state.step}: {error.strerror or error}")

        self._agree(write, only_main=True)

    def _evaluate(self, step: int, evaluations: Sequence[Evaluation], log: logs.Log | None) -> None:
        objective = self.trainer.whole()

        def work() -> None:
            objective.eval()
            with torch.no_grad():
                values: dict[str, float] = {}
                for evaluate in evaluations:
                    values |= evaluate(objective)
            log.evaluation(step, values)

        self._agree(work, only_main=True)
        self.trainer.objective.train()

    def _say(self, line: str) -> None:
        if self.accelerator.is_main_process:
            print(f"towers: {line}", file=sys.stderr, flush=True)
