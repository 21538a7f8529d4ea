"""What cannot be evaluated is one line, before any tower has run."""

import pytest

from tests import toy_towers
from towers import data, models
from towers.data.items import Item
from towers.evaluation import few_shot, linear_probe, retrieval, text_pairs, zero_shot


def labelled(*labels):
    picture = toy_towers.collection([("a",)]).items[0].image
    items = [
        Item(f"{n:016x}", str(n), picture, {"en": (f"toy {n}",)}, targets={"class": label})
        for n, label in enumerate(labels)
    ]
    return data.Collection("toys", tuple(items), data.Report(len(items)))


ONE, TWO, NONE = labelled("a", "a", "a"), labelled(*"ab" * 4), labelled(None, None)
PROMPTS = {"name": ["{}"]}


@pytest.fixture
def dual(monkeypatch):
    """A pair none of whose features may be asked for."""
    monkeypatch.setattr(models, "features", lambda *_, **__: pytest.fail("something was computed"))
    return toy_towers.trainable()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda d: zero_shot.evaluate(d, ONE, PROMPTS), r"two classes .* 1 classes \['a'\]"),
        (lambda d: zero_shot.evaluate(d, NONE, PROMPTS), "0 with a label"),
        (lambda d: zero_shot.evaluate(d, TWO, {}), "expected prompts"),
        (lambda d: zero_shot.evaluate(d, TWO, {"a": "a photo of {}"}), "each template with one"),
        (lambda d: zero_shot.evaluate(d, TWO, PROMPTS, ks=[0]), "each 1 or more; got"),
        (lambda d: zero_shot.evaluate("file:x", TWO, PROMPTS), "what models.load gives"),
        (lambda d: zero_shot.evaluate(d, "stamps", PROMPTS), "what data.load gives, got 'stamps'"),
        (lambda d: few_shot.evaluate(d, ONE, ONE), "at least two classes"),
        (lambda d: few_shot.evaluate(d, TWO, TWO, shots=[0]), r"at least 1, got shots \[0\]"),
        (lambda d: few_shot.evaluate(d, TWO, TWO, shots=[]), "at least 1"),
        (lambda d: few_shot.evaluate(d, TWO, TWO, draws=0), "0 draws"),
        (lambda d: few_shot.evaluate(d, 5, TWO), "what data.load gives, got 5"),
        (lambda d: linear_probe.evaluate(d.image, ONE, ONE), "at least two classes"),
        (lambda d: linear_probe.evaluate(d.image, TWO, None), "got None"),
        (lambda d: retrieval.evaluate(d, TWO, ks=[]), "at least one k"),
        (lambda d: retrieval.evaluate(["a"], TWO), "what models.load gives"),
        (lambda d: retrieval.hits(d, TWO, k=0), "each 1 or more"),
        (lambda d: text_pairs.evaluate(d, [("a", "b")] * 3, ks=[-1], name="x"), "each 1 or more"),
        (lambda d: data.load("C:\\birds"), "one of Windows"),
        (lambda d: data.load("folder:C:\\birds"), "one of Windows; WSL has it at /mnt/c/birds"),
        (lambda d: data.load("shards:D:/birds/{0..9}.tar"), "one of Windows"),
        (lambda d: data.load("torchvision:CIFAR10:C:\\sets"), "one of Windows"),
        (lambda d: models.load("C:\\pair.safetensors"), "one of Windows"),
        (lambda d: models.load("file:C:\\pair.safetensors"), "one of Windows"),
        (lambda d: models.load("timm:test_vit/C:\\vit.pt"), "one of Windows"),
        (lambda d: models.load(3), "name of one model, got 3"),
        (lambda d: models.dual(d.image, None, 8), "name of one model, got None"),
        (lambda d: data.load(["stamps"]), r"name of one collection, got \['stamps'\]"),
    ],
)  # fmt: skip
def test_one_line_before_any_work(dual, asked, said):
    with pytest.raises(ValueError, match=said) as raised:
        asked(dual)
    assert "\n" not in str(raised.value)
