"""Heads that predict words: what they count, what they see, and what they learn."""

import math

import pytest
import torch
import torch.nn.functional as F

from towers import losses
from towers.models.objectives import END, PAD, UNKNOWN, BagOfWords, Captioner, Vocabulary

torch.set_num_threads(1)

CLASSES = ("a red circle", "a blue circle", "a red square", "a blue square")


@pytest.fixture
def vocabulary():
    return Vocabulary.of(CLASSES)


def features(count=5, width=6, places=None, seed=0):
    shape = (count, width) if places is None else (count, places, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def loss_of(head, images, texts):
    if isinstance(head, BagOfWords):
        return losses.bag_of_words_loss(head(images), head.vocabulary.bags(texts))
    tokens = head.vocabulary.tokens(texts, head.context)
    return losses.caption_loss(head(images, tokens), tokens, PAD)


class TestVocabulary:
    def test_frequent_words_come_first_and_ties_by_the_alphabet(self, vocabulary):
        assert vocabulary.words == ("a", "blue", "circle", "red", "square")
        assert Vocabulary.of(CLASSES, most=2).words == ("a", "blue")
        assert len(vocabulary) == 8

    def test_tokens_end_and_are_padded_and_cut(self, vocabulary):
        tokens = vocabulary.tokens(["A red, circle", "", "blue"], context=4)
        assert tokens.tolist() == [[3, 6, UNKNOWN, END], [END, PAD, PAD, PAD], [4, END, PAD, PAD]]

    def test_bags_hold_presence_of_known_words(self, vocabulary):
        bags = vocabulary.bags(["red red CIRCLE!", "nothing known", ""])
        assert bags.tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0] * 5]

    def test_other_scripts_have_words_too(self):
        assert Vocabulary.of(["красный круг", "赤い 円"]).words == ("красный", "круг", "円", "赤い")

    @pytest.mark.parametrize("words", [(), ("a", "a")])
    def test_no_words_or_twice_the_same_are_refused(self, words):
        with pytest.raises(ValueError, match="expected different words"):
            Vocabulary(words)


class TestBagOfWords:
    def test_scores_are_the_logarithm_of_the_words_joint_probability(self, vocabulary):
        head, images = BagOfWords(6, vocabulary), features()
        chances = head(images).softmax(1)
        place = {word: number for number, word in enumerate(vocabulary.words)}
        expected = torch.stack([
            math.prod(chances[:, place[word]] for word in text.split()) for text in CLASSES
        ], dim=1).log()  # fmt: skip
        torch.testing.assert_close(head.class_scores(images, CLASSES), expected)

    def test_the_loss_is_of_the_bags(self, vocabulary):
        head, images = BagOfWords(6, vocabulary), features(1)
        nats = -head.class_scores(images, CLASSES[:1]) / 3  # three words
        loss = loss_of(head, images, CLASSES[:1])
        assert loss.item() == pytest.approx(nats.item(), rel=1e-6)


class TestCaptioner:
    @pytest.fixture
    def captioner(self, vocabulary):
        return Captioner(6, vocabulary, width=16, depth=2, heads=2, context=8).eval()

    @pytest.mark.parametrize("place", range(4))
    def test_a_token_is_predicted_from_those_before_it_only(self, captioner, place):
        tokens = torch.tensor([[3, 6, 5, 1], [3, 4, 7, 1]])
        changed = tokens.clone()
        changed[:, place] = UNKNOWN
        before, after = (captioner(features(2), x) for x in (tokens, changed))
        assert torch.equal(before[:, : place + 1], after[:, : place + 1])
        if place < 3:
            assert not torch.allclose(before[:, place + 1], after[:, place + 1])

    def test_the_first_token_depends_on_the_picture(self, captioner):
        logits = captioner(features(2), torch.tensor([[3], [3]]))
        assert not torch.allclose(logits[0], logits[1])

    def test_every_place_of_a_picture_counts_and_their_order_does_not(self, captioner):
        tokens, images = torch.tensor([[3, 6, 5, 1]]), features(1, places=3)
        one = captioner(images, tokens)
        torch.testing.assert_close(captioner(images[:, [2, 0, 1]], tokens), one)
        assert not torch.allclose(captioner(images[:, :2], tokens), one)
        torch.testing.assert_close(
            captioner(images[:, :1], tokens), captioner(images[:, 0], tokens)
        )

    @pytest.mark.parametrize("pairs", [1, 9, 4096])
    def test_scores_are_log_probabilities_of_whole_texts(self, captioner, pairs):
        images = features(5)
        texts = [*CLASSES, "red"]  # shorter, so that padding must not count
        found = captioner.class_scores(images, texts, pairs)
        for column, text in enumerate(texts):
            tokens = captioner.vocabulary.tokens([text], 8)
            for row, image in enumerate(images):
                chances = captioner(image[None], tokens)[0].log_softmax(1)
                expected = sum(chances[t, token] for t, token in enumerate(tokens[0]))
                torch.testing.assert_close(found[row, column], expected)

    def test_probabilities_of_all_texts_add_up_to_one(self):
        """One word at most: the end at once, or a word and the cut."""
        captioner = Captioner(6, Vocabulary(("x",)), width=8, depth=1, heads=2, context=2).eval()
        tokens = [torch.tensor([[first, second]]) for first in range(4) for second in range(4)]
        total = sum(
            captioner._scores(features(1), pair).exp() for pair in tokens if PAD not in pair
        )
        first = captioner(features(1), torch.tensor([[1]]))[0, 0].softmax(0)
        second = [
            captioner(features(1), torch.tensor([[t, 1]]))[0, 1].softmax(0) for t in (1, 2, 3)
        ]
        kept = sum(first[t] * (1 - second[t - 1][PAD]) for t in (1, 2, 3))
        torch.testing.assert_close(total.squeeze(), kept)

    def test_the_loss_is_the_mean_over_tokens(self, captioner):
        images = features(2)
        texts = ["a red circle", "red"]
        nats = -captioner.class_scores(images, texts).diagonal().sum() / (4 + 2)
        assert loss_of(captioner, images, texts).item() == pytest.approx(nats.item(), rel=1e-6)

    @pytest.mark.parametrize("wrong", [{"width": 10, "heads": 4}, {"context": 0}])
    def test_what_makes_no_decoder_is_refused(self, vocabulary, wrong):
        with pytest.raises(ValueError, match="expected a width that heads divide"):
            Captioner(6, vocabulary, **wrong)


@pytest.mark.parametrize(
    "make",
    [
        BagOfWords,
        lambda width, words: Captioner(width, words, width=16, depth=1, heads=2, context=6),
    ],
)
def test_heads_repeat_by_seed_and_leave_the_random_state_alone(vocabulary, make):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = make(6, vocabulary), make(6, vocabulary)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "make",
    [
        BagOfWords,
        lambda width, words: Captioner(width, words, width=16, depth=1, heads=2, context=6),
    ],
)
def test_heads_learn_to_name_four_classes(vocabulary, make):
    """Noisy one-hot pictures; from chance, 1/4, to nearly all."""
    classes = torch.arange(64) % 4
    images = F.one_hot(classes, 6) + 0.1 * features(64)
    head = make(6, vocabulary)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.03)
    for _ in range(40):
        loss = loss_of(head, images, [CLASSES[c] for c in classes])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    guesses = head.class_scores(images, CLASSES).argmax(1)
    assert (guesses == classes).float().mean() > 0.95
