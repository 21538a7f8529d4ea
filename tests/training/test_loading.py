"""Samples of every source: the right rows, pictures and captions, whatever is damaged."""

import dataclasses
import errno
import io
import json
import os
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from tests import toy_towers
from tests.data.made_up_files import fill
from tests.training import toy_runs
from tests.training.toy_shards import members, tar, three_tars
from towers import models, training
from towers.data import BadImage, DataError
from towers.training import loading, logs, loop, shards
from towers.training.order import Order
from towers.training.samples import CollectionSamples, Joined, Squares

PREPARED = models.Preprocessing(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
PICKS = np.arange(100, 140, dtype=np.uint64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))


def collection(count=10, captions=2):
    return toy_towers.collection([tuple(f"{n}/{k}" for k in range(captions)) for n in range(count)])


def samples_of(loaded, crop=False, languages=("en",)):
    return CollectionSamples(loaded, Squares(PREPARED, crop), languages)


class TestCollections:
    def test_rows_become_the_towers_squares_and_one_of_their_captions(self):
        loaded = collection()
        rows = np.array([7, 0, 7, 3])
        read = samples_of(loaded).read(rows, PICKS[:4])
        for row, image, text in zip(rows, read.images, read.texts, strict=True):
            assert np.array_equal(image, PREPARED.pixels(loaded.image(int(row))))
            assert text in (f"{row}/0", f"{row}/1")
        assert read.images.dtype == np.uint8
        assert not read.bad

    def test_captions_of_all_wanted_languages_are_drawn_about_as_often(self):
        loaded = toy_towers.collection([{"en": ("a", "b"), "fr": ("c",), "de": ("d",)}])
        picks = np.random.default_rng(0).integers(0, 2**64, 3000, dtype=np.uint64)
        read = samples_of(loaded, languages=("en", "fr")).read(np.zeros(3000, int), picks)
        counts = Counter(read.texts)
        assert counts.keys() == {"a", "b", "c"}
        assert all(abs(count - 1000) < 160 for count in counts.values())  # six deviations

    def test_the_digest_knows_data_languages_and_squares(self):
        loaded = collection()
        digests = {
            samples_of(loaded).digest,
            samples_of(collection(11)).digest,
            samples_of(loaded, crop=True).digest,
            samples_of(loaded, languages=("fr", "en")).digest,
            CollectionSamples(loaded, Squares(dataclasses.replace(PREPARED, size=9))).digest,
        }
        assert len(digests) == 5

    def test_only_items_with_a_caption_are_loaded(self, monkeypatch):
        loaded = toy_towers.collection([{"en": ("a",)}, {"fr": ("b",)}])
        monkeypatch.setattr(loading.data, "load", lambda name: loaded)
        found = loading.load(["toys"], PREPARED, ("fr",))
        assert (len(found), list(found.captions())) == (1, ["b"])
        with pytest.raises(training.TrainingError, match="expected captions in de in toys, got"):
            loading.load(["toys"], PREPARED, ("de",))


class TestCrops:
    def test_a_crop_is_a_square_of_the_scaled_picture(self):
        """Columns of different brightness tell where the square was cut."""
        wide = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (16, 1, 3)))
        squares = Squares(dataclasses.replace(PREPARED, size=16), crop=True)
        lefts = set()
        for pick in range(300):
            pixels = squares(wide, pick)
            assert pixels.shape == (16, 16, 3)
            assert np.array_equal(np.diff(pixels[:, :, 0].astype(int), axis=1), np.ones((16, 15)))
            lefts.add(int(pixels[0, 0, 0]))
        assert lefts == set(range(49))
        assert np.array_equal(squares(wide, 5), squares(wide, 5))

    @pytest.mark.parametrize("shape", [(5, 200), (200, 5), (8, 8), (1, 1), (300, 299)])
    def test_any_shape_gives_a_square(self, shape):
        image = Image.new("L", shape, 7)
        assert Squares(PREPARED, crop=True)(image, 2**63 + 1).shape == (8, 8, 3)


