"""Zero-shot classification: class names become texts, texts become a linear classifier.

Source: Radford et al. 2021, sections 3.1.2 and 3.1.4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.special import softmax
from torch import Tensor

from towers import data, metrics, models
from towers.evaluation import comparisons, embeds
from towers.models.features import Precision
from towers.records import Measurement


def check(*collections: data.Collection) -> None:
    """Refuse what cannot be classified, before anything is trained or computed for it.

    Raises:
        ValueError: a collection has no labels, or only one class, of which every answer is right.
    """
    for each in collections:
        if len(each.classes) < 2 or not (each.labels >= 0).any():
            raise ValueError(
                f"expected labelled pictures and at least two classes in {each.name}, got "
                f"{(each.labels >= 0).sum()} with a label and {len(each.classes)} classes "
                f"{list(each.classes)[:1]}; name another collection"
            )


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
    """Accuracy of each set of templates, beside chance and beside the first set.

    Args:
        dual: whose features are cached.
        collection: items without a label are left out.
        prompts: name of a set -> its templates; the first set is the baseline that the others are
            compared with, {"class name": ["{}"], ...} for the paper's Fig. 4.
        class_names: what to call the classes, in the order of `collection.classes`; default:
            those. All of them are candidates, also where no item has that label.
        ks: for top-k accuracy; each k below the number of classes counts.
        seed: of the bootstrap.
        dtype: in which the towers compute features, as for `models.features`.

    Returns:
        For each set, at `prompt` its name: for each `k` "accuracy" beside chance, k / classes, with
        a Clopper-Pearson interval; "accuracy per class", the mean over classes, with a bootstrap
        interval within classes; and from the second set on "accuracy gain" at `over` the first, on
        the same items, with a paired bootstrap interval. All intervals 95 %. Bootstraps draw whole
        groups of near duplicates (`Item.group`). Clopper-Pearson takes every item for an
        independent one, and is too narrow to the degree that a collection repeats itself.

    Raises:
        ValueError: no prompts, fewer than two classes, or names for another number of them.
    """
    embeds.check(dual, collection, ks=ks)
    check(collection)
    names = list(collection.classes if class_names is None else class_names)
    labels = collection.labels
    labelled = np.flatnonzero(labels >= 0)
    if not prompts or len(names) != len(collection.classes):
        raise ValueError(
            f"expected prompts and {len(collection.classes)} class names; got {len(prompts)} "
            f"prompt sets and {len(names)} names"
        )
    for templates in prompts.values():
        _check_texts(names, templates)
    ks = [k for k in ks if k < len(names)]
    images = embeds.of_images(dual, collection, dtype)[labelled]
    hits = {}
    for prompt, templates in prompts.items():
        classes = class_embeddings(dual, names, templates, dtype).numpy()
        hits[prompt] = metrics.hits_at_k(images @ classes.T, labels[labelled], [1, *ks])

    shared = {"model": dual.name, "data": collection.name, "seed": seed}
    drawn = {"groups": collection.groups[labelled], "seed": seed}
    first, baseline = next((prompt, of_k[1]) for prompt, of_k in hits.items())
    rows = []
    for prompt, of_k in hits.items():
        named = shared | {"n": len(labelled), "at": {"prompt": prompt}}
        for k in ks:
            low, high = metrics.intervals.clopper_pearson(of_k[k].sum(), len(labelled))
            rows.append(
                Measurement(metric="accuracy", value=float(of_k[k].mean()), low=low, high=high,
                            chance=k / len(names), **named | {"at": {"prompt": prompt, "k": k}})
            )  # fmt: skip
        low, high = metrics.intervals.proportion_per_class(of_k[1], labels[labelled], **drawn)
        value = metrics.mean_per_class(of_k[1], labels[labelled])
        rows.append(
            Measurement(metric="accuracy per class", value=value, low=low, high=high,
                        chance=1 / len(names), **named)
        )  # fmt: skip
        if prompt != first:
            asked = {"metric": "accuracy", "over": first, "at": {"prompt": prompt, "k": 1}}
            rows.append(comparisons.gain(of_k[1], baseline, **asked, **drawn | shared))
    return rows


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
