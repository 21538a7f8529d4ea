"""What is there is compared with what is kept: nothing is lost in silence, nothing is guessed."""

import json
import os
import unicodedata

import numpy as np
import pytest

from tests.data.made_up_files import color_of, encoded, fill, make_tar, own_cache, refusal  # noqa: F401
from towers import data
from towers.data import custom
from towers.data.folders import class_list
from towers.data.intake import text_lines
from towers.data.prompts import imagenet_as_listed, wordnet_names
from towers.data.shards import beyond


def table(folder, text, count=4, name="captions.csv") -> None:
    """Pictures 0.png, 1.png, ... and a table beside them."""
    fill(folder, [f"{number}.png" for number in range(count)], text=None)
    (folder / name).write_bytes(text.encode())


# ---- tables: a row that is none costs itself alone


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1.png,a plate, white", "row with too many cells"),
        ('1.png,"a plate', "damaged row"),
        ('1.png,"a "white" plate"', "damaged row"),
        ("1.png", "row with too few cells"),
        (",a plate", "row without image"),
        ("1.png,", "no caption"),
    ],
)
def test_a_bad_row_is_counted_and_swallows_no_other(tmp_path, row, reason):
    table(tmp_path, f"image,caption\n0.png,a cup\n{row}\n2.png,a spoon\n3.png,a fork\n")
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.captions() == [("a cup",), ("a spoon",), ("a fork",)]
    assert loaded.report.dropped == {reason: 1}


def test_two_stray_quotes_do_not_make_one_caption_of_what_stands_between(tmp_path):
    table(tmp_path, 'image,caption\n0.png,"a cup\n1.png,a plate\n2.png,"\n3.png,a fork\n')
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.captions() == [("a plate",), ("a fork",)]
    assert loaded.report.dropped == {"damaged row": 2}


def test_a_caption_in_quotes_may_have_lines_commas_and_quotes(tmp_path):
    table(tmp_path, 'image,caption\n0.png,"a cup,\nwhite ""china"""\n1.png,a 5" plate\n', count=2)
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.captions() == [('a cup, white "china"',), ('a 5" plate',)]
    assert not loaded.report.dropped


def test_pictures_that_no_row_names_are_told_but_do_not_refuse_a_set(tmp_path, capsys):
    table(tmp_path, "image,caption\n0.png,a cup\n", count=40)
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.report.dropped == {"named nowhere": 39}
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"towers: folder:{tmp_path}: left out 39 of 40 (39 named nowhere)"
    )


def test_many_rows_with_a_bare_comma_refuse_the_set_and_say_why(tmp_path):
    rows = [f"{number}.png,a cup{', white' * (number < 12)}\n" for number in range(20)]
    table(tmp_path, "image,caption\n" + "".join(rows), count=20)
    message = refusal(f"folder:{tmp_path}")
    assert "got 12 of 20 (12 row with too many cells); put quotes around captions" in message
    advised = message.partition('"NAME')[2].rstrip('"')
    assert len(data.load(f"folder:{tmp_path}{advised}")) == 8  # the way out works as it is printed


@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("columns", [("image", "caption"), ("filepath", "title")])
def test_tables_of_open_clip_and_others_are_read(tmp_path, name, separator, columns):
    lines = [separator.join(cells) for cells in (columns, ("0.png", "a cup"), ("1.png", "a fork"))]
    table(tmp_path, "\r\n".join(lines), count=2, name=name)
    assert custom.load(f"folder:{tmp_path}").captions() == [("a cup",), ("a fork",)]


def test_a_table_by_another_separator_or_name_says_what_is_read(tmp_path):
    table(tmp_path, "image|caption\n0.png|a cup\n")
    assert "commas, tabs, semicolons; got 'image|caption'" in refusal(f"folder:{tmp_path}")
    (tmp_path / "captions.tsv").write_text("image\tcaption\n")
    assert "expected one table" in refusal(f"folder:{tmp_path}")


