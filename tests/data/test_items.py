"""The collection: parts that depend on content alone, and a digest that misses nothing."""

import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binom

from towers.data.errors import DataError
from towers.data.items import PARTS, Collection, Item, content_key, position
from towers.data.reports import Report, too_many

FRACTIONS = st.sampled_from([(0.2, 0.0), (0.1, 0.1), (0.5, 0.25), (0.0, 0.0), (1.0, 0.0)])


def make_item(number: int, **more) -> Item:
    key = content_key(str(number).encode())
    return Item(key, f"item {number}", b"", {"en": (f"caption {number}",)}, **more)


def make_collection(items, **more) -> Collection:
    items = tuple(items)
    return Collection("made up", items, Report(len(items)), **more)


def png(color, size=(8, 4), mode="RGB") -> bytes:
    buffer = BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


@given(numbers=st.sets(st.integers(0, 10**6), max_size=60), fractions=FRACTIONS)
def test_parts_cover_everything_once(numbers, fractions):
    whole = make_collection(make_item(number) for number in numbers)
    parts = [whole.split(part, *fractions) for part in PARTS]
    assert Counter(item.key for part in parts for item in part) == Counter(
        item.key for item in whole
    )


@given(
    numbers=st.lists(st.integers(0, 10**6), unique=True, max_size=40),
    others=st.sets(st.integers(10**6 + 1, 10**7), max_size=40),
    seed=st.integers(0, 100),
    fractions=FRACTIONS,
)
def test_split_ignores_order_and_other_items(numbers, others, seed, fractions):
    alone = make_collection(make_item(number) for number in numbers)
    crowd = [make_item(number) for number in (*others, *numbers)]
    np.random.default_rng(seed).shuffle(crowd)
    for part in PARTS:
        mine = {item.key for item in alone.split(part, *fractions)}
        among = {item.key for item in make_collection(crowd).split(part, *fractions)}
        assert mine == among & {item.key for item in alone}


def test_split_shares_lie_within_binomial_bounds():
    whole = make_collection(make_item(number) for number in range(4000))
    for share, part in ((0.2, "test"), (0.1, "val"), (0.7, "train")):
        low, high = binom.interval(1 - 1e-6, len(whole), share)  # one false alarm in a million
        assert low <= len(whole.split(part, test=0.2, val=0.1)) <= high


def test_larger_test_share_keeps_the_smaller_one():
    whole = make_collection(make_item(number) for number in range(500))
    small = {item.key for item in whole.split("test", test=0.1)}
    assert small < {item.key for item in whole.split("test", test=0.3)}


def test_a_validation_part_takes_nothing_from_the_test_part():
    whole = make_collection(make_item(number) for number in range(500))
    without, beside = whole.split("test", test=0.2), whole.split("test", test=0.2, val=0.3)
    assert without.items == beside.items


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60))
def test_groups_stay_on_one_side(groups):
    whole = make_collection(
        make_item(number, group=f"group {group}") for number, group in enumerate(groups)
    )
    homes = [{item.group for item in whole.split(part, 0.4, 0.2)} for part in PARTS]
    assert sum(len(home) for home in homes) == len(set(groups))


def test_authors_parts_win_over_the_hash():
    items = [make_item(number, split=PARTS[number % 3]) for number in range(30)]
    whole = make_collection(items)
    for index, part in enumerate(PARTS):
        assert whole.split(part, test=0.9).items == tuple(items[index::3])


def test_a_part_that_the_authors_left_out_is_refused():
    whole = make_collection(make_item(number, split="train") for number in range(3))
    with pytest.raises(DataError, match="'train': 3"):
        whole.split("test")


@pytest.mark.slow
def test_split_is_the_same_in_every_process():
    code = "from towers.data.items import position; print(repr(position('blackbird')))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert seen == {f"{position('blackbird')!r}\n"}


@pytest.mark.parametrize("call", [
    lambda whole: whole.split("dev"),
    lambda whole: whole.split("test", test=0.7, val=0.4),
    lambda whole: whole.split("test", test=-0.1),
    lambda whole: whole.split("test", test=float("nan")),
    lambda whole: whole.take(-1, seed=0),
])  # fmt: skip
def test_wrong_requests_are_one_line(call):
    with pytest.raises(DataError) as caught:
        call(make_collection([make_item(1)]))
    assert "\n" not in str(caught.value)