class TestBadSamples:
    def test_are_replaced_by_others_and_counted_by_reason(self):
        loaded = collection()
        object.__setattr__(loaded[3], "image", b"")
        object.__setattr__(loaded[4], "image", b"what is this")
        rows = np.array([3, 1, 4, 3])
        read = samples_of(loaded).read(rows, PICKS[:4])
        assert read.bad >= Counter({"empty": 2, "unknown type": 1})
        assert read.texts[1].startswith("1/")
        assert not any(text.startswith(("3/", "4/")) for text in read.texts)
        again = samples_of(loaded).read(rows, PICKS[:4])
        assert (again.texts, again.bad) == (read.texts, read.bad)
        assert read.texts[0] != samples_of(loaded).read(rows, PICKS[4:8]).texts[0]

    @pytest.mark.parametrize(
        ("error", "reason"),
        [(MemoryError(), "out of memory"), (ZeroDivisionError("x"), "ZeroDivisionError"),
         (BadImage("missing"), "missing")],
    )  # fmt: skip
    def test_no_picture_ends_a_run_whatever_reading_it_raises(self, error, reason):
        def fails():
            raise error

        loaded = collection()
        object.__setattr__(loaded[3], "image", fails)
        read = samples_of(loaded).read(np.array([3, 5]), PICKS[:2])
        assert read.bad.keys() == {reason}
        assert read.texts[1].startswith("5/")

    @pytest.mark.parametrize("error", [OSError(errno.EIO, "the disk fails"), DataError("changed")])
    def test_what_says_nothing_of_a_sample_is_raised(self, error):
        def fails():
            raise error

        loaded = collection()
        object.__setattr__(loaded[3], "image", fails)
        with pytest.raises(type(error), match=r"the disk fails|changed"):
            samples_of(loaded).read(np.array([3]), PICKS[:1])

    def test_stop_a_run_when_nothing_else_is_there(self):
        loaded = collection(3)
        for item in loaded:
            object.__setattr__(item, "image", b"")
        with pytest.raises(training.TrainingFailed, match=r"got 33 bad ones in a row \(empty\)"):
            samples_of(loaded).read(np.array([0]), PICKS[:1])


def test_joined_sources_are_read_as_one():
    first, second = samples_of(collection(4)), samples_of(collection(6))
    both = Joined((first, second))
    assert (len(both), both.blocks) == (10, (4, 6))
    rows = np.array([9, 0, 4, 3])
    read = both.read(rows, PICKS[:4])
    parts = [second.read(np.array([5, 0]), PICKS[[0, 2]]), first.read(rows[[1, 3]], PICKS[[1, 3]])]
    assert read.texts == [
        parts[0].texts[0],
        parts[1].texts[0],
        parts[0].texts[1],
        parts[1].texts[1],
    ]
    assert np.array_equal(read.images[[0, 2]], parts[0].images)
    assert np.array_equal(read.images[[1, 3]], parts[1].images)
    assert both.digest != Joined((second, first)).digest
    assert len(list(both.captions())) == 20


class TestScenes:
    def test_are_drawn_as_they_are_asked_for(self):
        found = loading.load(["scenes:train?count=50&size=32"],
                             dataclasses.replace(PREPARED, size=32))  # fmt: skip
        rows = np.array([49, 3])
        read = found.read(rows, PICKS[:2])
        assert np.array_equal(read.images, found.scenes.pixels(rows))
        for row, text in zip(rows, read.texts, strict=True):
            assert text in found.scenes.texts(int(row))["en"]
        assert set(found.captions()) >= set(read.texts)

    def test_are_brought_to_the_towers_size(self):
        read = loading.load(["scenes:train?count=50&size=32"], PREPARED).read(
            np.arange(3), PICKS[:3]
        )
        assert read.images.shape == (3, 8, 8, 3)

    def test_that_speak_no_wanted_language_are_refused(self):
        with pytest.raises(training.TrainingError, match=r"got en; name them there: .*=fr"):
            loading.load(["scenes:train"], PREPARED, ("fr",))
        found = loading.load(["scenes:train?count=9&languages=de,fr"], PREPARED, ("fr",))
        assert found.scenes.languages == ("fr",)