def test_paths_of_a_table_may_be_written_in_other_ways(tmp_path):
    fill(tmp_path, ["a/0.png", "a/1.png", "a/2.png"], text=None)
    rows = ("./a/0.png,one", r"a\1.png,two", f"{tmp_path}/a/2.png,three", "../0.png,four")
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    loaded = custom.load(f"folder:{tmp_path}")
    assert [texts[0] for texts in loaded.captions()] == ["one", "two", "three"]
    assert loaded.report.dropped == {"unsafe name": 1}


def test_two_labels_of_one_picture_are_told(tmp_path):
    table(tmp_path, "image,caption,label\n0.png,a,cup\n0.png,b,mug\n0.png,c,cup\n", count=1)
    loaded = custom.load(f"folder:{tmp_path}")
    assert loaded.classes == ("cup",)
    assert loaded.report.mended == {"second label of a picture": 1}


# ---- folders of texts


def test_texts_without_a_picture_and_pictures_without_a_text_are_counted(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    fill(tmp_path, ["c.png"], text=None)
    (tmp_path / "d.txt").write_text("a picture that is lost")
    report = custom.load(f"folder:{tmp_path}").report
    assert report.dropped == {"no caption": 1, "text without a picture": 1}
    assert report.found == report.kept + 2


def test_a_folder_of_mostly_silent_pictures_is_refused(tmp_path):
    fill(tmp_path, [f"a{number}.png" for number in range(16)])
    fill(tmp_path, [f"b{number}.png" for number in range(48)], text=None)
    assert "got 48 of 64 (48 no caption)" in refusal(f"folder:{tmp_path}")


def test_one_name_in_two_unicode_forms_is_one_file(tmp_path):
    short, long = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert short != long
    fill(tmp_path / "texts", [f"{long}.png"], text=None)
    (tmp_path / f"texts/{short}.txt").write_text("a cup")
    fill(tmp_path / "table", [f"{short}/{long}.png"], text=None)
    (tmp_path / "table/captions.csv").write_text(f"image,caption\n{long}/{short}.png,a cup\n")
    fill(tmp_path / "coco", [f"{long}.png"], text=None)
    entry = {"filename": f"{short}.png", "split": "test", "sentences": [{"raw": "a cup"}]}
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps({"images": [entry]}))
    fill(tmp_path / long, ["a.png"])
    for name in ("folder:{}/texts", "folder:{}/table", "coco:{}/coco", f"folder:{{}}/{short}"):
        loaded = custom.load(name.format(tmp_path))
        assert len(loaded) == 1
        assert not loaded.report.dropped


# ---- links


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path):
    fill(tmp_path / "full", ["cat/0.png", "dog/1.png", "cow/2.png"], text=None)
    (tmp_path / "full/cat/again").symlink_to(tmp_path / "full")
    (tmp_path / "some").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "some" / name).symlink_to(f"../full/{name}")
    loaded = custom.load(f"imagefolder:{tmp_path}/some")
    assert [item.name for item in loaded] == ["cat/0", "dog/1"]
    assert loaded.report.dropped == {"linked folder": 1}


def test_a_hugging_face_snapshot_is_read_through_its_links(tmp_path):
    for number in range(3):
        blob = tmp_path / f"repo/blobs/{number:040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(encoded(color_of(number)))
        link = tmp_path / f"repo/snapshots/abc/data/{number}.png"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../../blobs/{number:040x}")
        link.with_suffix(".txt").write_text("a cup")
    assert len(custom.load(f"folder:{tmp_path}/repo/snapshots/abc/data")) == 3


def test_links_that_leave_the_folder_tell_what_to_do(tmp_path):
    fill(tmp_path / "far", [f"{number}.png" for number in range(12)])
    (tmp_path / "near").mkdir()
    for number in range(12):
        (tmp_path / f"near/{number}.png").symlink_to(tmp_path / f"far/{number}.png")
    message = refusal(f"folder:{tmp_path}/near")
    assert "12 outside the folder" in message
    assert "cp -rL" in message


# ---- class folders


