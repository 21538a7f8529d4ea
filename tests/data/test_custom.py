"""A user's own folders and the front door: round trips, and each fault counted or refused."""

import pickle

import numpy as np
import pytest

from tests.data.made_up_files import color_of, encoded, fill, own_cache, refusal  # noqa: F401
from towers.data import custom
from towers.data.intake import MAX_CAPTION, clean_captions
from towers.data.prompts import class_names
from towers.data.reports import Tally
from towers.data.torchvision_sets import LAYOUTS
from towers.files import cache_home

# ---- folder


def test_folder_of_pairs(tmp_path):
    fill(tmp_path, ["a.png", "birds/b.png", "birds/small/c.jpg"])
    (tmp_path / "a.txt").write_text("\ufeffone\n\n  two\twords \n", encoding="utf-8")
    (tmp_path / "README").write_text("no candidate")
    loaded = custom.load(f"folder:{tmp_path}")
    assert [item.name for item in loaded] == ["a", "birds/b", "birds/small/c"]
    assert [item.category for item in loaded] == [None, "birds", "birds"]
    assert loaded.captions("en")[0] == ("one", "two words")
    assert loaded.image(2).getpixel((0, 0)) == color_of(2)
    assert (loaded.report.found, loaded.report.kept) == (3, 3)
    assert loaded.report.mended == {"caption empty": 1}


def test_folder_with_a_table(tmp_path):
    fill(tmp_path, ["a.png", "sub/b.png", "unlisted.png"], text=None)
    (tmp_path / "captions.csv").write_text(
        "\ufeffimage,caption,language,label\n"
        "a.png,a red square,,square\n"
        '"a.png","a square, red",en,\n'
        "a.png,un carré,FR,\n"
        "sub/b.png,ein Kreis,de,circle\n"
        "missing.png,nothing,,\n"
        ",no image,,\n"
        "sub/b.png,x,not a language,\n",
        encoding="utf-8",
    )
    loaded = custom.load(f"folder:{tmp_path}")
    assert dict(loaded[0].captions) == {
        "en": ("a red square", "a square, red"),
        "fr": ("un carré",),
    }
    assert dict(loaded[1].captions) == {"de": ("ein Kreis",)}
    assert loaded.classes == ("circle", "square")
    assert loaded.labels.tolist() == [1, 0]
    assert loaded.report.dropped == {"missing": 1, "row without image": 1, "not a language": 1}


def test_table_without_its_columns_is_refused(tmp_path):
    (tmp_path / "captions.csv").write_text("file,text\na.png,b\n")
    assert "columns image and caption" in refusal(f"folder:{tmp_path}")


def test_table_in_another_encoding_is_counted(tmp_path):
    fill(tmp_path, ["a.png", "b.png"], text=None)
    rows = "image,caption,label\na.png,un carré,\na.png,a square,carré\nb.png,a circle,\n"
    (tmp_path / "captions.csv").write_bytes(rows.encode("latin-1"))
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.captions() == [("a circle",)]
    assert loaded.report.dropped == {"caption not UTF-8": 2}


def test_keys_follow_the_content_and_not_the_name(tmp_path):
    fill(tmp_path / "one", ["a.png", "b.png"])
    fill(tmp_path / "two", ["z.png", "y.png"])
    one, two = (custom.load(f"folder:{tmp_path / name}") for name in ("one", "two"))
    assert {item.key for item in one} == {item.key for item in two}


def test_drawings_are_drawn(tmp_path):
    (tmp_path / "a.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2">'
        '<rect width="2" height="2" fill="#00f"/></svg>'
    )
    (tmp_path / "a.txt").write_text("a blue square")
    loaded = custom.load(f"folder:{tmp_path}")
    again = pickle.loads(pickle.dumps(loaded))
    assert loaded.image(0).getpixel((100, 100)) == again.image(0).getpixel((9, 9)) == (0, 0, 255)


def test_damaged_drawings_are_counted(tmp_path):
    fill(tmp_path, ["good.png"])
    bad = {
        "cut": "<svg xmlns='http://www.w3.org/2000/svg'><rect",
        "entities": '<!DOCTYPE svg [<!ENTITY a "x">]><svg><text>&b;</text></svg>',
    }
    for name, text in bad.items():
        (tmp_path / f"{name}.svg").write_text(text)
        (tmp_path / f"{name}.txt").write_text("a caption")
    loaded = custom.load(f"folder:{tmp_path}")
    assert [item.name for item in loaded] == ["good"]
    assert loaded.report.dropped.total() == 2


