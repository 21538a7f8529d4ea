"""COCO and Flickr30k in their own layouts and in Karpathy's."""

import json

import pytest

from tests.data.made_up_files import fill, own_cache, refusal  # noqa: F401
from towers.data import custom
from towers.data.errors import DataError

LINES = ("a red square", "un carré rouge")


def karpathy(tmp_path, entries_, name="dataset_coco.json"):
    (tmp_path / name).write_text(json.dumps({"images": entries_, "dataset": "made up"}))


def entry(filename, split, texts=LINES, **more):
    return {"filename": filename, "split": split, "sentences": [{"raw": t} for t in texts], **more}


def test_karpathys_parts_are_the_published_ones(tmp_path):
    fill(tmp_path, ["val2014/a.jpg", "val2014/b.jpg", "train2014/c.jpg"], text=None)
    karpathy(tmp_path, [
        entry("a.jpg", "test", filepath="val2014"),
        entry("b.jpg", "restval", filepath="val2014"),
        entry("c.jpg", "train", filepath="train2014"),
        entry("d.jpg", "train", filepath="train2014"),
    ])  # fmt: skip
    loaded = custom.load(f"coco:{tmp_path}")
    assert [item.name for item in loaded.split("test")] == ["val2014/a"]
    assert [item.name for item in loaded.split("train")] == ["val2014/b", "train2014/c"]
    assert loaded.captions()[0] == LINES
    assert loaded.report.dropped == {"missing": 1}
    by_file = custom.load(f"coco:{tmp_path / 'dataset_coco.json'}", parts=("test",))
    assert [item.name for item in by_file] == ["val2014/a"]


def test_coco_annotations(tmp_path):
    fill(tmp_path, ["val2017/1.jpg", "train2017/2.jpg"], text=None)
    (tmp_path / "annotations").mkdir()
    for part, number in (("val", 1), ("train", 2)):
        content = {
            "images": [{"id": number, "file_name": f"{number}.jpg"}, "junk", {"id": "x"}],
            "annotations": [
                *({"image_id": number, "caption": text} for text in LINES),
                {"image_id": 99, "caption": "of nothing"},
            ],
        }
        (tmp_path / f"annotations/captions_{part}2017.json").write_text(json.dumps(content))
    loaded = custom.load(f"coco:{tmp_path}")
    assert {item.name: item.split for item in loaded} == {"1": "val", "2": "train"}
    assert loaded.captions() == [LINES, LINES]
    assert loaded.report.dropped == {"malformed entry": 4}
    assert loaded.report.mended == {"caption of no image": 2}
    with pytest.raises(DataError, match="'val': 1"):
        loaded.split("test")


def test_flickr30k_both_ways(tmp_path):
    fill(tmp_path, ["flickr30k-images/1.jpg", "flickr30k-images/2.jpg"], text=None)
    (tmp_path / "results_20130124.token").write_text(
        "1.jpg#0\tone\n1.jpg#1\ttwo\n2.jpg#0\tthree\nno tab\n", encoding="utf-8"
    )
    by_token = custom.load(f"flickr30k:{tmp_path}")
    assert by_token.captions() == [("one", "two"), ("three",)]
    assert by_token.report.dropped == {"malformed entry": 1}
    karpathy(tmp_path, [entry("1.jpg", "train"), entry("2.jpg", "test")], "dataset_flickr30k.json")
    by_karpathy = custom.load(f"flickr30k:{tmp_path}")
    assert [item.key for item in by_karpathy] == [item.key for item in by_token]
    assert [item.name for item in by_karpathy.split("test")] == ["2"]


@pytest.mark.parametrize("junk", [
    b"", b"{", b"[]", b"\xff\xfe{}", b'{"images": 3}', b"[" * 10**6, b'{"a":' * 10**5,
    b'{"images": [' + b"9" * 10**5 + b"]}",
])  # fmt: skip
def test_damaged_annotations_are_refused(tmp_path, junk):
    (tmp_path / "dataset_coco.json").write_bytes(junk)
    assert "expected" in refusal(f"coco:{tmp_path}")


def test_annotations_cannot_leave_their_folder(tmp_path):
    fill(tmp_path, ["secret.jpg", "data/1.jpg"], text=None)
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "a/../../secret.jpg", "x\0.jpg", 7]
    karpathy(tmp_path / "data", [entry("1.jpg", "test"), *(entry(name, "test") for name in names)])
    loaded = custom.load(f"coco:{tmp_path / 'data'}")
    assert len(loaded) == 1
    assert loaded.report.dropped == {"unsafe name": 4, "malformed entry": 1}
