"""Zero-shot classification: class names become texts, texts become a linear classifier.

Source: Radford et al. 2021, sections 3.1.2 and 3.1.4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.special import softmax
from torch import Tensor

from towers import data, metrics, models
from towers.data import cards
from towers.evaluation import comparisons, embeds
from towers.models.features import Precision
from towers.records import Measurement


def check(*collections: data.Collection) -> None:
    """Refuse what cannot be classified, before anything is trained or computed for it.

    Raises:
        ValueError: a collection has no labels, or only one class, of which every answer is right.
    """
    for collection in collections:
        labelled = len(truth(collection)[0])
        if len(collection.classes) < 2 or not labelled:
            raise ValueError(
                f"expected labelled pictures and at least two classes in {collection.name}, got "
                f"{labelled} with a label and {len(collection.classes)} classes "
                f"{list(collection.classes)[:1]}; name another collection"
            )


def check_parts(train: data.Collection, test: data.Collection) -> None:
    """Refuse a pair of collections that nothing can be learnt on and then asked about.

    Raises:
        ValueError: as `check`, or the two name their classes differently.
    """
    check(train, test)
    if train.classes != test.classes:
        raise ValueError(
            f"expected the same classes in both parts, got {len(train.classes)} in {train.name} "
            f"and {len(test.classes)} in {test.name}"
        )


def truth(collection: data.Collection) -> tuple[Int[np.ndarray, " items"], np.ndarray]:
    """Which items have a label, and what it is.

    Returns:
        Rows of the collection; and of each of them the class number, or, where items have targets
        for "classes", 0 or 1 for each class.
    """
    several = [item.targets.get("classes") for item in collection]
    if any(names is not None for names in several):
        rows = [row for row, names in enumerate(several) if names is not None]
        member = [[name in several[row] for name in collection.classes] for row in rows]
        return np.array(rows), np.array(member, dtype=int)
    rows = np.flatnonzero(collection.labels >= 0)
    return rows, collection.labels[rows]


def metric(collection: data.Collection) -> str:
    """By what labels of a collection are scored: its card's metric, else accuracy."""
    card = cards.of_collection(collection.name)
    return card.metric if card and card.metric else "accuracy"


def class_embeddings(
    dual: models.DualTower,
    class_names: Sequence[str],
    templates: Sequence[str],
    dtype: Precision | None = None,
) -> Float[Tensor, "classes embed"]:
    """One unit-norm embedding per class: the ensemble of its templates in embedding space.

    Every template is filled with the class name as given ("a {}" is not made "an {}"), embedded
    and normalised; the mean over templates is normalised again. The texts' features are cached,
    so that a second call costs two matrix products.

    Args:
        dual: whose texts are embedded.
        class_names: as a person would say them; also of other letters than a to z.
        templates: texts with one "{}" each; "{}" alone is the class name without context.
        dtype: in which the towers compute features, as for `models.features`.

    Raises:
        ValueError: no class, no template, or a template without exactly one "{}".

    Source: Radford et al. 2021, sec. 3.1.4.
    """
    _check_texts(class_names, templates)
    texts = [template.replace("{}", name) for name in class_names for template in templates]
    rows = torch.from_numpy(embeds.of_texts(dual, texts, dtype))
    means = rows.view(len(class_names), len(templates), -1).mean(dim=1)
    return torch.nn.functional.normalize(means, dim=-1)


def _check_texts(class_names: Sequence[str], templates: Sequence[str]) -> None:
    bad = [template for template in templates if template.count("{}") != 1]
    if bad or not len(templates) or not len(class_names):
        raise ValueError(
            "expected at least one class name and one template, each template with one {}; "
            f"got {len(class_names)} names and templates {(bad or list(templates))[:3]}"
        )


def predict(
    dual: models.DualTower,
    collection: data.Collection,
    class_names: Sequence[str],
    templates: Sequence[str],
    dtype: Precision | None = None,
) -> Float[np.ndarray, "images classes"]:
    """Probability of each class for each picture; rows sum to 1.

    The softmax of the similarities times the learned `logit_scale`.

    Args:
        dual: whose `logit_scale` sharpens the softmax.
        collection: labels are not looked at.
        class_names: as for `class_embeddings`.
        templates: as for `class_embeddings`.
        dtype: in which the towers compute features, as for `models.features`.
    """
    classes = class_embeddings(dual, class_names, templates, dtype).numpy()
    sims = embeds.of_images(dual, collection, dtype) @ classes.T
    return softmax(float(dual.logit_scale.detach()) * sims.astype(np.float64), axis=1)