def test_every_fault_of_a_folder_is_counted(tmp_path):
    fill(tmp_path, [f"good{number:03d}.png" for number in range(20)])
    fill(tmp_path, ["silent.png"], text=None)
    fill(tmp_path, ["empty.png"], text=" \n\t\n")
    fill(tmp_path, ["latin.png", "cut.png", "type.jpg", "void.gif"])
    (tmp_path / "latin.txt").write_bytes("carré".encode("latin-1"))
    (tmp_path / "cut.png").write_bytes(encoded("red")[:-20])
    (tmp_path / "type.jpg").write_bytes(b"MZ not an image")
    (tmp_path / "void.gif").write_bytes(b"")
    outside = tmp_path.parent / "outside.png"
    outside.write_bytes(encoded("red"))
    (tmp_path / "link.png").symlink_to(outside)
    (tmp_path / "linked").symlink_to(tmp_path.parent)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    loaded = custom.load(f"folder:{tmp_path}")
    assert len(loaded) == loaded.report.kept == 20
    assert loaded.report.dropped == {
        "no caption": 2,
        "caption not UTF-8": 1,
        "truncated": 1,
        "unknown type": 1,
        "empty": 1,
        "outside the folder": 2,
        "linked folder": 1,
    }


def test_too_many_bad_files_refuse_the_set(tmp_path):
    names = [f"{number:03d}.png" for number in range(100)]
    fill(tmp_path, names)
    for name in names[:9]:
        (tmp_path / name).write_bytes(b"x")
    assert len(custom.load(f"folder:{tmp_path}")) == 91  # nine are always forgiven
    (tmp_path / names[9]).write_bytes(b"x")
    message = refusal(f"folder:{tmp_path}")
    assert "got 10 of 100 (10 unknown type)" in message
    assert len(custom.load(f"folder:{tmp_path}", max_bad=0.1)) == 90
    assert len(custom.load(f"folder:{tmp_path}?max_bad=0.1")) == 90
    assert "among max_bad; got 'bad'" in refusal(f"folder:{tmp_path}?bad=1")


def test_nothing_left_is_refused(tmp_path):
    assert "got none" in refusal(f"folder:{tmp_path}")
    fill(tmp_path, ["a.png"])
    (tmp_path / "a.png").write_bytes(b"x")
    assert "1 unknown type" in refusal(f"folder:{tmp_path}")
    assert "expected a folder" in refusal(f"folder:{tmp_path / 'none'}")


def test_verdicts_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    fill(tmp_path, ["a.png", "b.png"])
    first = custom.load(f"folder:{tmp_path}")
    monkeypatch.setattr("towers.data.verdicts.open_image", None)  # a second look would fail
    assert custom.load(f"folder:{tmp_path}").digest == first.digest
    monkeypatch.undo()
    (tmp_path / "a.png").write_bytes(encoded("blue", size=(7, 7)))
    changed = custom.load(f"folder:{tmp_path}")
    assert changed[0].key != first[0].key
    assert changed[1].key == first[1].key


def test_verdicts_on_other_parts_are_kept(tmp_path, monkeypatch):
    fill(tmp_path, ["train/a/1.png", "val/a/2.png"], text=None)
    whole = custom.load(f"imagefolder:{tmp_path}")
    (tmp_path / "val/a/2.png").write_bytes(encoded("blue"))
    changed = custom.load(f"imagefolder:{tmp_path}", parts=("val",))
    monkeypatch.setattr("towers.data.verdicts.open_image", None)  # a second look would fail
    again = custom.load(f"imagefolder:{tmp_path}")
    assert [item.key for item in again] == [whole[0].key, changed[0].key]


def test_damaged_verdicts_are_forgotten(tmp_path):
    fill(tmp_path, ["a.png"])
    first = custom.load(f"folder:{tmp_path}")
    (memory,) = (cache_home() / "checks").iterdir()
    for junk in ("", "[]", '{"version": 1, "files": {"x": 3}}', '{"version": 1}', "[" * 10**5):
        memory.write_text(junk)
        assert custom.load(f"folder:{tmp_path}").digest == first.digest


# ---- captions


@pytest.mark.parametrize(("given", "expected"), [
    ("  a \t b\r\n c ", "a b c"),
    ("caf" + "e\u0301", "café"),
    ("e\x00\u0301", "é"),
    ("a\u202eb\x07c\ufeff", "abc"),
    ("\ud800lone", "lone"),
    ("نمی\u200cخواهم", "نمی\u200cخواهم"),  # the non-joiner is spelling
    ("👩\u200d🚀", "👩\u200d🚀"),
])  # fmt: skip
def test_captions_are_cleaned(given, expected):
    assert clean_captions([given], Tally()) == (expected,)


def test_captions_that_are_left_out_or_cut_are_counted():
    tally = Tally()
    texts = ["", "\x07", None, 7, "word " * 1000, "x" * 5000, *["many"] * 70]
    kept = clean_captions(texts, tally)
    assert kept[0] == ("word " * 200).strip()
    assert kept[1] == "x" * MAX_CAPTION
    assert tally.mended == {
        "caption empty": 2,
        "caption not text": 2,
        "caption cut": 2,
        "too many captions": 8,
    }


