"""Zero-shot accuracy while a run is on its way, for objectives of any kind.

Source: Radford et al. 2021, section 2.3 and Fig. 2: accuracy against pairs seen.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from towers.data.scenes import Scenes


class SceneAccuracy:
    """Top-1 accuracy of an objective on labelled scenes, each class named by its sentence.

    A pair of towers answers with the nearest sentence; a head that predicts words answers with
    the sentence that it finds most probable.

    Attributes:
        classes: number of classes; chance is one over it.
        count: pictures that are asked about.
    """

    def __init__(self, scenes: Scenes, task: str, batch: int = 256) -> None:
        """Draw the pictures once.

        Args:
            scenes: of a split that was not trained on.
            task: of the scenes' labels, "combination" for example.
            batch: pictures per forward pass.
        """
        self._pixels = torch.from_numpy(scenes.pixels(np.arange(len(scenes))))
        self._labels = torch.from_numpy(scenes.labels(task))
        self._texts = [sentences[0] for sentences in scenes.prompts(task)]
        self._batch = batch
        self.classes, self.count = len(self._texts), len(scenes)

    @torch.no_grad()
    def __call__(self, objective) -> dict[str, float]:
        """`{"accuracy": ...}` of what `training.train` hands to its evaluation."""
        image, device = objective.dual.image, objective.dual.log_scale.device
        hits = 0
        for pixels, labels in zip(
            self._pixels.split(self._batch), self._labels.split(self._batch), strict=True
        ):
            images = image.transform.normalised(pixels.to(device))
            hits += (self._scores(objective, images).argmax(1).cpu() == labels).sum().item()
        return {"accuracy": hits / self.count}

    def _scores(self, objective, images: Tensor) -> Float[Tensor, "images classes"]:
        dual = objective.dual
        if hasattr(objective, "head"):
            return objective.head.class_scores(dual.image(images), self._texts)
        tokens = dual.text.tokenize(self._texts)
        texts = dual.embed_texts({name: t.to(images.device) for name, t in tokens.items()})
        return dual.embed_images(images) @ texts.T