class TestFeatures:
    def test_stand_in_for_the_pictures_of_a_frozen_tower(self, monkeypatch):
        monkeypatch.setattr(loading.data, "load", lambda name: collection())
        tower = toy_towers.image_tower()
        found = loading.featured(["toys", "toys"], tower, ("en",), "fp32")
        plain = loading.load(["toys", "toys"], tower.transform)
        rows = np.array([13, 0, 7])
        read, pictures = (each.read(rows, PICKS[:3]) for each in (found, plain))
        with torch.no_grad():
            given = tower(tower.transform.normalised(torch.from_numpy(pictures.images)))
        assert read.texts == pictures.texts
        assert np.allclose(read.images, given, atol=1e-6)
        assert found.digest != plain.digest
        assert list(found.captions()) == list(plain.captions())

    def test_pictures_that_cannot_be_read_are_left_out(self, monkeypatch):
        loaded = collection()
        object.__setattr__(loaded[6], "image", b"")
        monkeypatch.setattr(loading.data, "load", lambda name: loaded)
        tower = toy_towers.image_tower()
        for _ in range(2):  # what was kept the first time must not hide it
            found = loading.featured(["toys"], tower, ("en",), "fp32")
            assert (len(found), found.left_out) == (9, Counter({"empty": 1}))
            assert not any(text.startswith("6/") for text in found.captions())
        read = found.read(np.array([6]), PICKS[:1])
        assert read.texts[0].startswith("7/")
        with torch.no_grad():
            given = tower(tower.transform(loaded.image(7))[None])
        assert np.allclose(read.images, given, atol=1e-6)

    def test_train_as_the_pictures_do(self, tmp_path, monkeypatch):
        """The same batches, captions and updates, but for rounding."""
        monkeypatch.setattr(loading.data, "load", lambda name: collection(44))
        frames = []
        for cached in (False, True):
            dual = toy_towers.trainable()
            dual.image = toy_towers.image_tower()
            source = (
                loading.featured(["toys"], dual.image, ("en",), "fp32")
                if cached
                else loading.load(["toys"], dual.image.transform)
            )
            folder = tmp_path / str(cached)
            toy_runs.train(folder, dual=dual, source=source, augment="none")
            frames.append([line["loss"] for line in logs.read(folder)])
        assert frames[0] == pytest.approx(frames[1], rel=1e-4)

    def test_of_trainable_towers_or_of_shards_are_refused(self, monkeypatch):
        monkeypatch.setattr(loading.data, "load", lambda name: collection())
        with pytest.raises(ValueError, match="expected a frozen tower"):
            loading.featured(["toys"], toy_towers.trainable().image, ("en",), "fp32")
        with pytest.raises(training.TrainingError, match="expected collections or scenes with"):
            loading.featured(["shards:a.tar"], toy_towers.image_tower(), ("en",), "fp32")


@pytest.fixture
def three(tmp_path):
    three_tars(tmp_path)
    return tmp_path


