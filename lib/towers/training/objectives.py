"""What is learnt: modules that take a batch and give the loss of the whole batch on all ranks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from towers import losses, models
from towers.training.batches import Texts


class Contrastive(nn.Module):
    """CLIP's objective: which of a batch's captions belongs to which of its images.

    Attributes:
        dual: the pair that learns.
        tile: rows of the similarity matrix that are held at a time.
    """

    def __init__(self, dual: models.DualTower, tile: int = 1024) -> None:
        super().__init__()
        self.dual, self.tile = dual, tile

    def forward(self, images: Tensor, texts: Texts) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
        """The loss of one pass over a batch, and whether this rank's embeddings are finite.

        Args:
            images: this rank's pixels (uint8, channels last), or image features.
            texts: this rank's tokens, or text features.

        Returns:
            The loss over the pairs of all ranks, equal on all of them; the mean over the ranks of
            its gradients is the gradient on the whole batch.
        """
        image_embeds, text_embeds = self.embeds(images, texts)
        sound = torch.isfinite(image_embeds.detach()).all() & torch.isfinite(text_embeds).all()
        return self.loss(image_embeds, text_embeds), sound

    def embeds(
        self, images: Tensor, texts: Texts
    ) -> tuple[Float[Tensor, "batch embed"], Float[Tensor, "batch embed"]]:
        """Unit-norm embeddings of both sides."""
        if images.dtype == torch.uint8:
            images = self.dual.image.transform.normalised(images)
        return self.dual.embed_images(images), self.dual.embed_texts(texts)

    def loss(
        self, image_embeds: Float[Tensor, "batch embed"], text_embeds: Float[Tensor, "batch embed"]
    ) -> Float[Tensor, ""]:
        """The loss over the embeddings of all ranks."""
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            image_embeds, text_embeds = (
                torch.cat(all_gather(embeds)) for embeds in (image_embeds, text_embeds)
            )
        return losses.clip_loss(image_embeds, text_embeds, self.dual.logit_scale)
