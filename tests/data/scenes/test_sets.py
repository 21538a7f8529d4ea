"""Sets of scenes: asked for by name, the same for ever, labelled, read and travelling."""

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.data.scenes import checker
from towers import data
from towers.data import chance, prompts
from towers.data.errors import DataError
from towers.data.scenes import FAMILIES, SPLITS, STYLES, Scenes, from_name
from towers.data.scenes.languages import LANGUAGES
from towers.data.scenes.probes import CLASSES

ALL = tuple(LANGUAGES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scenes", Scenes(10_000)),
        ("scenes:", Scenes(10_000)),
        ("scenes:test", Scenes(10_000, "test")),
        ("train?count=5", Scenes(5)),
        (
            "scenes:val?count=2000&size=96&style=outline&languages=en,de&seed=7&label=count",
            Scenes(2000, "val", "outline", 96, ("en", "de"), 7, label="count"),
        ),
        (
            "scenes:train?objects=1&families=negation,relation&style=mixed",
            Scenes(10_000, style="mixed", objects=1, families=("negation", "relation")),
        ),
    ],
)
def test_names_say_all_of_a_set(name, expected):
    assert from_name(name) == expected
    assert from_name(expected.name) == expected


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("scenes:nosuch", "expected split of scenes among train, val"),
        ("scenes:train?x=1", "expected an option among count, size, seed, objects, .*; got 'x'"),
        ("scenes:train?count", "got 'count'"),
        ("scenes:train?count=", "got ''"),
        ("scenes:train?count=1&count=2", "each option once"),
        ("scenes:train?&count=1", "got ''"),
        ("scenes:train?count=1.5", "expected count as a whole number"),
        ("scenes:train?count=-1", "expected count as a whole number"),
        ("scenes:train?count=0", "expected count of scenes from 1 to"),
        ("scenes:train?count=99999999999999999999", "expected count as a whole number"),
        ("scenes:train?size=31", "expected size of scenes from 32 to 512"),
        ("scenes:train?style=oil", "expected style of scenes among flat"),
        ("scenes:train?languages=en,tlh", "expected languages of scenes among en"),
        ("scenes:train?languages=en,en", "expected languages of scenes among en"),
        ("scenes:train?languages=en,", "expected languages as words with commas"),
        ("scenes:train?families=none", "expected families of scenes among description"),
        ("scenes:train?objects=5", "expected objects of scenes among None, 1, 2, 3, 4"),
        ("scenes:train?label=mood", "expected label of scenes among count, shape"),
        ("scenes:counts?objects=1", "expected several objects in split 'counts'"),
        ("scenes:train?" + "y" * 500, "got 'yyy"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name, complaint):
    with pytest.raises(DataError, match=complaint.replace("?", r"\?")) as error:
        data.load(name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "options",
    [{"count": 2.0}, {"count": True}, {"seed": -1}, {"languages": ()}, {"split": "Train"}],
)
def test_wrong_values_are_refused(options):
    with pytest.raises(DataError):
        Scenes(**{"count": 5, **options})


@pytest.mark.parametrize("rows", [[-1], [10], [0, 3, 11]])
def test_rows_that_are_not_there_are_refused(rows):
    with pytest.raises(DataError, match="from 0 to 9"):
        Scenes(10).pixels(np.array(rows))


def test_reading_gives_pictures_and_the_captions_that_picks_choose():
    scenes = Scenes(60, languages=("en", "ru", "ja"))
    rows = np.arange(60)
    every = [[text for texts in scenes.texts(row).values() for text in texts] for row in rows]
    for pick in (0, 1, 7, 14, 2**64 - 1):
        pictures, texts = scenes.read(rows, np.full(60, pick, dtype=np.uint64))
        assert np.array_equal(pictures, scenes.pixels(rows))
        assert texts == [captions[pick % len(captions)] for captions in every]