@pytest.mark.parametrize("parts", [("train", "val"), ("Train", "TEST"), ("training", "testing")])
def test_a_stray_file_does_not_make_classes_of_parts(tmp_path, parts):
    names = [f"{part}/{label}/{part}.png" for part in parts for label in ("cat", "dog")]
    fill(tmp_path, [*names, f"{parts[0]}/stray.png", "cover.png"], text=None)
    loaded = custom.load(f"imagefolder:{tmp_path}")
    assert loaded.classes == ("cat", "dog")
    assert loaded.report.dropped == {"no class folder": 2}
    assert {item.split for item in loaded} <= {"train", "val", "test"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/cat/0.png", "dog/1.png"], "got parts train beside dog"),
        (["train/cat/0.png", "val/1.png"], "got parts train beside val"),
        (["train/0.png", "test/1.png"], "no class folders in them"),
        (["a/cat/0.png", "a/dog/1.png", "b/cat/2.png", "b/dog/3.png"], "as parts do"),
        (["val/cat/0.png", "validation/cat/1.png"], "expected one folder of part val"),
        (["red_kite/0.png", "red kite/1.png"], "both class 'red kite'"),
    ],
)
def test_layouts_that_can_be_read_in_two_ways_are_refused(tmp_path, names, message):
    fill(tmp_path, names, text=None)
    assert message in refusal(f"imagefolder:{tmp_path}")


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, ["bird/0.png", "bus/1.png", "train/2.png"], text=None)
    assert custom.load(f"imagefolder:{tmp_path}").classes == ("bird", "bus", "train")


def test_candidates_are_all_classes_and_not_those_that_occur(tmp_path):
    fill(tmp_path, ["train/cat/0.png", "train/dog/1.png", "val/cat/2.png", "val/cow/3.png"], None)
    (tmp_path / "val/cow/3.png").write_bytes(b"damaged")
    (tmp_path / "train/empty").mkdir()
    for parts in (None, ("val",)):
        loaded = custom.load(f"imagefolder:{tmp_path}", parts=parts)
        assert loaded.classes == ("cat", "cow", "dog", "empty")


def test_a_class_of_which_every_picture_is_damaged_stays_a_candidate(tmp_path):
    table(tmp_path, "image,caption,label\n0.png,a,cup\n1.png,b,fork\n", count=2)
    (tmp_path / "1.png").write_bytes(b"damaged")
    assert custom.load(f"folder:{tmp_path}").classes == ("cup", "fork")


def test_folders_by_number_take_their_names_from_classnames(tmp_path):
    fill(tmp_path, ["0/a.png", "2/b.png"], text=None)
    (tmp_path / "classnames.txt").write_text("cat\ndog\ncow\n")
    loaded = custom.load(f"imagefolder:{tmp_path}")
    assert loaded.classes == ("cat", "dog", "cow")
    assert loaded.labels.tolist() == [0, 2]
    fill(tmp_path, ["3/c.png"], text=None)
    assert "got '3' as well" in refusal(f"imagefolder:{tmp_path}")


def test_wordnet_ids_never_become_prompts(tmp_path):
    # ImageNet-1k's own names, in which the two cranes differ
    assert wordnet_names(["n02012849", "n03126707"]) == ("crane bird", "construction crane")
    other = wordnet_names(["n00015388", "n02012849"])  # the first is of ImageNet-21k alone
    assert other == ("animal", "crane bird")
    # of others that share the first word of their entry, all words
    assert wordnet_names(["n00017222", "n03956922"]) == (
        "plant, flora, plant life", "plant, works, industrial plant",
    )  # fmt: skip
    fill(tmp_path, ["n01440764/0.png", "dog/1.png"], text=None)
    assert "got 'dog'; use English names" in refusal(f"imagefolder:{tmp_path}")


# ---- classnames.txt


def test_a_list_of_classes_is_whole_or_refused(tmp_path):
    file = tmp_path / "classnames.txt"
    assert class_list(tmp_path) == ()
    file.write_bytes("cat\r\ndog\u2028terrier\r\n\r\n".encode())
    assert class_list(tmp_path) == ("cat", "dog terrier")
    for text, message in (
        ("missile\ndog\nmissile\n", r"line 3 of .*'missile' again \(first in line 1\)"),
        ("cat\n\ndog\n", "line 2 of .* got none"),
        ("caf\xe9\n", "expected UTF-8"),
    ):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(data.DataError, match=message):
            class_list(tmp_path)