@given(numbers=st.permutations(range(12)), n=st.integers(0, 15), seed=st.integers(0, 3))
def test_take_ignores_order(numbers, n, seed):
    shuffled = make_collection(make_item(number) for number in numbers).take(n, seed)
    ordered = make_collection(make_item(number) for number in range(12)).take(n, seed)
    assert shuffled.items == ordered.items
    assert len(shuffled) == min(n, 12)


def test_take_nests_and_follows_its_seed():
    whole = make_collection(make_item(number) for number in range(100))
    assert whole.take(10, 0).items == whole.take(20, 0).items[:10]
    assert whole.take(10, 0).items != whole.take(10, 1).items


CHANGES = {
    "key": {"key": "0" * 16},
    "caption": {"captions": {"en": ("another",)}},
    "one more caption": {"captions": {"en": ("caption 0", "b")}},
    "language": {"captions": {"fr": ("caption 0",)}},
    "class": {"targets": {"class": "bird"}},
    "number": {"targets": {"number": 1.5}},
    "classes": {"targets": {"classes": ("bird",)}},
    "category": {"category": "bird"},
    "style": {"style": "photo"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_digest_sees_every_change_of_an_item(change):
    items = [make_item(number) for number in range(3)]
    changed = [replace(items[0], **CHANGES[change]), *items[1:]]
    assert make_collection(items).digest != make_collection(changed).digest


def test_digest_sees_order_version_and_classes_but_not_names():
    items = [make_item(number, targets={"class": "abc"[number]}) for number in range(3)]
    whole = make_collection(items)
    others = [
        make_collection(reversed(items)),
        make_collection(items, version="2"),
        make_collection(items, class_names=("c", "b", "a")),
    ]
    assert len({whole.digest, *(other.digest for other in others)}) == 4
    assert replace(whole, name="other").digest == whole.digest


def test_digest_tells_one_caption_from_two():
    one = replace(make_item(0), captions={"en": ("a b",)})
    two = replace(make_item(0), captions={"en": ("a", "b")})
    assert make_collection([one]).digest != make_collection([two]).digest


def test_classes_and_labels():
    whole = make_collection(
        make_item(number, targets={"class": label})
        for number, label in enumerate(["pear", "apple", None])
    )
    assert whole.classes == ("apple", "pear")
    assert whole.labels.tolist() == [1, 0, -1]


def test_parts_keep_the_numbers_of_classes():
    whole = make_collection(
        make_item(number, targets={"class": "abc"[number % 3]}) for number in range(9)
    )
    only_b = whole.where(predicate=lambda item: item.targets["class"] == "b")
    assert only_b.classes == ("a", "b", "c")
    assert only_b.labels.tolist() == [1, 1, 1]


def test_concat_unites_classes_and_adds_reports():
    left = replace(
        make_collection([make_item(0, targets={"class": "b"})]), report=Report(1, {"empty": 2})
    )
    right = replace(
        make_collection([make_item(1, targets={"class": "a"})]), report=Report(1, {"empty": 1})
    )
    both = left.concat(right)
    assert both.classes == ("a", "b")
    assert both.labels.tolist() == [1, 0]
    assert both.report == Report(2, {"empty": 3})


def test_captions_put_english_first_and_count_languages():
    item = Item("k", "n", b"", {"fr": ("merle",), "de": (), "en": ["blackbird", "bird"]})
    assert list(item.captions.items()) == [("en", ("blackbird", "bird")), ("fr", ("merle",))]
    whole = make_collection([item, make_item(1)])
    assert whole.languages() == {"en": 2, "fr": 1}
    assert whole.captions("fr") == [("merle",), ()]
    with pytest.raises(DataError, match="bare string"):
        Item("k", "n", b"", {"en": "blackbird"})


def test_items_and_collections_do_not_change():
    item = make_item(0)
    with pytest.raises(FrozenInstanceError):
        item.style = "x"
    with pytest.raises(TypeError):
        item.captions["en"] = ("x",)
    with pytest.raises(FrozenInstanceError):
        make_collection([item]).name = "x"


def test_collection_survives_pickling():
    whole = make_collection(
        [make_item(0), replace(make_item(1), image=partial(Image.new, "L", (9, 3), 7))]
    )
    again = pickle.loads(pickle.dumps(whole))
    assert again.digest == whole.digest
    assert again.items == whole.items
    assert np.array_equal(np.asarray(again.image(1)), np.asarray(whole.image(1)))


def test_every_field_survives_pickling():
    item = Item("k", "n", b"x", {"en": ("a",)}, {"class": "l"}, "c", "s", "g", "val")
    again = pickle.loads(pickle.dumps(item))
    for field in fields(Item):
        assert getattr(again, field.name) == getattr(item, field.name) != field.default


def test_image_comes_from_bytes_files_and_functions(tmp_path):
    file = tmp_path / "red.png"
    file.write_bytes(png("red"))
    sources = [png("red"), file, partial(Image.new, "RGBA", (8, 4), (255, 0, 0, 255))]
    whole = make_collection(replace(make_item(0), image=source) for source in sources)
    for index in range(3):
        picture = whole.image(index)
        assert (picture.mode, picture.size) == ("RGB", (8, 4))
        assert picture.getcolors() == [(32, (255, 0, 0))]


def test_image_is_whole_and_opaque_on_white():
    clear = png((10, 20, 30, 0), (600, 200), "RGBA")
    whole = make_collection(
        replace(make_item(0), image=source)
        for source in (clear, partial(Image.new, "LA", (600, 200), (9, 0)), png("red", (8, 4)))
    )
    assert [whole.image(index).size for index in range(3)] == [(600, 200), (600, 200), (8, 4)]
    assert whole.image(0).getcolors() == whole.image(1).getcolors() == [(600 * 200, (255,) * 3)]


def test_slices_are_collections():
    whole = make_collection(
        make_item(number, targets={"class": "ab"[number % 2]}) for number in range(5)
    )
    assert isinstance(whole[1:3], Collection)
    assert whole[1:3].items == whole.items[1:3]
    assert whole[-1] == whole.items[4]
    assert whole[:1].classes == ("a", "b")


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=4), st.integers(0, 9))
@settings(max_examples=30, deadline=None)  # the first call imports pandas
def test_report_always_adds_up(dropped, kept):
    report = Report(kept, dropped)
    assert report.found == kept + sum(dropped.values())
    doubled = report + report
    assert (doubled.found, doubled.kept) == (2 * report.found, 2 * kept)
    assert doubled.dropped.total() == 2 * sum(dropped.values())
    assert report.frame()["count"].tolist()[:2] == [report.found, kept]