def test_families_are_kept_to_and_say_the_same_as_among_others():
    everything = Scenes(80).collection().captions()
    for family in FAMILIES:
        alone = Scenes(80, families=(family,)).collection().captions()
        for texts, (text,) in zip(everything, alone, strict=True):
            assert text in texts
            assert checker.family(text) in (family, "description")


@pytest.mark.parametrize("task", CLASSES)
def test_labels_are_those_of_the_scenes(task):
    scenes = Scenes(5000 if task == "count" else 300, split="test", seed=5)
    numbers, names = scenes.labels(task), CLASSES[task]
    assert len(numbers) == len(scenes)
    for row in range(0, 300, 7):
        largest = max(scenes.scene(row).objects, key=lambda thing: thing.radius)
        expected = {
            "count": ("one", "two", "three", "four")[len(scenes.scene(row).objects) - 1],
            "shape": largest.shape, "colour": largest.colour, "size": largest.size,
            "place": largest.place, "combination": f"{largest.colour} {largest.shape}",
        }  # fmt: skip
        assert names[numbers[row]] == expected[task]


@pytest.mark.parametrize("task", CLASSES)
def test_prompts_say_their_class_and_no_other(task):
    said = Scenes(1).prompts(task)
    assert len(said) == len(CLASSES[task])
    assert len({text for texts in said for text in texts}) == sum(map(len, said))
    if task in ("shape", "combination"):  # true of a picture of one such thing
        scenes = Scenes(40, objects=1, families=("description",))
        for row, number in enumerate(scenes.labels(task)):
            thing = scenes.scene(row).objects[0]
            kinds = [checker.group(text.split(" of ")[-1]) for text in said[number][:2]]
            assert {kind[3] for kind in kinds} == {thing.shape}


def test_templates_for_the_default_classes():
    sets = prompts.prompt_sets("scenes:test?count=10[test]")
    assert sets["task prompt"] == ("a picture of one {}",)


def test_unknown_tasks_are_refused():
    for ask in (Scenes(3).labels, Scenes(3).prompts):
        with pytest.raises(DataError, match="expected a task among count, shape"):
            ask("mood")


def test_a_collection_is_the_same_set():
    scenes = Scenes(40, "test", "mixed", languages=("en", "fr"), label="colour")
    found = data.load(scenes.name)
    assert len(found) == found.report.kept == 40
    assert found.name == scenes.name
    assert found.classes == CLASSES["colour"]
    assert found.labels.tolist() == scenes.labels("colour").tolist()
    assert found.languages() == {"en": 40, "fr": 40}
    assert [dict(item.captions) for item in found] == [scenes.texts(row) for row in range(40)]
    pictures = np.stack([np.asarray(found.image(row)) for row in range(40)])
    assert np.array_equal(pictures, scenes.pixels(np.arange(40)))
    assert {item.style for item in found} == {*STYLES}
    assert len(found.split("test")) == 40
    assert len(data.load(f"{scenes.name}[test]")) == 40


def test_items_are_told_apart_by_picture_and_grouped_by_scene():
    flat, outline, other = (
        Scenes(30, **options).collection()
        for options in ({}, {"style": "outline"}, {"seed": 1})
    )  # fmt: skip
    assert [item.group for item in flat] == [item.group for item in outline]
    assert not {item.key for item in flat} & {item.key for item in outline}
    assert not {item.group for item in flat} & {item.group for item in other}
    assert [item.key for item in Scenes(50).collection()][:30] == [item.key for item in flat]


def test_splits_and_seeds_are_other_scenes():
    sets = [Scenes(200, split=split, seed=seed) for split in SPLITS for seed in (0, 1)]
    seen = [str(scene) for one in sets for scene in one.facts(np.arange(200)).scenes()]
    assert len(set(seen)) > 0.98 * len(seen)  # one thing of a kind may stand in one place twice
    assert len({one.digest for one in sets}) == len(sets)


