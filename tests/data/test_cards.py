"""Cards are read strictly, and say nothing that is not so."""

import pytest
import torchvision

from towers import data, published
from towers.data import cards, sources
from towers.data.cards import CARDS
from towers.data.errors import DataError
from towers.metrics import scores

SOURCE = {
    "kind": "deb", "package": "toy-set", "version": "'1.5'", "licence": "CC0", "root": "usr/toys",
    "endings": "[.svg]", "sha256": "ab" * 32,
}  # fmt: skip


def text(**changes):
    lines = [f"    {key}: {value}\n" for key, value in (SOURCE | changes).items() if value]
    return "".join(["sources:\n", "  toy:\n", *lines])


def test_a_card_is_read():
    card = cards.parse(text() + "reader: toys:toys\nclasses: [cat, dog]\n", "toys")
    source = card.sources["toy"]
    assert (card.name, card.reader, card.classes) == ("toys", "toys:toys", ("cat", "dog"))
    assert (source.name, source.version, source.endings) == ("toy", "1.5", (".svg",))
    assert (source.archive, card.templates, card.torchvision) == ("", None, None)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("reader: toys", "reader"),
        ("reader: towers.toys:toys()", "reader"),
        ("colour: red", "colour"),
        ("classes: [1, 2]", "classes"),
        ("classes: []\nclasses: [a]", "twice"),
        ("- a", "key: value"),
        ("torchvision: {dataset: X, parts: {validation: 1}}", "validation"),
        ("torchvision: X", "key: value"),
        ("sources: [a]", "sources"),
        (text(version="1.5"), "version"),
        (text(sha256="ab"), "sha256"),
        (text(kind="rpm"), "kind"),
        (text(licence=""), "licence"),
        (text(colour="red"), "colour"),
    ],
)
def test_a_bad_card_is_refused_in_one_line_that_names_it(content, fact):
    with pytest.raises(DataError, match=rf"^card toys: .*{fact}") as error:
        cards.parse(content, "toys")
    assert "\n" not in str(error.value)


def test_every_source_stands_on_one_card():
    names = [name for card in CARDS.values() for name in card.sources]
    assert sorted(names) == sorted(sources.SOURCES)
    assert {"clipart", "minilm", "unifont"} <= {*names}


def test_every_metric_is_one_of_ours():
    assert {card.metric for card in CARDS.values()} >= {"accuracy", "mean_per_class_accuracy"}
    for card in CARDS.values():
        assert card.metric is None or card.metric in scores.BY_NAME


def test_what_torchvision_reads_stands_for_a_column_of_the_paper():
    columns = published.table("clip", 11).columns
    read = {name for name, card in CARDS.items() if card.torchvision}
    assert all(hasattr(torchvision.datasets, CARDS[name].torchvision.dataset) for name in read)
    assert {name for name in read if CARDS[name].stands_for not in columns} == {
        "fashionmnist", "svhn",  # not among the 27
    }  # fmt: skip


def test_metrics_are_those_that_the_paper_reports():
    rows = published.table("clip", 9).frame
    means = set(rows.dataset[rows.metric.str.contains("mean.per.class")])
    assert means == {"FGVC Aircraft", "Oxford-IIIT Pets", "Caltech-101", "Oxford Flowers 102"}
    ours = {name for name, card in CARDS.items() if card.metric == "mean_per_class_accuracy"}
    assert ours == {"fgvcaircraft", "oxfordiiitpet", "caltech101", "flowers102"}


def test_what_a_card_is_like_is_a_card():
    likes = {each for card in CARDS.values() for each in (card.classes, card.templates)}
    assert {each for each in likes if isinstance(each, str)} == {"cifar10", "digits", "open_clip"}


def test_a_reader_is_imported_when_its_collection_is_asked_for(monkeypatch):
    monkeypatch.setitem(data.EMBEDDED, "toys", "bundled:digits")
    assert data.load("toys").digest == data.load("digits").digest
    with pytest.raises(DataError, match="got 'toys:x'"):
        data.load("toys:x")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stamps", "stamps"), ("stamps[test]", "stamps"),
        ("emoji:noto[test][5 of seed 0]", "emoji"),
        ("samples", "samples"), ("samples:mnist", "mnist"), ("scenes:test?count=5", "scenes"),
        ("torchvision:OxfordIIITPet:~/d[test]", "oxfordiiitpet"), ("torchvision:SUN397", "sun397"),
        ("torchvision:Unheard", None), ("imagefolder:mnist", None), ("nosuch", None),
    ],
)  # fmt: skip
def test_a_collection_has_the_card_of_what_it_shows(name, expected):
    card = cards.of_collection(name)
    assert (card and card.name) == expected
