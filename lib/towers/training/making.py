"""What a recipe asks for: its data, its objective, its batches, and the plan of its updates."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch

from towers import models
from towers.data.reports import Report, told, too_many
from towers.models.answering import Answerer, TaskHead, frequent
from towers.models.objectives import BagOfWords, Captioner, Vocabulary
from towers.training import correlations, labelled, loading, samples, texts
from towers.training.batches import Batch, Batches, Part, share, stream
from towers.training.errors import TrainingError
from towers.training.loop import Trainer
from towers.training.objectives import Contrastive, Distilled, FineTuned, Objective, Predictive
from towers.training.order import Order, key
from towers.training.recipe import Recipe

Parts = tuple[Part | None, Part | None]
"""Image-text pairs and pairs of texts; at least one of them is there."""

VOCABULARY_TEXTS = 20_000
"""Captions that the words of a predictive objective are counted in."""


def check(recipe: Recipe, ranks: int, looked_at: bool = False) -> None:
    """Refuse what cannot be done, before any data is read.

    Args:
        recipe: of the run.
        ranks: that would train.
        looked_at: whether the caller evaluates the run by a function of its own.

    Raises:
        TrainingError: the batch has no equal share for each rank; some ranks would have gradients
            that others lack; or evaluations would have nothing to look at.
    """
    if recipe.evaluate_every and not (recipe.validation or looked_at):
        raise TrainingError(
            f"expected validation data for evaluate_every {recipe.evaluate_every}, got none; name "
            "some, or set evaluate_every to 0"
        )
    for pairs in {recipe.text_batch, recipe.batch - recipe.text_batch} - {0}:
        share(pairs, recipe.accumulate, ranks)
    apart = not recipe.text.startswith("shared:")
    if ranks > 1 and recipe.chunk and recipe.text_pairs and apart:
        raise TrainingError(
            "expected a text tower shared:... where several ranks take text_pairs in chunks, got "
            f"{recipe.text}; a chunk of texts alone gives the image tower no gradient to share: "
            "set chunk to 0"
        )


def parts(
    recipe: Recipe,
    pair: models.DualTower,
    source: samples.Samples | None = None,
    pairs: texts.TextPairs | None = None,
) -> Parts:
    """The image-text pairs and the text pairs of a run, each with its order, if there are any.

    Args:
        recipe: of the run.
        pair: whose towers the data is prepared for.
        source: in the place of the image-text pairs that the recipe names.
        pairs: in the place of its pairs of texts.

    Raises:
        TrainingError: too much of the data cannot be read.
    """
    images, written = None, None
    if count := recipe.batch - recipe.text_batch:
        data = source or _samples(recipe, pair)
        _refuse_if_bad(recipe, data)
        Report(len(data), data.left_out).say(recipe.title)
        images = Part(data, Order(data.blocks, count, recipe.seed, recipe.accumulate))
    if count := recipe.text_batch:
        data = pairs or texts.load(recipe.text_pairs, recipe.languages)
        seed = key(recipe.seed, "text pairs")
        written = Part(data, Order(data.blocks, count, seed, recipe.accumulate))
    return images, written


def _samples(recipe: Recipe, pair: models.DualTower) -> samples.Samples:
    if recipe.objective == "distillation":
        teacher, mirror = models.image_tower(recipe.teacher), recipe.augment == "mirror"
        return loading.pictures(recipe.data, pair.image.transform, mirror, teacher)
    if recipe.objective == "answers":
        return labelled.answered(*recipe.data, pair.image.transform.size)
    if recipe.objective == "task":
        return labelled.sentences_of(*recipe.data, recipe.most, recipe.seed)
    if recipe.cache_features:
        drawn = recipe.most, recipe.seed
        return loading.featured(
            recipe.data, pair.image, recipe.languages, recipe.precision, recipe.apart, drawn
        )
    return loading.load(recipe.data, pair.image.transform, recipe.languages, recipe.augment)


def _refuse_if_bad(recipe: Recipe, data: samples.Samples) -> None:
    bad = data.left_out.total()
    if too_many(bad, bad + len(data), recipe.max_bad):
        raise TrainingError(
            f"expected at most a share of {recipe.max_bad:g} unreadable samples, got {bad} of "
            f"{bad + len(data)} ({told(data.left_out)}); check the data or raise max_bad"
        )


def digest(parts: Parts) -> str:
    """SHA-256 of the data, or of both kinds of it."""
    return "+".join(part.source.digest for part in parts if part)


def objective(recipe: Recipe, pair: models.DualTower, parts: Parts) -> Objective:
    """What the recipe names, over the pair; the words that are predicted are the data's."""
    if recipe.objective == "clip":
        read = _read_once(recipe, pair, parts)
        if recipe.penalties and read is None:
            raise TrainingError(
                f"expected a locked text tower and no text_pairs with penalties, got policy "
                f"{recipe.policy}; leave penalties out"
            )
        if recipe.penalties:
            correlations.begin(pair, parts[0].source, read, recipe.penalties)
        return Contrastive(pair, recipe.tile, recipe.dropout, read)
    if recipe.objective == "distillation":
        teacher = models.image_tower(recipe.teacher)
        wanted = loading.taught(parts[0].source.collection, teacher, recipe.precision)
        return Distilled(pair, wanted, recipe.seed)
    if recipe.objective == "answers":
        answers = frequent(parts[0].source.captions())
        return FineTuned(pair, Answerer(pair.image, answers, recipe.seed))
    if recipe.objective == "task":
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.seed)
            targets = parts[0].source.images
            head = TaskHead(pair.text.width, targets, recipe.hidden, recipe.dropout)
        return FineTuned(pair, head)
    words = Vocabulary.of(itertools.islice(parts[0].source.captions(), VOCABULARY_TEXTS))
    if recipe.objective == "bag-of-words":
        return Predictive(pair, BagOfWords(pair.image.width, words, recipe.seed))
    return Predictive(pair, Captioner(pair.image.width, words, seed=recipe.seed))


def _read_once(recipe: Recipe, pair: models.DualTower, parts: Parts) -> samples.Lookup | None:
    """Features of the captions, where the text tower need not read them again in each epoch."""
    moves = any(weight.requires_grad for weight in pair.text.parameters())
    if not recipe.cache_features or recipe.text_pairs or moves:
        return None
    return loading.read_once(pair.text, parts[0].source.captions(), recipe.precision)


def with_length(recipe: Recipe, parts: Parts) -> Recipe:
    """The recipe with its length in updates, once that of an epoch is known.

    Raises:
        TrainingError: the run is too short for its warm-up.
    """
    order = next(part.order for part in parts if part)
    steps = recipe.steps or recipe.epochs * order.steps_per_epoch
    if recipe.warmup >= steps and not (recipe.penalties and not steps):
        raise TrainingError(
            f"expected warmup below the {steps} steps of {recipe.epochs} epochs, got "
            f"{recipe.warmup}; lower warmup"
        )
    return replace(recipe, steps=steps, epochs=0)


def batches(trainer: Trainer, parts: Parts, first: int) -> Iterator[Batch]:
    """This rank's batches, read ahead by the recipe's workers.

    Args:
        trainer: that will take them.
        parts: of the run's data.
        first: updates that have been done.
    """
    accelerator, recipe, (images, written) = trainer.accelerator, trainer.recipe, parts
    all_batches = Batches(
        images, trainer.module.tokenize, accelerator.process_index, accelerator.num_processes,
        written,
    )  # fmt: skip
    each, pin = recipe.accumulate, trainer.device.type == "cuda"
    return stream(all_batches, first * each, recipe.steps * each, recipe.workers, pin)