def test_another_setting_is_another_digest():
    others = [
        Scenes(11), Scenes(10, "val"), Scenes(10, style="striped"), Scenes(10, size=32),
        Scenes(10, languages=("de",)), Scenes(10, seed=1), Scenes(10, objects=2),
        Scenes(10, families=("count",)), Scenes(10, label="count"), Scenes(10),
    ]  # fmt: skip
    assert len({scenes.digest for scenes in others}) == len(others)
    assert Scenes(10).digest == Scenes(10).digest


@pytest.mark.slow
def test_sets_and_items_travel_between_processes():
    scenes = Scenes(20, style="mixed", languages=ALL)
    scenes.digest  # cached values travel, too  # noqa: B018
    code = (
        "import pickle, sys, hashlib, numpy as np; s, item = pickle.load(sys.stdin.buffer);"
        "print(hashlib.sha256(s.pixels(np.arange(20)).tobytes() + str(s.texts(3)).encode()"
        " + str(s.questions(3)).encode() + item.image().tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((scenes, scenes.collection()[4])), capture_output=True, check=True,
    )  # fmt: skip
    here = (
        scenes.pixels(np.arange(20)).tobytes() + str(scenes.texts(3)).encode()
        + str(scenes.questions(3)).encode() + scenes.pixels([4]).tobytes()
    )  # fmt: skip
    assert there.stdout.decode().strip() == hashlib.sha256(here).hexdigest()


def test_what_is_said_stays_as_it_is_until_the_version_changes():
    """If this fails on purpose, raise `sets.VERSION`: cached features must not be used again."""
    content = "".join(
        f"{scenes.scene(row)}{scenes.texts(row)}{scenes.questions(row)}"
        for scenes in (Scenes(50, split=split, languages=ALL) for split in SPLITS)
        for row in range(0, 50, 10)
    )
    assert hashlib.sha256(content.encode()).hexdigest()[:16] == "6e8587c2bf56b0eb"


def test_what_is_drawn_stays_as_it_is_until_the_version_changes():
    """Mean pixels to 0.01: an edge that a processor rounds otherwise moves them by 0.00001."""
    means = [Scenes(20, style=style).pixels(np.arange(20)).mean() for style in STYLES]
    np.testing.assert_allclose(
        means, [230.578, 236.555, 233.516, 232.309, 225.890, 184.180], atol=0.01
    )


class TestChance:
    def test_bits_are_fair_and_rows_and_draws_independent(self):
        numbers = chance.bits(chance.secret("test"), np.arange(20_000), 4)
        ones = np.unpackbits(numbers.view(np.uint8)).mean()
        assert abs(ones - 0.5) < 4 * 0.5 / np.sqrt(numbers.size * 64)
        uniform = chance.fractions(numbers)
        correlations = np.corrcoef(np.concatenate([uniform[1:], uniform[:-1]], axis=1).T)
        assert np.abs(correlations - np.eye(8)).max() < 4.5 / np.sqrt(20_000)

    def test_every_part_of_an_address_counts(self):
        rows = np.arange(100)
        one = chance.bits(chance.secret("a", 1), rows, 3)
        others = [
            chance.bits(chance.secret("a", 2), rows, 3),
            chance.bits(chance.secret("a", 1), rows + 100, 3),
            chance.bits(chance.secret("a", 1), rows, 3, attempt=1),
        ]
        assert len(np.unique([one, *others])) == 4 * 300
        assert np.array_equal(one, chance.bits(chance.secret("a", 1), rows, 9)[:, :3])

    def test_whole_numbers_below_a_limit_are_equally_frequent(self):
        numbers = chance.below(chance.bits(5, np.arange(12_000), 1)[:, 0], 12)
        counts = np.bincount(numbers, minlength=12)
        assert len(counts) == 12
        assert np.abs(counts - 1000).max() < 4.5 * np.sqrt(1000)
