"""What CLIP's contrastive objective is compared with: heads that predict a picture's words.

`BagOfWords` predicts which words a text has, `Captioner` predicts them one after the other; both
classify without training for it, by how probable they find each class's text. (The third objective
of Fig. 2, contrasting bags of words, is a text tower and `losses.clip_loss`.)

Source: Radford et al. 2021, section 2.3 and Fig. 2.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

PAD, END, UNKNOWN = 0, 1, 2
WORD = re.compile(r"\w+|[^\w\s]")


class Vocabulary:
    """Words of lower-cased texts, most frequent first; ties in alphabetical order.

    Attributes:
        words: ids count from 3; 0 is padding, 1 the end of a text, 2 any other word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        if not self.words or len(self._ids) != len(self.words):
            raise ValueError(
                f"expected different words, at least one, got {len(self.words)} of which "
                f"{len(self._ids)} differ; use Vocabulary.of(texts)"
            )

    @classmethod
    def of(cls, texts: Iterable[str], most: int = 20_000) -> "Vocabulary":
        """The `most` frequent words of texts; punctuation marks are words."""
        counts = Counter(word for text in texts for word in split(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[:most])

    def __len__(self) -> int:
        """Number of ids, the three special ones included."""
        return UNKNOWN + 1 + len(self.words)

    def tokens(self, texts: Sequence[str], context: int) -> Int[Tensor, "texts tokens"]:
        """Ids of each text's words and its end, padded to the longest, cut at `context`."""
        rows = [[self._ids.get(word, UNKNOWN) for word in split(text)] for text in texts]
        rows = [torch.tensor([*row[: context - 1], END]) for row in rows]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def bags(self, texts: Sequence[str]) -> Float[Tensor, "texts words"]:
        """Which words each text has, 1 or 0; other words leave no trace."""
        bags = torch.zeros(len(texts), len(self.words))
        for bag, text in zip(bags, texts, strict=True):
            known = {self._ids[word] for word in split(text) if word in self._ids}
            bag[[number - UNKNOWN - 1 for number in known]] = 1
        return bags


def split(text: str) -> list[str]:
    """Lower-cased words and punctuation marks, in order."""
    return WORD.findall(text.lower())


class BagOfWords(nn.Module):
    """Predicts the words of a picture's text, in no order: one linear layer.

    Source: Radford et al. 2021, Fig. 2, "bag of words prediction"; Joulin et al. 2016.
    """

    def __init__(self, width: int, vocabulary: Vocabulary, seed: int = 0) -> None:
        """A head over image features of a width; `seed` determines its first weights."""
        super().__init__()
        self.vocabulary = vocabulary
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = nn.Linear(width, len(vocabulary.words))

    def forward(self, features: Float[Tensor, "images width"]) -> Float[Tensor, "images words"]:
        """Logits of all words."""
        return self.words(features)

    @torch.no_grad()
    def class_scores(
        self, features: Float[Tensor, "images width"], texts: Sequence[str]
    ) -> Float[Tensor, "images classes"]:
        """For every class's text the sum of its words' log-probabilities, in nats.

        Words that all texts share add the same to each; words not known are passed over.
        """
        bags = self.vocabulary.bags(texts).to(features.device)
        return F.log_softmax(self(features).float(), dim=1) @ bags.T


class Captioner(nn.Module):
    """A causal transformer that writes a picture's text and looks at its features at every layer.

    The paper's has 63 million parameters; this one is as small as its arguments. A picture comes as
    one feature vector or as several (places of a feature map, patches).

    Source: Radford et al. 2021, Fig. 2, "transformer language model"; Desai & Johnson 2020
    (VirTex), the form with one direction.
    """

    def __init__(
        self,
        feature_width: int,
        vocabulary: Vocabulary,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        context: int = 32,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Make the decoder.

        Args:
            feature_width: of the image features.
            vocabulary: of the words it can write.
            width: of its layers, a multiple of heads.
            depth: number of layers.
            heads: of each attention.
            context: most tokens of a text, its end included; longer ones are cut.
            dropout: share of activations set to zero in training.
            seed: of the first weights.

        Raises:
            ValueError: width is no multiple of heads, or context is below 1.
        """
        if width % heads or context < 1:
            raise ValueError(
                "expected a width that heads divide and a context of at least 1, got width "
                f"{width}, heads {heads}, context {context}"
            )
        super().__init__()
        self.vocabulary, self.context = vocabulary, context
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.project = nn.Linear(feature_width, width)
            self.embed = nn.Embedding(len(vocabulary), width)
            self.start = nn.Parameter(0.02 * torch.randn(width))
            self.position = nn.Parameter(0.02 * torch.randn(context, width))
            layers = [
                nn.TransformerDecoderLayer(
                    width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            ]
            self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
            self.words = nn.Linear(width, len(vocabulary))
            nn.init.normal_(self.embed.weight, std=0.02)

    def forward(
        self,
        features: Float[Tensor, "images feature_width"]
        | Float[Tensor, "images places feature_width"],
        tokens: Int[Tensor, "images tokens"],
    ) -> Float[Tensor, "images tokens vocabulary"]:
        """Logits of every token from those before it and the picture."""
        count = tokens.shape[1]
        start = self.start.expand(len(tokens), 1, -1)
        hidden = torch.cat([start, self.embed(tokens[:, :-1])], dim=1) + self.position[:count]
        places = self.project(features if features.ndim == 3 else features[:, None])
        mask = nn.Transformer.generate_square_subsequent_mask(count, hidden.device, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, places, tgt_mask=mask, tgt_is_causal=True)
        return self.words(self.norm(hidden))

    @torch.no_grad()
    def class_scores(
        self, features: Tensor, texts: Sequence[str], pairs: int = 4096
    ) -> Float[Tensor, "images classes"]:
        """For every class's text its log-probability as the picture's whole text, in nats.

        Args:
            features: as `forward` takes them.
            texts: one per class.
            pairs: of pictures and texts that are read at a time.
        """
        tokens = self.vocabulary.tokens(texts, self.context).to(features.device)
        at_once = max(1, pairs // len(texts))
        return torch.cat([self._scores(part, tokens) for part in features.split(at_once)])

    def _scores(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities (images, classes) of all texts for some pictures."""
        shown = features.repeat_interleave(len(tokens), dim=0)
        asked = tokens.repeat(len(features), 1)
        nats = F.cross_entropy(
            self(shown, asked).float().flatten(0, 1),
            asked.flatten(),
            ignore_index=PAD,
            reduction="none",
        )
        return -nats.view(len(features), len(tokens), -1).sum(2)