class TestShards:
    def test_any_row_is_read_from_its_place(self, three):
        found = loading.load([f"shards:{three}/{{0..2}}.tar"], PREPARED)
        assert (len(found), found.blocks, found.left_out) == (15, (5, 3, 7), Counter())
        rows = np.array([14, 0, 5, 7, 8])
        read = found.read(rows, PICKS[:5])
        names = [206, 0, 100, 102, 200]
        for name, image, text in zip(names, read.images, read.texts, strict=True):
            picture = Image.open(io.BytesIO(toy_towers.picture(name))).convert("RGB")
            assert np.array_equal(image, PREPARED.pixels(picture))
            assert text in (f"caption {name}", f"other {name}")
        assert len(list(found.captions())) == 30

    def test_json_captions_come_by_language(self, tmp_path):
        about = {"captions": {"en": ["a"], "fr": ["b", "c"]}}
        path = tar(tmp_path / "a.tar", [("1.png", toy_towers.picture(1)),
                                        ("1.json", json.dumps(about).encode())])  # fmt: skip
        found = loading.load([f"shards:{path}"], PREPARED, ("fr",))
        assert list(found.captions()) == ["b", "c"]

    def test_what_is_no_sample_is_left_out_and_counted(self, tmp_path):
        good = members(range(2))
        bad = [
            ("10.png", toy_towers.picture(1)), ("11.txt", b"words"),
            ("12.png", b"x"), ("12.png", b"y"), ("12.txt", b"z"), ("13.png", b""), ("13.txt", b"z"),
            ("../14.png", b"x"), ("../14.txt", b"x"), ("15.pyd", b"cos\nsystem\n."),
            ("README", b"r"),
        ]  # fmt: skip
        path = tar(tmp_path / "a.tar", [*good, *bad])
        content = path.read_bytes()
        path.write_bytes(content[:-10240] + b"\1" * 512 + content[-10240:])
        found = shards.ShardSamples((path,), Squares(PREPARED))
        assert len(found) == 2
        assert found.left_out == Counter({
            "no caption": 1, "no picture": 2, "duplicate member": 1, "empty": 1,
            "unsafe name": 2, "damaged header": 1,
        })  # fmt: skip

    @pytest.mark.parametrize("kind", ["dotted", "apart", "cut"])
    def test_shards_that_are_mostly_lost_train_nothing(self, tmp_path, capsys, kind):
        extra = members(range(48), 16)
        if kind == "dotted":
            extra = [(name.replace(".", ".v1."), content) for name, content in extra]
        if kind == "apart":
            extra.sort(key=lambda member: member[0][-3:])
        path = tar(tmp_path / "0.tar", members(range(16)) + extra)
        if kind == "cut":  # of the second shard nothing is left; the first had 64 samples
            tar(tmp_path / "1.tar", [])
            (tmp_path / "1.tar").write_bytes(path.read_bytes()[:700])
        dual = toy_towers.trainable()
        given = loading.load([f"shards:{tmp_path}/*.tar"], dual.image.transform)
        lost = {"dotted": 48, "apart": 96, "cut": 64}[kind]
        with pytest.raises(training.TrainingError, match=f"got {lost} of "):
            toy_runs.train(tmp_path / "run", dual, source=given)

    def test_captions_in_other_languages_are_told(self, tmp_path, capsys):
        fill(tmp_path, ["a.png", "b.png"], text=None)
        table = "image,caption,language\na.png,a cup,en\nb.png,une tasse,fr\n"
        (tmp_path / "captions.csv").write_text(table)
        assert len(loading.load([f"folder:{tmp_path}"], PREPARED)) == 1
        assert "left out 1 of 2 (1 no caption in en)" in capsys.readouterr().err

    def test_a_run_says_in_one_line_what_it_leaves_out(self, tmp_path, capsys):
        lone = [("90.png", toy_towers.picture(1)), ("91.txt", b"words")]
        path = tar(tmp_path / "0.tar", members(range(44)) + lone)
        dual = toy_towers.trainable()
        given = loading.load([f"shards:{path}"], dual.image.transform)
        toy_runs.train(tmp_path / "run", dual, source=given)
        assert "left out 2 of 46 (1 no caption, 1 no picture)" in capsys.readouterr().err

    def test_damage_inside_a_member_is_found_when_it_is_read(self, tmp_path):
        path = tar(tmp_path / "a.tar", [*members(range(3)), ("7.png", b"no"), ("7.txt", b"words")])
        found = shards.ShardSamples((path,), Squares(PREPARED))
        assert len(found) == 4
        read = found.read(np.array([3]), PICKS[:1])
        assert read.bad["unknown type"] >= 1
        assert read.texts != ["words"]

    def test_a_shard_that_is_gone_is_a_bad_sample_not_a_crash(self, three):
        found = loading.load([f"shards:{three}/0.tar"], PREPARED)
        assert len(found) == 5
        (three / "0.tar").unlink()
        with pytest.raises(BadImage, match="missing"):
            found._one(0, 1)

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_disk_that_fails_stops_a_run_instead_of_changing_its_data(
        self, three, monkeypatch, workers
    ):
        dual = toy_towers.trainable()
        data = loading.load([f"shards:{three}/{{0..2}}.tar"], dual.image.transform)
        calls, pread = [], os.pread

        def failing(*arguments):
            calls.append(arguments)
            if len(calls) == 50:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return pread(*arguments)

        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(training.TrainingFailed, match=r"Input/output error \(at step 4\)$"):
            toy_runs.train(three / "run", dual=dual, source=data, workers=workers, steps=6)

    def test_the_index_is_kept_and_made_anew_for_another_file(self, three, monkeypatch):
        path = three / "0.tar"
        first = shards.index(path)
        with monkeypatch.context() as patch:
            patch.setattr(shards, "_scan", pytest.fail)
            assert np.array_equal(shards.index(path).places, first.places)
        (cached,) = (three / "home/shards").glob("*.index")
        cached.write_bytes(cached.read_bytes()[:-8] + b"12345678")
        assert np.array_equal(shards.index(path).places, first.places)  # damage is noticed
        tar(path, members(range(9)))
        assert len(shards.index(path).places) == 9

    def test_digests_differ_with_the_content(self, three):
        names = [f"shards:{three}/0.tar", f"shards:{three}/{{0..1}}.tar"]
        assert len({loading.load([name], PREPARED).digest for name in names}) == 2

    def test_the_order_opens_few_shards_at_a_time(self, three):
        found = loading.load([f"shards:{three}/{{0..2}}.tar"], PREPARED)
        order = Order(found.blocks, 5, 0, group=1)
        runs = []
        for step in range(3):
            for row in order.draw(step).rows:
                shard = int(np.searchsorted((5, 8, 15), row, side="right"))
                if not runs or runs[-1] != shard:
                    runs.append(shard)
        assert sorted(runs) == [0, 1, 2]  # each is left once and for all

    @pytest.mark.parametrize(("pattern", "message"), [
        ("nowhere.tar", "expected 1 to 100000 shards"), ("{0..2.tar", "expected paired braces"),
        ("http://x/{0..99999999}.tar", "expected at most 100000 shards"),
    ])  # fmt: skip
    def test_patterns_that_name_nothing_are_refused(self, pattern, message):
        with pytest.raises(DataError, match=message):
            loading.load([f"shards:{pattern}"], PREPARED)

    def test_train_and_resume_a_run(self, three, monkeypatch):
        """Cut in the second of three epochs; other workers read the rest."""

        def run(name, workers):
            dual = toy_towers.trainable()
            data = loading.load([f"shards:{three}/{{0..2}}.tar"], dual.image.transform)
            options = {"batch": 4, "steps": 9, "workers": workers}
            return toy_runs.train(three / name, dual=dual, source=data, **options)

        done = run("whole", 0)
        assert (done.steps, done.bad.total()) == (9, 0)
        update = loop.Trainer.update

        def interrupted(self, step, batches):
            if step == 5:
                raise toy_runs.Stop
            return update(self, step, batches)

        with monkeypatch.context() as patch:
            patch.setattr(loop.Trainer, "update", interrupted)
            with pytest.raises(toy_runs.Stop):
                run("cut", 2)
        assert run("cut", 1).resumed == 3
        assert toy_runs.bits(three / "cut", 9) == toy_runs.bits(three / "whole", 9)