def evaluate(
    dual: models.DualTower,
    collection: data.Collection,
    prompts: Mapping[str, Sequence[str]],
    *,
    class_names: Sequence[str] | None = None,
    ks: Sequence[int] = (1, 5),
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Measurement]:
    """Scores of each set of templates, beside chance and beside the first set.

    Args:
        dual: whose features are cached.
        collection: items without a label are left out; its card names a metric, `metric`.
        prompts: name of a set -> its templates; the first set is the baseline that the others are
            compared with, {"class name": ["{}"], ...} for the paper's Fig. 4.
        class_names: what to call the classes, in the order of `collection.classes`; default:
            those. All of them are candidates, also where no item has that label.
        ks: for top-k accuracy; each k below the number of classes counts.
        seed: of the bootstrap.
        dtype: in which the towers compute features, as for `models.features`.

    Returns:
        For each set, at `prompt` its name, where items have one class: for each `k` "accuracy"
        beside chance, k / classes, with a Clopper-Pearson interval; "accuracy per class", the mean
        over classes; and from the second set on "accuracy gain" at `over` the first, on the same
        items. And the card's metric, where it is another one (`metrics.score`). All intervals 95 %.
        Bootstraps draw whole groups of near duplicates (`Item.group`). Clopper-Pearson takes every
        item for an independent one, and is too narrow to the degree that a collection repeats
        itself.

    Raises:
        ValueError: no prompts, fewer than two classes, or names for another number of them.
    """
    embeds.check(dual, collection, ks=ks)
    check(collection)
    names = list(collection.classes if class_names is None else class_names)
    if not prompts or len(names) != len(collection.classes):
        raise ValueError(
            f"expected prompts and {len(collection.classes)} class names; got {len(prompts)} "
            f"prompt sets and {len(names)} names"
        )
    for templates in prompts.values():
        _check_texts(names, templates)
    rows, targets = truth(collection)
    images = embeds.of_images(dual, collection, dtype)[rows]
    sims = {
        prompt: images @ class_embeddings(dual, names, templates, dtype).numpy().T
        for prompt, templates in prompts.items()
    }
    drawn = {"groups": collection.groups[rows], "seed": seed}
    shared = {"model": dual.name, "data": collection.name, "seed": seed}
    wanted = [metric(collection)]
    if targets.ndim == 1:
        wanted = dict.fromkeys(["accuracy", "mean_per_class_accuracy", *wanted])
    measured = []
    for prompt, scores in sims.items():
        for name in wanted:
            if name != "accuracy":
                score = metrics.score(name, scores, targets, **drawn)
                measured.append(Measurement(**score, **shared, at={"prompt": prompt}))
            else:
                measured += _accuracies(scores, targets, ks, shared | {"at": {"prompt": prompt}})
    return measured + (_gains(sims, targets, drawn, shared) if targets.ndim == 1 else [])


def _accuracies(
    scores: Float[np.ndarray, "items classes"],
    labels: Int[np.ndarray, " items"],
    ks: Sequence[int],
    shared: dict,
) -> list[Measurement]:
    """Top-k accuracies with Clopper-Pearson's intervals."""
    ks, rows = [k for k in ks if k < scores.shape[1]], []
    for k, hits in metrics.hits_at_k(scores, labels, ks).items() if ks else ():
        low, high = metrics.intervals.clopper_pearson(hits.sum(), len(hits))
        at = shared["at"] | {"k": k}
        rows.append(
            Measurement(metric="accuracy", value=float(hits.mean()), low=low, high=high,
                        chance=k / scores.shape[1], n=len(hits), **shared | {"at": at})
        )  # fmt: skip
    return rows


def _gains(
    sims: Mapping[str, np.ndarray], labels: Int[np.ndarray, " items"], drawn: dict, shared: dict
) -> list[Measurement]:
    """What each set of prompts but the first gains in accuracy over the first."""
    hits = {prompt: metrics.hits_at_k(scores, labels, [1])[1] for prompt, scores in sims.items()}
    (first, baseline), *others = hits.items()
    return [
        comparisons.gain(right, baseline, metric="accuracy", over=first,
                         at={"prompt": prompt, "k": 1}, **drawn | shared)
        for prompt, right in others
    ]  # fmt: skip


def guesses(
    dual: models.DualTower,
    collection: data.Collection,
    templates: Sequence[str],
    k: int = 5,
) -> list[list[tuple[str, float]]]:
    """The k most probable classes of each picture with their probabilities, best first.

    Args:
        dual: as for `predict`.
        collection: its `classes` are the candidates.
        templates: as for `predict`.
        k: how many, at most.

    Source: Radford et al. 2021, appendix B, Fig. 21.
    """
    names = collection.classes
    shares = predict(dual, collection, names, templates)
    best = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    return [
        [(names[index], float(row[index])) for index in order]
        for row, order in zip(shares, best, strict=True)
    ]


def listed(
    collections: Sequence[data.Collection], guessed: Sequence[list[list[tuple[str, float]]]]
) -> pd.DataFrame:
    """What a gallery of guesses shows, one row a guess.

    Args:
        collections: whose pictures are shown.
        guessed: of each, as `guesses` gives it.

    Returns:
        Columns data, name, label, rank (from 1), guess, probability.
    """
    return pd.DataFrame(
        [
            (collection.name, item.name, item.targets.get("class"), rank, guess, probability)
            for collection, of_items in zip(collections, guessed, strict=True)
            for item, of_item in zip(collection, of_items, strict=True)
            for rank, (guess, probability) in enumerate(of_item, 1)
        ],
        columns=["data", "name", "label", "rank", "guess", "probability"],
    )
