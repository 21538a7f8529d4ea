"""A whole run: from a recipe and a folder to a trained pair, resumed wherever it stopped."""

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from towers import files, models
from towers.training import loading, logs, making, processes, samples, states, texts
from towers.training.errors import NotFinite, TrainingFailed
from towers.training.folder import CHECKPOINTS, FINAL, alone, claim
from towers.training.loop import Trainer, Update
from towers.training.objectives import Objective
from towers.training.recipe import Recipe
from towers.training.validation import Validation

Evaluation = Callable[[Objective], Mapping[str, float]]


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end.

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
    folder: Path,
    resume: bool = True,
    *,
    dual: models.DualTower | None = None,
    source: samples.Samples | None = None,
    pairs: texts.TextPairs | None = None,
    evaluate: Evaluation | None = None,
    progress: bool = True,
) -> Finished:
    """Train what a recipe describes, on all ranks that a launcher started.

    On one machine, with as many ranks, the weights are the same bit by bit whether a run was
    interrupted or not, and whatever the number of workers. A signal to stop (Ctrl-C, SIGTERM, and
    those that clusters warn with) takes effect after the update under way and its checkpoint; of
    signals that end the process a second one, a second later or more, takes effect at once.

    Args:
        recipe: what to train.
        folder: of the run; of one that stopped, to go on with it. All ranks see the same folder.
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

    Raises:
        TrainingError: the recipe does not suit the ranks, the device or the data, or the folder
            holds another run.
        TrainingFailed: on all ranks: a loss or gradient that is not finite (the state before is
            kept as a checkpoint), too many unreadable samples, checkpoints of which none is whole,
            or another rank that failed.
        OSError: the disk is full or fails; the newest checkpoint is as it was.
    """
    begun = time.monotonic()
    accelerator = processes.start()
    folder = files.user_path(folder)
    making.check(recipe, accelerator.num_processes, looked_at=evaluate is not None)
    with processes.watched(accelerator), alone(accelerator, folder):
        pair = processes.agree(accelerator, lambda: making.pair(recipe, dual))
        parts = processes.agree(accelerator, lambda: making.parts(recipe, pair, source, pairs))
        evaluations = _evaluations(accelerator, recipe, pair, evaluate)
        plan = making.plan(recipe, parts)
        claim(accelerator, folder, recipe, making.digest(parts), resume)
        objective = making.objective(recipe, pair, parts)
        run = _Run(recipe, folder, Trainer(objective, plan, accelerator))
        first = run.restore()
        with run.logged(first, evaluations, progress) as after, run.trainer.signals:
            run.trainer.run(making.batches(run.trainer, recipe, parts, first), first, after)
        objective = run.finish()
    seconds = time.monotonic() - begun
    return Finished(folder, objective, plan.steps, first, run.bad, seconds)


class _Run:
    """A run under way: its trainer, its checkpoints, and what it has counted."""

    def __init__(self, recipe: Recipe, folder: Path, trainer: Trainer) -> None:
        self.recipe, self.folder, self.trainer = recipe, folder, trainer
        self.accelerator = trainer.accelerator
        self.descent = trainer.plan.descent if trainer.plan.descent < trainer.plan.steps else 0
        self.checkpoints = states.Checkpoints(folder / CHECKPOINTS, recipe.keep, self.descent)
        self.bad: Counter = Counter()
        self.done = 0  # updates

    def restore(self) -> int:
        """Bring the trainer to the newest good checkpoint; the updates done."""
        newest = processes.agree(self.accelerator, self._newest, only_main=True)
        steps = [newest.step if newest else 0]
        (step, *_) = processes.everywhere(self.accelerator, steps)
        if not step:
            return 0
        path = self.checkpoints.path(step)

        def load() -> states.State:
            return newest or self.checkpoints.read(step)

        state = processes.agree(self.accelerator, load)
        processes.agree(
            self.accelerator, lambda: states.put(self.trainer, state, str(files.shown(path)))
        )
        self.bad, self.done = state.bad, step
        total = self.trainer.plan.steps
        if step < total:
            self._say(f"resuming after step {step} of {total} from {files.shown(path)}")
        if state.ranks != self.accelerator.num_processes:
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
        """What is to be done after each update, while the log is open."""
        total = self.trainer.plan.steps

        def opened() -> logs.Log:
            return logs.Log(self.folder, first, total, progress)

        log = processes.agree(self.accelerator, opened, only_main=True)

        def after(update: Update) -> None:
            self._count(update)
            self.done = update.step
            if log:
                log.update(update, self.bad.total())
            due = self.recipe.evaluate_every and update.step % self.recipe.evaluate_every == 0
            if evaluations and (due or update.step == total):
                self._evaluate(update.step, evaluations, log)
            due = update.step % self.recipe.checkpoint_every == 0
            if due or update.asked or update.step in (self.descent, total):
                self._save(update.step)
                if log:
                    log.flush()
            if update.asked:
                self._say(f"stopped after step {update.step} of {total}; start again to go on")
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
        """Write the trained pair; what was trained."""
        objective, path = self.trainer.whole().eval(), self.folder / FINAL
        objective.dual.name = self.recipe.title
        processes.agree(self.accelerator, lambda: models.save(objective.dual, path), only_main=True)
        return objective

    def _count(self, update: Update) -> None:
        self.bad += update.bad
        seen = update.step * self.recipe.batch
        if samples.too_many_bad(self.bad.total(), seen, self.recipe.max_bad):
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad.most_common())
            raise TrainingFailed(
                f"expected at most a share of {self.recipe.max_bad:g} unreadable samples, got "
                f"{self.bad.total()} beside {seen} good ones ({reasons}) at step {update.step}; "
                "check the data or raise max_bad"
            )

    def _save(self, step: int) -> None:
        state = states.take(self.trainer, step, self.bad)
        processes.agree(self.accelerator, lambda: self.checkpoints.write(state), only_main=True)

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

        processes.agree(self.accelerator, write, only_main=True)

    def _evaluate(self, step: int, evaluations: Sequence[Evaluation], log: logs.Log | None) -> None:
        objective = self.trainer.whole()

        def work() -> None:
            objective.eval()
            with torch.no_grad():
                found = [evaluate(objective) for evaluate in evaluations]
            log.evaluation(step, dict(itertools.chain(*(values.items() for values in found))))

        processes.agree(self.accelerator, work, only_main=True)
        self.trainer.objective.train()

    def _say(self, line: str) -> None:
        if self.accelerator.is_main_process:
            print(f"towers: {line}", file=sys.stderr, flush=True)


def _evaluations(
    accelerator: Accelerator,
    recipe: Recipe,
    pair: models.DualTower,
    evaluate: Evaluation | None,
) -> list[Evaluation]:
    """What is looked at in an evaluation: the recipe's data, then what the caller asks for."""

    def work() -> Validation:
        transform = pair.image.transform
        return Validation(loading.load(recipe.validation, transform, recipe.languages))

    found: list[Evaluation] = [processes.agree(accelerator, work)] if recipe.validation else []
    return found + ([evaluate] if evaluate else [])
