"""A small image tower that learns to see what a large one sees.

LilT's adapters need a transformer, and the pretrained image tower that comes with packages is a
convolutional network. So a small Vision Transformer learns to point where the features of that
network point: one picture, two towers, and the cosine between a linear map of the student's
features and the teacher's, whose mean over the pictures is taken off first (features behind a
ReLU all point in about one direction).
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from towers import data, files, models
from towers.experiments import fingerprints
from towers.metrics.intervals import Interval, bootstrap
from towers.models import weights
from towers.models.features import square_of
from towers.progress import tqdm
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.schedules import cosine

CODE = "towers.training.distillation"
"""What trains, with what it reaches for its settings: see `experiments.chosen`."""
READERS = 4
"""Threads that read pictures."""


@dataclass(frozen=True)
class Distillation:
    """What determines a distilled tower, down to the last bit on one machine.

    Attributes:
        student: image tower from scratch, as `models.load` takes it.
        teacher: image tower with weights; frozen.
        data: collections, as `data.load` takes them; captions and labels are not looked at.
        steps: updates, each on `batch` pictures.
        batch: pictures per update; each is mirrored in half of its updates.
        lr: peak learning rate of AdamW; half a cosine down to 0.
        weight_decay: decoupled, on matrices.
        warmup: updates until the peak.
        seed: of the linear map, the order and the mirroring; the student's first weights are its
            name's own.
        dtype: in which the teacher computes; the quicker one of this machine.
    """

    student: str = "scratch:vit?image=64&patch=8&width=128&depth=4&heads=4"
    teacher: str = "package:efficientnet-lite0?resize=pad"
    data: tuple[str, ...] = ("clipart", "emoji:openmoji", "stamps[train]")
    steps: int = 1000
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 50
    seed: int = 0
    dtype: str = field(default_factory=models.quick_dtype)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", tuple(self.data))
        if not all(isinstance(each, str) for each in self.data):
            raise TrainingError(f"expected names of collections as data, got {self.data!r}")
        low = [n for n in ("steps", "batch", "lr") if not getattr(self, n) > 0]
        if low or not 0 <= self.warmup < self.steps or not self.data:
            raise TrainingError(
                "expected data, steps, batch and lr above 0 and warmup from 0 to below steps, got "
                f"{len(self.data)} collections, {self.steps}, {self.batch}, {self.lr:g} and "
                f"{self.warmup}"
            )


def distilled(how: Distillation, progress: bool = True) -> models.ImageTower:
    """The student that a configuration describes: from the cache, or trained now.

    Weights lie in `cache_home()/distilled`, under a hash of the configuration, the teacher's
    weights, the pictures and the code that trains.

    Args:
        how: what to train.
        progress: show bars.

    Returns:
        The tower alone, without the linear map, frozen.

    Raises:
        TrainingFailed: the loss stops being finite.
        ValueError: an unknown tower or collection.
    """
    teacher, student = (models.image_tower(name) for name in (how.teacher, how.student))
    pictures = [data.load(name) for name in how.data]
    path = files.cache_home() / "distilled" / f"{_key(how, teacher.freeze(), pictures)}.safetensors"
    with files.locked(path):
        if not path.is_file():
            _train(student, teacher, pictures, how, progress)
            state = student.encoder.state_dict()
            files.atomic_write(path, to_bytes({n: each.contiguous() for n, each in state.items()}))
    weights.load_into(student.encoder, weights.read(path), str(path))
    student.named = False
    return student.freeze()


def agreement(
    features: Float[np.ndarray, "pictures width"],
    targets: Float[np.ndarray, "pictures other"],
    seed: int = 0,
) -> tuple[float, Interval]:
    """How well one tower's features tell which pictures are alike to another one.

    Args:
        features: of one tower.
        targets: of the other, row by row of the same pictures.
        seed: of the bootstrap.

    Returns:
        Pearson correlation, over all pairs of pictures, of the cosines of both, each after its mean
        was taken off; and its 95 % bootstrap interval over pictures, in which a picture that is
        drawn twice makes no pair with itself.

    Raises:
        ValueError: fewer than three pictures, or not as many of both.
    """
    if not len(features) == len(targets) > 2:
        raise ValueError(
            f"expected features of the same 3 or more pictures, got {len(features)} and "
            f"{len(targets)}"
        )
    units = [_unit(rows - rows.mean(0)) for rows in (features, targets)]
    seen, wanted = (rows @ rows.T for rows in units)

    def correlation(drawn: Float[np.ndarray, " pictures"]) -> float:
        rows = drawn.astype(int)
        first, second = (rows[each] for each in np.triu_indices(len(rows), k=1))
        apart = first != second
        places = first[apart], second[apart]
        return float(np.corrcoef(seen[places], wanted[places])[0, 1])

    every = np.arange(len(features), dtype=float)
    return correlation(every), bootstrap(every, correlation, n_resamples=500, seed=seed)


def _train(
    student: models.ImageTower,
    teacher: models.ImageTower,
    pictures: list[data.Collection],
    how: Distillation,
    progress: bool,
) -> None:
    """Turn the student, in place, into what sees as the teacher does."""
    shown = {"dtype": how.dtype, "progress": progress}
    wanted = np.concatenate([models.features(teacher, part, **shown) for part in pictures])
    targets = torch.from_numpy(_unit(wanted - wanted.mean(0)))
    squares = torch.from_numpy(np.concatenate([_squares(student, p, progress) for p in pictures]))
    draws = torch.Generator().manual_seed(how.seed)
    head = nn.Linear(student.width, teacher.width)
    with torch.no_grad():
        head.weight.normal_(std=student.width**-0.5, generator=draws)
    moving = [*student.requires_grad_(True).train().parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW([
        {"params": [w for w in moving if w.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [w for w in moving if w.ndim < 2], "weight_decay": 0.0},
    ])  # fmt: skip
    epochs = -(-how.steps * how.batch // len(squares))
    order = torch.cat([torch.randperm(len(squares), generator=draws) for _ in range(epochs)])
    for step in tqdm(range(how.steps), desc="distilling", disable=None if progress else True):
        rows = order[step * how.batch : (step + 1) * how.batch]
        mirrored = torch.rand(len(rows), generator=draws) < 0.5
        images = student.transform.normalised(_mirror(squares[rows], mirrored))
        given = F.normalize(head(student(images)), dim=-1)
        loss = (1 - (given * targets[rows]).sum(-1)).mean()
        if not torch.isfinite(loss):
            raise TrainingFailed(
                f"expected a finite loss, got {loss.item()} at step {step + 1} of {how.steps}; "
                f"lower lr ({how.lr:g})"
            )
        for group in optimiser.param_groups:
            group["lr"] = how.lr * cosine(step, how.steps, how.warmup)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _mirror(
    squares: UInt8[Tensor, "batch side side 3"], mirrored: Tensor
) -> UInt8[Tensor, "batch side side 3"]:
    return torch.where(mirrored[:, None, None, None], squares.flip(2), squares)


def _squares(
    tower: models.ImageTower, pictures: data.Collection, progress: bool
) -> UInt8[np.ndarray, "pictures side side 3"]:
    """All pictures as the tower takes them."""

    def read(row: int) -> np.ndarray:
        return square_of(tower, pictures, row, {})  # `models.features` says what is bad

    shown = {"desc": f"reading {pictures.name}", "disable": None if progress else True}
    with ThreadPoolExecutor(READERS) as pool:
        rows = pool.map(read, range(len(pictures)))
        return np.stack([*tqdm(rows, total=len(pictures), leave=False, **shown)])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _key(how: Distillation, teacher: models.ImageTower, pictures: list[data.Collection]) -> str:
    """Hash of everything that the distilled weights depend on."""
    settings = {field.name: getattr(how, field.name) for field in fields(how)}
    found = [teacher.checksum, teacher.recipe, [part.digest for part in pictures]]
    code = fingerprints.of_code([CODE], settings)
    return files.sha256(json.dumps([settings, found, code]).encode())[:32]
