"""What is learnt: modules that turn a batch into outputs, and outputs into a loss."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from towers import losses, models
from towers.models.answering import Answerer, TaskHead
from towers.models.objectives import BagOfWords, Captioner
from towers.training.batches import IMAGES, WRITTEN, Texts
from towers.training.samples import Lookup


class Contrastive(nn.Module):
    """CLIP's objective: which of a batch's captions belongs to which of its images.

    Attributes:
        dual: the pair that learns.
        tile: rows of the similarity matrix that are held at a time.
        dropout: share of the towers' features set to zero in each pair, the rest scaled up; they
            must have been looked up.
        read: features of captions that the frozen text tower has read once; None: it reads.
        adds_up: whether the gradient on a batch is the sum of those that the ranks hold; else it
            is their mean.
    """

    adds_up: ClassVar[bool] = True

    def __init__(
        self,
        dual: models.DualTower,
        tile: int = 2048,
        dropout: float = 0.0,
        read: Lookup | None = None,
    ) -> None:
        super().__init__()
        self.dual, self.tile, self.dropout, self.read = dual, tile, dropout, read

    def tokenize(self, texts: list[str]) -> Texts:
        """Captions as `forward` takes them."""
        return self.read(texts) if self.read else self.dual.text.tokenize(texts)

    def forward(
        self, images: Texts, texts: Texts
    ) -> tuple[Float[Tensor, "batch embed"], Float[Tensor, "batch embed"], Float[Tensor, ""]]:
        """Unit-norm embeddings of this rank's pairs, and the scale of the logits.

        Args:
            images: pixels (uint8, channels last), or image features; or a left side whose last rows
                are texts, see `batches`.
            texts: tokens, or text features.
        """
        if self.dropout and self.training:
            images, texts = (F.dropout(side, self.dropout) for side in (images, texts))
        if isinstance(images, Tensor):
            image_embeds = self.dual.embed_images(pixels(self.dual, images))
        else:
            image_embeds = self._mixed(images)
        return image_embeds, self.dual.embed_texts(texts), self.dual.logit_scale

    def _mixed(self, left: Mapping[str, Tensor]) -> Float[Tensor, "batch embed"]:
        """Embeddings of images in the first rows and of texts in the last ones."""
        others = (IMAGES, WRITTEN)
        first = int((~left[WRITTEN]).sum())
        embeds = []
        if first:
            embeds.append(self.dual.embed_images(pixels(self.dual, left[IMAGES][:first])))
        if first < len(left[WRITTEN]):
            tokens = {name: each[first:] for name, each in left.items() if name not in others}
            embeds.append(self.dual.embed_texts(tokens))
        return torch.cat(embeds)

    def loss(
        self,
        image_embeds: Float[Tensor, "batch embed"],
        text_embeds: Float[Tensor, "batch embed"],
        logit_scale: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """The loss over the pairs of all ranks, equal on all of them."""
        return losses.sharded_clip_loss(image_embeds, text_embeds, logit_scale, self.tile)


class Predictive(nn.Module):
    """The objectives that CLIP is compared with: to predict a picture's words.

    Attributes:
        dual: whose image tower learns; its text tower and projections are left alone.
        head: predicts words from image features.
        adds_up: as for `Contrastive`; a batch's loss is the mean over its ranks.

    Source: Radford et al. 2021, sec. 2.3 and Fig. 2.
    """

    adds_up: ClassVar[bool] = False

    def __init__(self, dual: models.DualTower, head: BagOfWords | Captioner) -> None:
        super().__init__()
        self.dual, self.head = dual, head

    def tokenize(self, texts: list[str]) -> Mapping[str, Tensor]:
        """What the head is to predict."""
        if isinstance(self.head, BagOfWords):
            return {"words": self.head.vocabulary.bags(texts)}
        return {"words": self.head.vocabulary.tokens(texts, self.head.context)}

    def forward(self, images: Tensor, texts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the words, and the words."""
        features, words = self.dual.image(pixels(self.dual, images)), texts["words"]
        bags = isinstance(self.head, BagOfWords)
        return (self.head(features) if bags else self.head(features, words)), words

    def loss(self, logits: Tensor, words: Tensor) -> Float[Tensor, ""]:
        """The loss over this rank's pairs."""
        if isinstance(self.head, BagOfWords):
            return losses.bag_of_words_loss(logits, words)
        return losses.caption_loss(logits, words)


class Distilled(nn.Module):
    """Distillation of features: a picture's features point where a teacher's of it do.

    Attributes:
        dual: whose image tower learns; its text tower and projections are left alone.
        wanted: the teacher's features, by pictures' keys.
        head: a linear map from the tower's features to the teacher's.
        adds_up: as for `Predictive`.
    """

    adds_up: ClassVar[bool] = False

    def __init__(self, dual: models.DualTower, wanted: Lookup, seed: int) -> None:
        super().__init__()
        self.dual, self.wanted = dual, wanted
        self.head = nn.Linear(dual.image.width, wanted.features.shape[1])
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(std=dual.image.width**-0.5, generator=draws)
            self.head.bias.zero_()

    def tokenize(self, keys: list[str]) -> Texts:
        """Where the teacher's features of pictures point."""
        return self.wanted(keys)

    def forward(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Where the mapped features point, and where they should."""
        return F.normalize(self.head(self.dual.image(pixels(self.dual, images))), dim=-1), wanted

    def loss(self, given: Tensor, wanted: Tensor) -> Float[Tensor, ""]:
        """One minus the cosine, on average over this rank's pictures."""
        return (1 - (given * wanted).sum(-1)).mean()


class FineTuned(nn.Module):
    """A head on one tower, and the tower with it, learn the right answers.

    Attributes:
        dual: of whose towers one learns: the image tower questions that stand above their pictures,
            or the text tower a task on sentences, whose answers stand in the pictures' place.
        head: answers; that of questions has the image tower in it.
        adds_up: as for `Predictive`.
    """

    adds_up: ClassVar[bool] = False

    def __init__(self, dual: models.DualTower, head: Answerer | TaskHead) -> None:
        super().__init__()
        self.dual, self.head = dual, head

    def tokenize(self, texts: list[str]) -> Texts:
        """The classes of answers to questions, or sentences as the text tower reads them."""
        asks = isinstance(self.head, Answerer)
        return self.head.classes(texts) if asks else self.dual.text.tokenize(texts)

    def forward(self, images: Tensor, texts: Texts) -> tuple[Tensor, Tensor]:
        """What the head says, and the right answers."""
        if isinstance(self.head, Answerer):
            return self.head(images), texts
        return self.head(self.dual.text(texts)), images

    def loss(self, outputs: Tensor, targets: Tensor) -> Float[Tensor, ""]:
        """The loss over this rank's questions or sentences."""
        return self.head.loss(outputs.float(), targets)


Objective = Contrastive | Predictive | Distilled | FineTuned


def pixels(dual: models.DualTower, images: Tensor) -> Tensor:
    """Squares of pixels as the image tower takes them; features stay as they are."""
    return dual.image.transform.normalised(images) if images.dtype == torch.uint8 else images