def test_nine_bad_ones_are_forgiven():
    assert not too_many(9, 10, 0.0)
    assert too_many(10, 10, 0.9)
    assert not too_many(10, 100, 0.1)
    assert too_many(11, 100, 0.1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"class": "owl"}, {"class": "owl"}),
        ({"class": None}, {}),
        ({"classes": ["owl", "cat"]}, {"classes": ("owl", "cat")}),
        ({"number": 3}, {"number": 3.0}),
        ({"place": [-33.9, 151.2]}, {"place": (-33.9, 151.2)}),
        ({"class": "owl", "number": 0.5}, {"class": "owl", "number": 0.5}),
    ],
)
def test_targets_are_kept_by_task(given, kept):
    item = make_item(0, targets=given)
    assert item.targets == kept
    with pytest.raises(TypeError):
        item.targets["class"] = "x"


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"label": "owl"}, "class, classes, number, place .*'label'"),
        ({"class": 3}, "a class as target of 'item 0', got 3"),
        ({"classes": "owl"}, "a classes as target of 'item 0', got 'owl'"),
        ({"number": "3"}, "a number as target of 'item 0', got '3'"),
        ({"number": True}, "a number as target of 'item 0', got True"),
        ({"number": float("nan")}, "a number as target of 'item 0', got nan"),
        ({"place": (91.0, 0.0)}, "a place as target of 'item 0'"),
        ({"place": (0.0, 0.0, 0.0)}, "a place as target of 'item 0'"),
    ],
)
def test_other_targets_are_refused_in_one_line(given, fact):
    with pytest.raises(DataError, match=fact) as error:
        make_item(0, targets=given)
    assert "\n" not in str(error.value)


def test_targets_of_a_collection_are_there_for_every_item_or_refused():
    whole = make_collection([make_item(0, targets={"class": "a", "number": 1.0}),
                             make_item(1, targets={"class": "b"})])  # fmt: skip
    assert whole.targets("class") == ["a", "b"]
    with pytest.raises(DataError, match=r"a number of every item of made up.* 1 in 2.*'item 1'"):
        whole.targets("number")
    assert whole[:1].targets("number") == [1.0]
