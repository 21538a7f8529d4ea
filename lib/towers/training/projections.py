"""The laptop's first CLIP: frozen pretrained towers, and the projections trained between them."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from towers import data, files, models, names
from towers.data import duplicates
from towers.experiments import fingerprints
from towers.models import checkpoints
from towers.training.errors import TrainingError
from towers.training.loading import captioned as collection
from towers.training.pairs import History, fit
from towers.training.samples import texts_in

CODE = "towers.training.projections"
"""What trains, with what it reaches for its settings: see `experiments.chosen`."""


@dataclass(frozen=True)
class Projections:
    """What determines a trained pair of projections, down to the last bit on one machine.

    Attributes:
        image: image tower, as `models.load` takes it; frozen.
        text: text tower; frozen. Of `shared:pixels` each side has a projection of its own only with
            `separate=heads`.
        data: collections, as `data.load` takes them, whole ("clipart") or in part
            ("stamps[train]"); one that is named twice is seen twice as often.
        apart: collections that will be tested on: near duplicates of their pictures are left out.
        most: items of each collection, drawn by the seed from those that may be trained on; 0: all.
        languages: of the captions; an item without any in them is left out.
        embed: axis length of the shared space.
        steps: updates.
        batch: pairs per update.
        lr: peak learning rate.
        weight_decay: decoupled, on the projections' weights.
        warmup: updates until the peak.
        dropout: share of the features set to zero in each pair.
        seed: of the projections' first weights, the order, the drawn captions and the dropout.
        dtype: in which the towers compute the features; the quicker one of this machine.
        name: of the pair in records; where empty, `title` makes one from towers and data.
    """

    image: str = "package:efficientnet-lite0?resize=pad"
    text: str = "package:minilm"
    data: tuple[str, ...] = ("clipart", "emoji:openmoji")
    apart: tuple[str, ...] = ()
    most: int = 0
    languages: tuple[str, ...] = ("en",)
    embed: int = 256
    steps: int = 600
    batch: int = 512
    lr: float = 3e-3
    weight_decay: float = 0.2
    warmup: int = 50
    dropout: float = 0.4
    seed: int = 0
    dtype: str = field(default_factory=models.quick_dtype)
    name: str = ""

    def __post_init__(self):
        for name in ("data", "apart", "languages"):
            values = getattr(self, name)
            texts = not isinstance(values, str) and all(isinstance(each, str) for each in values)
            if not texts or not (values or name == "apart"):
                raise TrainingError(f"expected {name} as a tuple of names, got {values!r}")
            object.__setattr__(self, name, tuple(values))
        positive = ("embed", "steps", "batch", "lr")
        bad = [name for name in positive if not getattr(self, name) > 0]
        bad += [
            name
            for name in ("most", "weight_decay", "warmup", "seed")
            if not getattr(self, name) >= 0
        ]
        if bad:
            given = ", ".join(f"{name} {getattr(self, name)}" for name in bad)
            raise TrainingError(
                f"expected {', '.join(positive)} above 0, others 0 or more; got {given}"
            )
        if not (0 <= self.dropout < 1 and self.warmup < self.steps):
            raise TrainingError(
                "expected dropout in [0, 1) and warmup below steps; got dropout "
                f"{self.dropout}, warmup {self.warmup}, steps {self.steps}"
            )

    @property
    def title(self) -> str:
        """`name`, or in words: "efficientnet-lite0 and minilm on clipart, 3 x stamps[train]"."""
        if self.name:
            return self.name
        towers = (names.parse(tower).place for tower in (self.image, self.text))
        counts = Counter(self.data).items()
        seen = (f"{count} x {name}" if count > 1 else name for name, count in counts)
        return f"{' and '.join(towers)} on {', '.join(seen)}"


def trained(config: Projections, progress: bool = True) -> models.DualTower:
    """The dual tower that a configuration describes: from the cache, or trained now.

    Checkpoints lie in `cache_home()/checkpoints`, under a hash of the configuration, the towers'
    weights, the data and the code that trains.

    Args:
        config: what to train.
        progress: show bars for features and updates.

    Returns:
        In evaluation mode, named `config.title`.

    Raises:
        TrainingError: no item has a caption in the languages, or the loss stops being finite.
        ValueError: an unknown tower or collection.
    """
    return _cached(config, progress)[0]


def history(config: Projections, progress: bool = True) -> History:
    """Loss, scale and learning rate of every update of `trained(config)`."""
    record = json.loads(_cached(config, progress)[1].read_text())
    return History(**{name: tuple(values) for name, values in record.items()})


def _cached(config: Projections, progress: bool) -> tuple[models.DualTower, Path]:
    """The dual tower, and the file of its history."""
    pair = models.dual(config.image, config.text, config.embed, config.seed)
    image, text = pair.image.freeze(), pair.text.freeze()
    tested = [data.load(name) for name in config.apart]
    collections = [
        duplicates.without(collection(name, config.languages), tested) for name in config.data
    ]
    if config.most:
        collections = [_drawn(part, config.most, config.seed) for part in collections]
    key = _key(config, image, text, collections)
    path = files.cache_home() / "checkpoints" / f"{key}.safetensors"
    record = path.with_suffix(".json")
    with files.locked(path):
        if not (path.is_file() and record.is_file()):
            dual = models.DualTower(image, text, config.embed, config.title, config.seed)
            seen = _train(dual, collections, config, progress)
            files.atomic_write(record, json.dumps(asdict(seen)))
            models.save(dual, path)
    dual = checkpoints.restore(*checkpoints.read(path), image, text, str(path))
    dual.name = config.title
    return dual.eval(), record


def _drawn(part: data.Collection, most: int, seed: int) -> data.Collection:
    """So many items, which must be there: sizes that are compared have to be equal."""
    if len(part) < most:
        raise TrainingError(
            f"expected at least most = {most} items to train on in {part.name}, got {len(part)}; "
            "lower most"
        )
    return part.take(most, seed)


def _train(
    dual: models.DualTower, collections: list[data.Collection], config: Projections, progress: bool
) -> History:
    """Features of all pictures and captions, then the loop."""
    captions = [texts_in(item.captions, config.languages) for part in collections for item in part]
    texts = sorted({text for of_item in captions for text in of_item})
    row = {text: index for index, text in enumerate(texts)}
    options = {"dtype": config.dtype, "progress": progress}
    images = [models.features(dual.image, part, **options) for part in collections]
    return fit(
        dual,
        np.concatenate(images),
        models.features(dual.text, texts, **options),
        [np.array([row[text] for text in of_item]) for of_item in captions],
        **{
            name: getattr(config, name)
            for name in ("steps", "batch", "lr", "weight_decay", "warmup", "dropout", "seed")
        },
        progress=progress,
    )


def _key(
    config: Projections,
    image: models.ImageTower,
    text: models.TextTower,
    collections: list[data.Collection],
) -> str:
    """Hash of everything that the trained weights depend on."""
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "name"}
    parts = {
        "config": settings,
        "towers": [image.checksum, image.recipe, text.checksum, text.recipe],
        "data": [part.digest for part in collections],
        "code": fingerprints.of_code([CODE], settings),
    }
    return files.sha256(json.dumps(parts).encode())