def test_imagenet_s_own_list_with_its_repeated_names_stays_a_thousand_classes(tmp_path):
    (tmp_path / "classnames.txt").write_text("\n".join(imagenet_as_listed()))
    assert len(set(imagenet_as_listed())) == 998
    assert len(set(class_list(tmp_path))) == 1000


def test_shards_have_one_list_of_classes_and_every_label_is_in_it(tmp_path):
    for place, number in (("a/0.tar", "1"), ("b/0.tar", "0")):
        make_tar(tmp_path / place, [("0.png", encoded("red")), ("0.cls", number.encode())])
    (tmp_path / "classnames.txt").write_text("cat\ndog\ncow\n")
    loaded = custom.load(f"shards:{tmp_path}/{{a,b}}/0.tar")
    assert loaded.classes == ("cat", "dog", "cow")
    assert loaded.labels.tolist() == [1, 0]
    (tmp_path / "b/classnames.txt").write_text("one\ntwo\n")
    assert "one classnames.txt for all" in refusal(f"shards:{tmp_path}/{{a,b}}/0.tar")
    make_tar(tmp_path / "b/1.tar", [("0.png", encoded("red")), ("0.json", b'{"label": "three"}')])
    assert "got 'three' in sample '0'" in refusal(f"shards:{tmp_path}/b/1.tar")


def test_labels_by_number_in_json_are_read(tmp_path):
    make_tar(tmp_path / "0.tar", [("0.png", encoded("red")), ("0.json", b'{"label": 1}')])
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    assert custom.load(f"shards:{tmp_path}/0.tar").labels.tolist() == [1]


# ---- shards


def members(*names: str) -> list[tuple[str, bytes]]:
    return [
        (name, encoded(color_of(place)) if name.endswith("png") else b"a cup")
        for place, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("names", "dropped"),
    [
        (["1.a.png", "1.a.txt"], {"dot in its name": 1}),
        (["1.a.png", "1.a.txt", "1.b.png", "1.b.txt"], {"dot in its name": 2}),
        (["1.png", "1.txt", "1.b.png", "1.b.txt"], {"dot in its name": 1}),
        (["1.png", "1.txt", "1.seg.png"], {}),  # WebDataset's way to add a second picture
        (["1.png", "1.b.txt"], {"no caption": 1}),
        (["1.png", "2.png", "1.txt", "2.txt"], {"no caption": 2, "no picture": 2}),
    ],
)
def test_members_that_make_no_sample_are_counted(tmp_path, names, dropped):
    make_tar(tmp_path / "0.tar", members("0.png", "0.txt", *names))
    loaded = custom.load(f"shards:{tmp_path}/0.tar")
    assert loaded.report.dropped == dropped
    assert len(loaded) == 1 + ("1.txt" in names and "2.txt" not in names)


def test_a_lost_shard_weighs_as_much_as_the_others():
    assert beyond([10, 10, 0], [True, True, False]) == 10
    assert beyond([10, 20, 12], [True, True, False]) == 3  # 15 are usual
    assert beyond([10, 30, 40], [True, True, False]) == 0  # no more than that was there
    assert beyond([0], [False]) == 1
    assert beyond([5, 5], [True, True]) == 0


def test_a_pattern_that_finds_nothing_in_one_of_its_places_is_told(tmp_path):
    make_tar(tmp_path / "train/0.tar", members("0.png", "0.txt", "1.png", "1.txt"))
    loaded = custom.load(f"shards:{tmp_path}/{{train,val}}/*.tar")
    assert loaded.report.dropped == {"in a missing or damaged shard": 2}


# ---- a path that is there wins over what its signs may mean


