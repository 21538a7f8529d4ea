"""A whole run: from a recipe and a folder to a trained pair, resumed wherever it stopped."""

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from accelerate import Accelerator

from towers import files, models
from towers.models.objectives import BagOfWords, Captioner, Vocabulary
from towers.training import loading, logs, processes, samples, states, texts
from towers.training.batches import Batch, Batches, Part, share, stream
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.folder import CHECKPOINTS, FINAL, alone, claim
from towers.training.loop import Plan, Trainer, Update
from towers.training.objectives import Contrastive, Objective, Predictive
from towers.training.order import Order, key
from towers.training.recipe import Recipe
from towers.training.validation import Validation

Evaluation = Callable[[Objective], Mapping[str, float]]

VOCABULARY_TEXTS = 20_000
"""Captions that the words of a predictive objective are counted in."""


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
        dual: train this pair; by default the one that the recipe names.
        source: read these samples; by default the data that the recipe names.
        pairs: read these pairs of texts; by default those that the recipe names.
        evaluate: called on rank 0 with the objective (`.dual`) in evaluation mode, every
            `evaluate_every` updates and after the last one, when the recipe's validation data is
            looked at too; what it returns is logged.
        progress: show a bar on a terminal.

    Raises:
        TrainingError: the recipe does not suit the ranks, the device or the data, or the folder
            holds another run.
        TrainingFailed: on all ranks: a loss or gradient that is not finite, too many unreadable
            samples, or another rank that failed.
        OSError: the disk is full or fails; the newest checkpoint is as it was.
    """
    begun = time.monotonic()
    accelerator = processes.start()
    folder = Path(folder)
    _check(recipe, accelerator)
    with processes.watched(accelerator), alone(accelerator, folder):
        pair = dual or processes.agree(accelerator, lambda: _pair(recipe))
        parts = processes.agree(accelerator, lambda: _parts(recipe, pair, source, pairs))
        evaluations = _evaluations(accelerator, recipe, pair, evaluate)
        plan = _plan(recipe, next(part.order for part in parts if part))
        digest = "+".join(part.source.digest for part in parts if part)
        claim(accelerator, folder, recipe, digest, resume)
        run = _Run(recipe, folder, Trainer(_objective(recipe, pair, parts[0]), plan, accelerator))
        first = run.restore()
        with run.logged(first, evaluations, progress) as after, run.trainer.signals:
            run.trainer.run(_batches(run.trainer, recipe, parts, first), first, after)
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
        self.bad = state.bad
        total = self.trainer.plan.steps
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


def _check(recipe: Recipe, accelerator: Accelerator) -> None:
    """Refuse what this machine and these ranks cannot do."""
    for pairs in {recipe.text_batch, recipe.batch - recipe.text_batch} - {0}:
        share(pairs, recipe.accumulate, accelerator.num_processes)


def _pair(recipe: Recipe) -> models.DualTower:
    return models.dual(
        recipe.image, recipe.text, recipe.embed or None, recipe.seed, name=recipe.title
    )


def _parts(
    recipe: Recipe,
    pair: models.DualTower,
    source: samples.Samples | None,
    pairs: texts.TextPairs | None,
) -> tuple[Part | None, Part | None]:
    """The image-text pairs and the text pairs of a run, each with its order, if there are any."""
    images, written = None, None
    if count := recipe.batch - recipe.text_batch:
        data = source or _samples(recipe, pair)
        _refuse_if_bad(recipe, data)
        images = Part(data, Order(data.blocks, count, recipe.seed, recipe.accumulate))
    if count := recipe.text_batch:
        data = pairs or texts.load(recipe.text_pairs, recipe.languages)
        seed = key(recipe.seed, "text pairs")
        written = Part(data, Order(data.blocks, count, seed, recipe.accumulate))
    return images, written


def _samples(recipe: Recipe, pair: models.DualTower) -> samples.Samples:
    if recipe.cache_features:
        return loading.featured(recipe.data, pair.image, recipe.languages, recipe.precision)
    crop = recipe.augment == "crop"
    return loading.load(recipe.data, pair.image.transform, recipe.languages, crop)


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
    found += [evaluate] if evaluate else []
    if recipe.evaluate_every and not found:
        raise TrainingError(
            f"expected validation data for evaluate_every {recipe.evaluate_every}, got none; name "
            "some, or set evaluate_every to 0"
        )
    return found


def _refuse_if_bad(recipe: Recipe, data: samples.Samples) -> None:
    bad = sum(n for reason, n in data.left_out.items() if reason not in samples.NO_FAULT)
    if samples.too_many_bad(bad, bad + len(data), recipe.max_bad):
        reasons = ", ".join(f"{count} {reason}" for reason, count in data.left_out.most_common())
        raise TrainingError(
            f"expected at most a share of {recipe.max_bad:g} unreadable samples, got {bad} of "
            f"{bad + len(data)} ({reasons}); check the data or raise max_bad"
        )


def _objective(recipe: Recipe, pair: models.DualTower, images: Part | None) -> Objective:
    """What the recipe names, over the pair; the words that are predicted are the data's."""
    if recipe.objective == "clip":
        return Contrastive(pair, recipe.tile)
    words = Vocabulary.of(itertools.islice(images.source.captions(), VOCABULARY_TEXTS))
    if recipe.objective == "bag-of-words":
        return Predictive(pair, BagOfWords(pair.image.width, words, recipe.seed))
    return Predictive(pair, Captioner(pair.image.width, words, seed=recipe.seed))


def _plan(recipe: Recipe, order: Order) -> Plan:
    """How weights are updated, once the length of an epoch is known."""
    steps = recipe.steps or recipe.epochs * order.steps_per_epoch
    if recipe.warmup >= steps:
        raise TrainingError(
            f"expected warmup below the {steps} steps of {recipe.epochs} epochs, got "
            f"{recipe.warmup}; lower warmup"
        )
    same = {field.name for field in fields(Plan)} - {"steps"}
    return Plan(steps, **{name: getattr(recipe, name) for name in same})


def _batches(
    trainer: Trainer, recipe: Recipe, sources: tuple[Part | None, Part | None], first: int
) -> Iterator[Batch]:
    accelerator = trainer.accelerator
    batches = Batches(
        sources[0], trainer.module.tokenize, accelerator.process_index, accelerator.num_processes,
        sources[1],
    )  # fmt: skip
    parts = recipe.accumulate
    pin = trainer.device.type == "cuda"
    return stream(batches, first * parts, trainer.plan.steps * parts, recipe.workers, pin)
