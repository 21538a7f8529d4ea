"""Objectives that predict a text's words: as an unordered bag, or one after the other.

They are the baselines that CLIP's contrastive objective is compared with.

Source: Radford et al. 2021, section 2.3 and Fig. 2.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def bag_of_words_loss(
    logits: Float[Tensor, "batch words"], bags: Float[Tensor, "batch words"]
) -> Float[Tensor, ""]:
    """Cross-entropy between a softmax over all words and each text's own words.

    This is the multi-class logistic loss that Joulin et al. (2016), whom the CLIP paper follows,
    chose for bags of words: words compete, and no word's weight needs balancing against the many
    pictures that lack it, as one yes-or-no question per word would. Every text weighs the same,
    however many words it has. Computed in float32 at least.

    Args:
        logits: one per picture and word of the vocabulary.
        bags: how often each word occurs in the picture's text, >= 0; zeros and ones where only
            presence counts. A text without any known word is left out of the mean.

    Returns:
        Mean over texts of the mean over their words, in nats; log(words) at chance, never below a
        bag's own entropy (log 3 for three different words), and 0 where all bags are empty.

    Raises:
        ValueError: logits and bags are not two matrices of one non-empty shape.

    Source: Radford et al. 2021, sec. 2.3 and Fig. 2, "bag of words prediction"; Joulin et al. 2016,
    sec. 3.
    """
    if logits.shape != bags.shape or logits.ndim != 2 or not logits.numel():
        raise ValueError(
            "expected logits and bags of one shape (batch, words), neither zero, got "
            f"{tuple(logits.shape)} and {tuple(bags.shape)}; give one count per logit"
        )
    log_probs = F.log_softmax(logits, dim=1, dtype=_at_least_float32(logits))
    bags = bags.to(log_probs.dtype)
    counts = bags.sum(1)
    per_text = -(bags * log_probs).sum(1) / counts.clamp(min=torch.finfo(counts.dtype).tiny)
    return per_text.sum() / (counts > 0).sum().clamp(min=1)


def caption_loss(
    logits: Float[Tensor, "batch tokens vocabulary"],
    tokens: Int[Tensor, "batch tokens"],
    pad: int = 0,
) -> Float[Tensor, ""]:
    """Cross-entropy of predicting every token of a caption, padding apart.

    Computed in float32 at least.

    Args:
        logits: at place t what is predicted for token t, from the tokens before it (and the
            picture): they are shifted already.
        tokens: ids below the vocabulary's size; the end of the text is a token too.
        pad: id of padding, which costs nothing and earns nothing.

    Returns:
        Mean nats per token that is not padding; log(vocabulary) at chance, 0 where all is padding.

    Raises:
        ValueError: shapes do not belong together.

    Source: Radford et al. 2021, sec. 2.3 and Fig. 2, "transformer language model".
    """
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape or not logits.numel():
        raise ValueError(
            "expected logits (batch, tokens, vocabulary), none zero, for tokens (batch, tokens), "
            f"got {tuple(logits.shape)} and {tuple(tokens.shape)}; give one row per token"
        )
    logits = logits.flatten(0, 1).to(_at_least_float32(logits))
    total = F.cross_entropy(logits, tokens.flatten(), ignore_index=pad, reduction="sum")
    return total / (tokens != pad).sum().clamp(min=1)


def _at_least_float32(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