def test_paths_with_brackets_braces_and_question_marks_are_read_as_they_are(tmp_path):
    for name in ("set[2020]", "a{b,c}", "ducks[test]", "x?max_bad=0.5"):
        fill(tmp_path / name, ["0.png"])
        make_tar(tmp_path / name / "0.tar", members("0.png", "0.txt"))
        assert len(data.load(f"folder:{tmp_path / name}")) == 1
        assert len(data.load(f"shards:{tmp_path / name}/0.tar")) == 1
    fill(tmp_path / "birds", [f"{number}.png" for number in range(20)])
    parts = [len(data.load(f"folder:{tmp_path}/birds[{part}]")) for part in ("train", "test")]
    assert sum(parts) == 20
    (tmp_path / "birds[val]").mkdir()
    with pytest.raises(data.DataError, match="usable images"):
        data.load(f"folder:{tmp_path}/birds[val]")


def test_parts_of_collections_without_a_path_are_asked_for_as_ever():
    assert len(data.load("digits[test]")) + len(data.load("digits[train]")) == 1797


# ---- lines


def test_only_line_feeds_and_carriage_returns_end_a_line():
    marks = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
    assert text_lines(f"a{marks}b\nc\r\nd\re\n") == [f"a{marks}b", "c", "d", "e"]
    assert text_lines("") == []
    assert text_lines("a\n\nb") == ["a", "", "b"]


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x0b", "\x0c"])
def test_captions_and_tables_are_not_cut_at_other_marks(tmp_path, mark):
    fill(tmp_path / "folder", ["0.png"], text=f"a red{mark}cup\n")
    make_tar(tmp_path / "0.tar", [("0.png", encoded("red")), ("0.txt", f"a red{mark}cup".encode())])
    table(tmp_path / "table", f"image,caption\n0.png,a red{mark}cup\n", count=1)
    fill(tmp_path / "flickr", ["0.png"], text=None)
    (tmp_path / "flickr/results.token").write_bytes(f"0.png#0\ta red{mark}cup\n".encode())
    for name in ("folder:{}/folder", "shards:{}/0.tar", "folder:{}/table", "flickr30k:{}/flickr"):
        assert custom.load(name.format(tmp_path)).captions() == [("a red cup",)]


# ---- annotations


def test_pictures_beside_those_of_the_annotations_are_told(tmp_path):
    fill(tmp_path, ["val2017/0.png", "val2017/1.png", "train2017/2.png"], text=None)
    (tmp_path / "annotations").mkdir()
    content = {
        "images": [{"id": 0, "file_name": "0.png"}, {"id": 5, "file_name": "5.png"}],
        "annotations": [{"image_id": 0, "caption": "a cup"}, {"image_id": 5, "caption": "a fork"}],
    }
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps(content))
    loaded = custom.load(f"coco:{tmp_path}")
    # those of another part are no loss; the one beside it may be
    assert loaded.report.dropped == {"missing": 1, "named nowhere": 1}


def test_of_two_files_of_captions_flickr30k_s_corrected_one_is_read(tmp_path):
    fill(tmp_path, ["0.png"], text=None)
    (tmp_path / "results.token").write_text("0.png#0\tthe first version\n")
    (tmp_path / "results_20130124.token").write_text("0.png#0\tthe second version\n")
    assert custom.load(f"flickr30k:{tmp_path}").captions() == [("the second version",)]


# ---- the report


def test_a_whole_set_says_nothing_and_other_ranks_are_silent(tmp_path, capsys, monkeypatch):
    fill(tmp_path, ["0.png"])
    custom.load(f"folder:{tmp_path}")
    assert "left out" not in capsys.readouterr().err
    (tmp_path / "void.txt").write_text("a cup")
    monkeypatch.setenv("RANK", "1")
    custom.load(f"folder:{tmp_path}")
    assert "left out" not in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    custom.load(f"folder:{tmp_path}")
    assert "left out 1 of 2 (1 text without a picture)" in capsys.readouterr().err


def test_keys_of_pictures_are_of_their_bytes_however_they_are_reached(tmp_path):
    fill(tmp_path / "one", ["0.png"])
    os.symlink(tmp_path / "one", tmp_path / "two")
    one, two = (custom.load(f"folder:{tmp_path / name}") for name in ("one", "two"))
    assert np.array_equal(one.groups, two.groups)