# ---- imagefolder


def test_imagefolder(tmp_path):
    fill(tmp_path, ["red_kite/1.png", "red_kite/deep/2.png", "apple/1.png"], text=None)
    loaded = custom.load(f"imagefolder:{tmp_path}")
    assert loaded.classes == ("apple", "red kite")
    assert loaded.labels.tolist() == [0, 1, 1]
    assert "names its own parts" in refusal(f"imagefolder:{tmp_path}", parts=("test",))


def test_imagefolder_with_parts(tmp_path):
    fill(tmp_path, ["train/a/1.png", "train/b/2.png", "validation/a/3.png"], text=None)
    loaded = custom.load(f"imagefolder:{tmp_path}")
    assert [len(loaded.split(part)) for part in ("train", "val")] == [2, 1]
    assert loaded.split("val").classes == ("a", "b")
    assert len(custom.load(f"imagefolder:{tmp_path}", parts=("val",))) == 1


def test_imagefolder_numbers_and_wordnet_ids(tmp_path):
    fill(tmp_path / "numbers", [f"{number}/a.png" for number in (10, 9, 1)], text=None)
    assert custom.load(f"imagefolder:{tmp_path / 'numbers'}").classes == ("1", "9", "10")
    fill(tmp_path / "v2", [f"{number}/a.png" for number in range(1000)], text=None)
    v2 = custom.load(f"imagefolder:{tmp_path / 'v2'}")
    assert v2.classes == class_names("imagenet")
    assert sorted(v2.labels) == list(range(1000))
    ids = ("n01443537", "n01440764", "n04008634")  # a subset, as ImageNet-R and -A are
    fill(tmp_path / "wordnet", [f"{each}/a.png" for each in ids], text=None)
    wordnet = custom.load(f"imagefolder:{tmp_path / 'wordnet'}")
    assert wordnet.classes == ("tench", "goldfish", "projectile")
    assert [item.targets.get("class") for item in wordnet] == list(wordnet.classes)


# ---- torchvision and the front door


def test_torchvision_set(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    fill(tmp_path / "eurosat/2750", ["AnnualCrop/1.jpg", "Forest/2.jpg", "River/3.jpg"], text=None)
    assert torchvision.datasets.EuroSAT(tmp_path).classes == ["AnnualCrop", "Forest", "River"]
    loaded = custom.load(f"torchvision:EuroSAT:{tmp_path}")
    assert loaded.image(1).getpixel((0, 0)) == color_of(1)
    assert loaded.classes[:2] == ("annual crop land", "forest")
    assert pickle.loads(pickle.dumps(loaded)).image(1).size == (6, 4)


def test_torchvision_parts_and_keys(tmp_path):
    for part, length in (("train", 3), ("valid", 1), ("test", 2)):
        names = [f"{label}/{n}.png" for label in ("negative", "positive") for n in range(length)]
        fill(tmp_path / "rendered-sst2" / part, names, text=None)
    loaded = custom.load(f"torchvision:RenderedSST2:{tmp_path}")
    assert {part: len(loaded.split(part)) for part in ("train", "val", "test")} == {
        "train": 6, "val": 2, "test": 4,
    }  # fmt: skip
    test = custom.load(f"torchvision:RenderedSST2:{tmp_path}", parts=("test",))
    assert [item.key for item in test] == [item.key for item in loaded.split("test")]
    assert test.classes == ("negative", "positive")


def test_parts_of_torchvision_are_named_as_it_names_them(tmp_path):
    from torchvision import datasets

    for kind, card in LAYOUTS.items():
        layout = card.torchvision
        for value in (layout.parts or {None: None}).values():
            chosen = {layout.keyword: value} if layout.keyword else {}
            with pytest.raises((OSError, RuntimeError)) as caught:  # ValueError: no such part
                getattr(datasets, kind)(tmp_path, **chosen)
            assert not isinstance(caught.value, NotImplementedError)


def test_absent_torchvision_set_tells_how_to_get_it(tmp_path):
    message = refusal(f"torchvision:CIFAR10:{tmp_path}")
    assert f"torchvision.datasets.CIFAR10({str(tmp_path)!r}, download=True)" in message
    assert not list(tmp_path.iterdir())
    assert "CIFAR100" in refusal("torchvision:cifar")


@pytest.mark.parametrize("name", ["", "folder", "folder:", "nosuch:x", ":x", "Folder:/tmp"])
def test_unknown_layouts_list_the_known_ones(name):
    assert "folder:..., imagefolder:..., coco:..." in refusal(name)


def test_loading_twice_gives_one_digest(tmp_path):
    fill(tmp_path, [f"{number}.png" for number in range(20)])
    one, two = (custom.load(f"folder:{tmp_path}") for _ in range(2))
    assert one.digest == two.digest
    assert np.array_equal(one.labels, two.labels)
