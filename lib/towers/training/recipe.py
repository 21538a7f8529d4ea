"""The configuration of a run: everything that its weights depend on, checked before it starts."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from towers import checked, files, strict_yaml
from towers.models import trainable
from towers.names import parse
from towers.training.errors import TrainingError
from towers.training.schedules import SCHEDULES, descent

CHOICES = {
    "objective": ("clip", "bag-of-words", "captions", "distillation", "answers", "task"),
    "optimiser": ("adamw", "adafactor", "sgd"),
    "schedule": tuple(SCHEDULES),
    "precision": ("fp32", "bf16", "fp16"),
    "augment": ("none", "crop", "mirror"),
}
"""What the fields of few values may be."""

HEADS = ("answers", "task")
"""Objectives of fine-tuning."""

FREE = ("workers", "checkpoint_every", "keep", "validation", "evaluate_every", "name")
"""Fields that change no weight: a run may be resumed with others."""

_ABOVE_ZERO = (
    "batch", "lr", "head_rate", "hidden", "eps", "accumulate", "tile", "checkpoint_every", "keep",
)  # fmt: skip
_NOT_BELOW_ZERO = (
    "embed", "steps", "epochs", "weight_decay", "warmup", "clip_norm", "chunk", "workers", "seed",
    "evaluate_every", "most",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What determines a run, down to the last bit on one machine.

    Attributes:
        image: image tower, as `models.load` takes it; or that of another run, as `named` gives it.
        text: text tower, likewise; the same run or file twice is its pair.
        data: collections, scenes or shards, as `training.loading.load` takes them; one that is
            named twice is seen twice as often. Or questions, or a task, see `training.labelled`.
        text_pairs: sources of pairs of texts, as `training.texts` has them, that take the place of
            some image-text pairs in every batch.
        text_share: of the batch that they take, rounded to whole pairs; at 1 `data` is empty.
        steps: updates; 0 where `epochs` says how long.
        epochs: passes over the data; 0 where `steps` says how long.
        languages: of the captions; an item without any in them is left out.
        embed: axis length of the shared space; 0 adds no projections to the towers.
        policy: what moves and what is locked, as `models.trainable` has it; "scratch": towers from
            scratch, the projections and the scale move, all other towers are locked.
        objective: what is learnt: "clip"; to predict the captions' words from the pictures, as
            "bag-of-words" or one after the other, as "captions"; "distillation", to see pictures
            as another tower does (captions and the text tower are left alone); "answers" to
            questions that stand above their pictures; or a "task" on sentences.
        teacher: image tower of the distillation.
        hidden: units of both hidden layers of a task's network.
        batch: pairs per update, over all ranks; the others are a pair's negatives.
        lr: peak learning rate.
        head_rate: the same of what answers or predicts, as a multiple of `lr`.
        optimiser: "adamw"; "adafactor" as CLIPPO has it; or "sgd", with momentum.
        betas: of AdamW; the first is SGD's momentum.
        eps: of AdamW.
        weight_decay: decoupled; AdamW's on all weights but gains and biases, Adafactor's on kernels
            only and not multiplied by `lr`, so that far less of it is the same.
        warmup: updates until the peak.
        schedule: of the learning rate, from `training.schedules`.
        clip_norm: largest norm of the gradient of all weights together; 0: any.
        precision: of the towers' arithmetic; weights, optimiser and loss stay in fp32.
        accumulate: parts that an update's batch is taken in one after another, each with its own
            negatives only (`chunk` keeps them all).
        chunk: pairs per forward pass under gradient caching, per rank; 0: no caching.
        shard: whether several ranks share the memory of weights, gradients and moments.
        tile: rows of the similarity matrix that are held at a time.
        augment: "crop" takes a random square of the resized picture, "none" prepares a picture as
            in evaluation, "mirror" likewise, and turns half of them.
        cache_features: whether a frozen image tower looks at each picture once, before training,
            instead of in each epoch; a frozen text tower then reads each caption once, too.
        dropout: share of such features, or before each layer of a task's network, set to zero in
            each pair, the rest scaled up.
        apart: collections that will be tested on: near duplicates of their pictures are left out;
            with `cache_features`.
        most: items of each collection, drawn by the seed; 0: all; with `cache_features`, or of a
            task.
        penalties: of pictures and of captions; with them projections have biases and are not drawn,
            but put in closed form where `training.correlations` has them, on all pairs of the data;
            with `cache_features`. Then there may be no updates at all.
        max_bad: share of unreadable samples above which the run stops (nine are always forgiven).
        seed: of the first weights, the order, the drawn captions, the crops and the dropout.
        workers: processes per rank that read samples; 0: the training process itself.
        checkpoint_every: updates from one checkpoint to the next; the last update makes one too.
        keep: newest checkpoints that stay.
        validation: data that is looked at in evaluations and never learnt from.
        evaluate_every: updates from one evaluation to the next; 0: only after the last one.
        name: of the trained pair, in records; where empty, its towers' names.
    """

    image: str
    text: str
    data: tuple[str, ...]
    text_pairs: tuple[str, ...] = ()
    text_share: float = 0.0
    steps: int = 0
    epochs: int = 0
    languages: tuple[str, ...] = ("en",)
    embed: int = 128
    policy: str = trainable.SCRATCH
    objective: str = "clip"
    teacher: str = ""
    hidden: int = 768
    batch: int = 256
    lr: float = 5e-4
    head_rate: float = 1.0
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    warmup: int = 100
    schedule: str = "cosine"
    clip_norm: float = 0.0
    precision: str = "fp32"
    accumulate: int = 1
    chunk: int = 0
    shard: bool = False
    tile: int = 2048
    augment: str = "none"
    cache_features: bool = False
    dropout: float = 0.0
    apart: tuple[str, ...] = ()
    most: int = 0
    penalties: tuple[float, ...] = ()
    max_bad: float = 0.05
    seed: int = 0
    workers: int = 0
    checkpoint_every: int = 1000
    keep: int = 2
    validation: tuple[str, ...] = ()
    evaluate_every: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        for name, (kind, check) in _types().items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, check.validate_python(given))
            except ValidationError:
                raise TrainingError(
                    f"expected {name} as {kind}, got {checked.short(given)}"
                ) from None
        for fault in _faults(self):
            raise TrainingError(fault)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "Recipe":
        """The recipe that plain values describe, as they come from YAML or JSON.

        Raises:
            TrainingError: an unknown or missing field, a wrong type, or an impossible value.
        """
        if not isinstance(given, Mapping):
            raise TrainingError(
                f"expected fields and values in a recipe, got {type(given).__name__}; "
                "write one `field: value` a line"
            )
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                raise TrainingError(f"expected a field of a recipe, got {name!r}; {hint}")
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        if missing := [name for name in needed if name not in given]:
            raise TrainingError(
                f"expected {', '.join(needed)} in a recipe, got none of {', '.join(missing)}; "
                "add what is missing"
            )
        return cls(**given)

    @classmethod
    def from_yaml(cls, path: Path, changes: Mapping[str, Any] | None = None) -> "Recipe":
        """The recipe in a YAML file, with some fields changed.

        Raises:
            TrainingError: there is no such file, it is no YAML, or as `from_mapping`.
        """
        try:
            given = strict_yaml.load(files.user_path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise TrainingError(
                f"expected a recipe at {path}, got {error.strerror}; check the path"
            ) from None
        except ValueError as error:
            raise TrainingError(f"expected YAML in {path}, got {error}") from None
        if isinstance(given, Mapping):
            given = {**given, **(changes or {})}
        try:
            return cls.from_mapping(given)
        except TrainingError as error:
            raise TrainingError(f"{path}: {error}") from None

    def mapping(self) -> dict[str, Any]:
        """The fields as plain values that `from_mapping` takes back."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def settings(self) -> dict[str, Any]:
        """The fields that the trained weights depend on, as plain values."""
        return {name: value for name, value in self.mapping().items() if name not in FREE}

    @property
    def digest(self) -> str:
        """SHA-256 of the fields that the trained weights depend on."""
        return files.sha256(json.dumps(self.settings, sort_keys=True).encode())

    @property
    def text_batch(self) -> int:
        """Pairs of texts in an update's batch."""
        return round(self.text_share * self.batch)

    def rate(self, step: int) -> float:
        """The learning rate of an update, counted from 0, of a run whose length is in `steps`."""
        return self.lr * SCHEDULES[self.schedule](step, self.steps, self.warmup)

    @property
    def descent(self) -> int:
        """Updates before the rate descends to its end, 0 where it always does.

        Up to there a longer run is the same run.
        """
        return descent(self.schedule, self.steps, self.warmup)

    @property
    def title(self) -> str:
        """`name`, or the names of the towers without their options."""
        towers = (parse(tower).place for tower in (self.image, self.text))
        return self.name or " and ".join(towers)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Fields of two recipes' mappings whose values differ and change weights, each with both."""
    names = [name for name in {**old, **new} if name not in FREE]
    return [
        f"{name} {json.dumps(old.get(name))} there, {json.dumps(new.get(name))} here"
        for name in names
        if old.get(name) != new.get(name)
    ]


@cache
def _types() -> dict[str, tuple[str, TypeAdapter]]:
    """For each field its annotation, and what checks a value: a list may stand for a tuple."""
    return {
        name: (
            str(hint) if get_origin(hint) else hint.__name__,
            TypeAdapter(Annotated[hint, checked.LISTED], config=checked.STRICT),
        )
        for name, hint in get_type_hints(Recipe).items()
    }


def _faults(recipe: Recipe):
    """What is impossible in a recipe, one line each, the simplest first."""
    for names, least in ((_ABOVE_ZERO, "above 0"), (_NOT_BELOW_ZERO, "of 0 or more")):
        low = [name for name in names if getattr(recipe, name) < 0]
        if least == "above 0":
            low += [name for name in names if getattr(recipe, name) == 0]
        for name in low:
            yield f"expected {name} {least}, got {getattr(recipe, name)}"
    named = ("image", "text", "languages", *(["data"] if recipe.text_share < 1 else []))
    for name in named:
        value = getattr(recipe, name)
        if not value or (isinstance(value, tuple) and not all(value)):
            yield f"expected a name in {name}, got {value!r}"
    for name, allowed in CHOICES.items():
        if getattr(recipe, name) not in allowed:
            yield f"expected {name} as one of {', '.join(allowed)}; got {getattr(recipe, name)!r}"
    try:
        trainable.read(recipe.policy)
    except ValueError as error:
        yield f"policy: {error}"
        return
    yield from _disagreements(recipe)


def _disagreements(recipe: Recipe):
    """Values that are possible each for itself, but not together."""
    if (recipe.steps and recipe.epochs) or not (recipe.steps or recipe.epochs or recipe.penalties):
        yield (
            f"expected either steps or epochs, got steps {recipe.steps} and epochs "
            f"{recipe.epochs}; set one of them, the other to 0"
        )
    if recipe.steps and recipe.warmup >= recipe.steps:
        yield f"expected warmup below steps, got {recipe.warmup} and {recipe.steps}; lower warmup"
    if recipe.schedule == "reciprocal-sqrt" and not recipe.warmup:
        yield "expected warmup above 0 for the schedule reciprocal-sqrt, got 0; set it"
    if recipe.batch < 2 or recipe.batch % recipe.accumulate or recipe.batch == recipe.accumulate:
        yield (
            f"expected a batch of at least 2 pairs in each of {recipe.accumulate} equal parts, got "
            f"batch {recipe.batch}; change batch or accumulate"
        )
    yield from _mixtures(recipe)
    distils = recipe.objective == "distillation"
    far = [name for name in recipe.data if name.startswith("shards:")]
    unfit = recipe.cache_features or far or recipe.validation
    if distils != bool(recipe.teacher) or (unfit and (distils or recipe.objective in HEADS)):
        yield (
            "expected a teacher with objective distillation alone, and this, answers and task on "
            "collections and without cache_features or validation, got "
            f"{recipe.teacher!r} with {recipe.objective}; change one of them"
        )
    if not 0 <= recipe.dropout < 1:
        yield f"expected dropout in [0, 1), got {recipe.dropout}"
    free = recipe.objective == "task"
    unread = recipe.apart or recipe.penalties or ((recipe.dropout or recipe.most) and not free)
    if unread and not recipe.cache_features:
        yield (
            "expected cache_features with dropout, apart, penalties and most, got dropout "
            f"{recipe.dropout}, apart {list(recipe.apart)}, penalties {list(recipe.penalties)} and "
            f"most {recipe.most}; set it, or leave them out"
        )
    if recipe.penalties and (len(recipe.penalties) != 2 or min(recipe.penalties) < 0):
        yield f"expected two penalties of 0 or more, got {list(recipe.penalties)}"
    if recipe.penalties and (recipe.objective != "clip" or not recipe.embed):
        yield (
            f"expected objective clip and embed above 0 with penalties, got {recipe.objective} and "
            f"{recipe.embed}; there are no projections to put"
        )
    if recipe.chunk and recipe.accumulate > 1:
        yield (
            f"expected chunk or accumulate, got chunk {recipe.chunk} and accumulate "
            f"{recipe.accumulate}; chunk alone keeps all negatives"
        )
    if recipe.chunk and recipe.objective != "clip":
        yield (
            f"expected accumulate instead of chunk for {recipe.objective}, got chunk "
            f"{recipe.chunk}; its pairs are not each other's negatives"
        )
    if recipe.cache_features and (recipe.augment != "none" or recipe.precision == "fp16"):
        yield (
            "expected augment none and precision fp32 or bf16 with cache_features, got "
            f"{recipe.augment} and {recipe.precision}; features are computed once"
        )
    if recipe.optimiser == "adafactor" and (recipe.weight_decay > 0.01 or recipe.shard):
        yield (
            "expected weight_decay of at most 0.01 and no shard for adafactor, whose decay is not "
            f"multiplied by lr, got {recipe.weight_decay} and shard {recipe.shard}"
        )
    if recipe.shard and recipe.precision == "fp16":
        yield "expected precision bf16 or fp32 with shard, got fp16; its scaler sees one rank only"
    yield from _of_heads(recipe)
    if not all(0 <= beta < 1 for beta in recipe.betas):
        yield f"expected two betas in [0, 1), got {list(recipe.betas)}"
    if not 0 <= recipe.max_bad <= 1:
        yield f"expected max_bad in [0, 1], got {recipe.max_bad}"
    if recipe.seed >= 2**63 or not math.isfinite(recipe.lr):
        yield f"expected a seed below 2**63, got {recipe.seed}; lower it"


def _of_heads(recipe: Recipe):
    """What is impossible about tasks, heads and SGD."""
    if recipe.objective in HEADS and (len(recipe.data) > 1 or recipe.augment != "none"):
        yield (
            f"expected one name in data and augment none with {recipe.objective}, got "
            f"{list(recipe.data)} and {recipe.augment}; leave the others out"
        )
    if recipe.head_rate != 1 and (recipe.objective == "clip" or recipe.optimiser == "adafactor"):
        yield (
            f"expected head_rate 1 with objective clip, or with adafactor, got {recipe.head_rate}; "
            "leave it out"
        )
    if recipe.optimiser == "sgd" and recipe.weight_decay:
        yield f"expected weight_decay 0 with sgd, got {recipe.weight_decay}; set it"


def _mixtures(recipe: Recipe):
    """What is impossible about the share of text pairs."""
    texts, share = recipe.text_batch, recipe.text_share
    whole = texts == recipe.batch
    if not 0 <= share <= 1 or bool(recipe.text_pairs) != bool(texts) or whole != (share == 1):
        yield (
            "expected text_pairs with a text_share from 0 to 1 that makes whole pairs, or neither, "
            f"got {list(recipe.text_pairs)} and {share}, which is {texts} of {recipe.batch}"
        )
    if texts and (texts % recipe.accumulate or recipe.objective != "clip"):
        yield (
            f"expected objective clip and text pairs in {recipe.accumulate} equal parts, got "
            f"{recipe.objective} and {texts}; change text_share or accumulate"
        )
    if whole and (recipe.data or recipe.cache_features):
        yield f"expected no data and no cache_features with text_share 1, got {list(recipe.data)}"
