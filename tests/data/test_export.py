"""Exported shards hold the same pictures, words and labels, and an export goes on where it was."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.data.made_up_files import color_of, encoded, make_tar, own_cache  # noqa: F401
from towers import cli, data
from towers.data import export
from towers.data.errors import BadImage, DataError
from towers.data.export import export_shards
from towers.data.items import Collection, Item
from towers.data.reports import Report
from towers.data.scenes import Scenes
from towers.data.scenes.world import SHAPES


def test_scenes_come_back_bit_for_bit(tmp_path):
    scenes = Scenes(25, style="mixed", languages=("en", "ja", "ru"))
    index = export_shards(scenes.collection(), tmp_path, per_shard=10)
    found = data.load(f"shards:{tmp_path}/*.tar")
    pictures = np.stack([np.asarray(found.image(row)) for row in range(25)])
    assert np.array_equal(pictures, scenes.pixels(np.arange(25)))
    assert [dict(item.captions) for item in found] == [scenes.texts(row) for row in range(25)]
    labels = [SHAPES[number] for number in scenes.labels("shape")]
    assert [item.targets.get("class") for item in found] == labels
    assert [shard["samples"] for shard in index["shards"]] == [10, 10, 5]
    assert (index["samples"], index["left_out"]) == (25, {})
    assert index["digest"] == scenes.collection().digest
    assert json.loads((tmp_path / "index.json").read_text()) == index


def test_english_captions_are_plain_text_for_other_readers(tmp_path):
    scenes = Scenes(3)
    export_shards(scenes.collection(), tmp_path)
    with tarfile.open(tmp_path / "000000.tar") as tar:
        assert tar.getnames()[:3] == ["000000000.png", "000000000.json", "000000000.txt"]
        assert tar.extractfile("000000001.txt").read().decode().split("\n") == [
            *scenes.texts(1)["en"]
        ]
        about = json.loads(tar.extractfile("000000001.json").read())
    assert about["captions"]["en"] == [*scenes.texts(1)["en"]]
    assert about["name"] == "train/1"
    assert data.load(f"shards:{tmp_path}/*.tar").captions() == scenes.collection().captions()


def test_a_file_goes_into_the_shard_as_it_is(tmp_path):
    """Not as a smaller or a lossy copy, nor as a PNG of ten times its size."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 500, 3), np.uint8)
    buffers = {kind: io.BytesIO() for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF")}
    items = []
    for kind, buffer in buffers.items():
        Image.fromarray(noise).save(buffer, kind)
        path = tmp_path / f"picture of {kind}"
        path.write_bytes(buffer.getvalue())
        items.append(Item(kind, kind, path, {"en": (kind,)}))
    made = Collection("made up", tuple(items), Report(5))
    export_shards(made, tmp_path / "shards")
    with tarfile.open(tmp_path / "shards/000000.tar") as tar:
        held = {name: tar.extractfile(name).read() for name in tar.getnames()}
    endings = ("jpg", "png", "webp", "bmp", "gif")
    for row, (ending, buffer) in enumerate(zip(endings, buffers.values(), strict=True)):
        assert held[f"{row:09d}.{ending}"] == buffer.getvalue()
    found = data.load(f"shards:{tmp_path}/shards/*.tar")
    for row in range(5):
        assert np.array_equal(found.image(row), made.image(row))


def damaged() -> Image.Image:
    raise BadImage("truncated")


def test_what_no_reader_takes_is_left_out_and_counted(tmp_path):
    items = (
        Item("a", "a", encoded(color_of(1)), {"en": ("one",)}),
        Item("b", "b", damaged, {"en": ("two",)}),
        Item("c", "c", encoded(color_of(3))),
        Item("d", "d", encoded(color_of(4)), targets={"class": "kite"}),
    )
    collection = Collection("made up", items, Report(4))
    index = export_shards(collection, tmp_path, per_shard=2)
    assert index["left_out"] == {"truncated": 1, "no caption": 1}
    assert [shard["samples"] for shard in index["shards"]] == [1, 1]
    found = data.load(f"shards:{tmp_path}/*.tar")
    assert [(item.captions.get("en"), item.targets.get("class")) for item in found] == [
        (("one",), None), (None, "kite"),
    ]  # fmt: skip
    assert found.image(1).getpixel((0, 0)) == color_of(4)


def test_all_targets_come_back_and_bad_ones_are_damaged_text(tmp_path):
    targets = [
        {"class": "kite", "number": 2.5}, {"classes": ("owl", "cat")}, {"place": (1.0, -2.0)},
    ]  # fmt: skip
    items = (Item(str(n), str(n), encoded(color_of(n)), targets=own)
             for n, own in enumerate(targets))  # fmt: skip
    export_shards(Collection("made up", tuple(items), Report(3)), tmp_path)
    found = data.load(f"shards:{tmp_path}/*.tar")
    assert [item.targets for item in found] == targets
    for number, bad in enumerate(('{"number": "x"}', '"x"')):
        make_tar(tmp_path / f"bad{number}/0.tar", [
            ("0.png", encoded("red")), ("0.json", f'{{"targets": {bad}}}'.encode()),
            ("1.png", encoded("red")), ("1.json", b'{"label": "kite"}'),
        ])  # fmt: skip
        report = data.load(f"shards:{tmp_path}/bad{number}/*.tar").report
        assert (report.kept, report.dropped) == (1, {"damaged text": 1})


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("cut", range(12))
def test_an_interrupted_export_goes_on_and_ends_the_same(tmp_path, monkeypatch, cut):
    """Whichever write fails, what is listed is good, and the next run makes only what lacks."""
    collection = Scenes(23).collection()
    export_shards(collection, tmp_path / "whole", per_shard=5)
    writes, real = [], export.atomic_write

    def failing(path, content):
        writes.append(path.name)
        if len(writes) == cut + 1:
            raise OSError(28, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(export, "atomic_write", failing)
    if cut < 11:  # five shards, and the index before and after each of them
        with pytest.raises(OSError, match="No space"):
            export_shards(collection, tmp_path / "cut", per_shard=5)
    made = {name for name in writes[:-1] if name.endswith(".tar")} if cut < 11 else set()
    writes.clear()
    monkeypatch.setattr(
        export, "atomic_write", lambda *args: (writes.append(args[0].name), real(*args))
    )
    listed = set()
    if (tmp_path / "cut/index.json").exists():
        shards = json.loads((tmp_path / "cut/index.json").read_text())["shards"]
        listed = {shard["file"] for shard in shards}
    assert len(made - listed) <= 1
    export_shards(collection, tmp_path / "cut", per_shard=5)
    assert not listed & set(writes)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_damaged_shards_are_made_again_and_good_ones_kept(tmp_path):
    collection = Scenes(20).collection()
    export_shards(collection, tmp_path, per_shard=5)
    before = contents(tmp_path)
    kept = (tmp_path / "000000.tar").stat().st_ino
    damaged = bytearray(before["000001.tar"])
    damaged[700] ^= 1
    (tmp_path / "000001.tar").write_bytes(damaged)
    (tmp_path / "000002.tar").unlink()
    (tmp_path / "000003.tar").write_bytes(before["000003.tar"][:-512])
    export_shards(collection, tmp_path, per_shard=5)
    assert contents(tmp_path) == before
    assert (tmp_path / "000000.tar").stat().st_ino == kept


def test_shards_beyond_the_one_being_made_again_stay_listed(tmp_path, monkeypatch):
    collection = Scenes(20).collection()
    export_shards(collection, tmp_path, per_shard=5)
    (tmp_path / "000000.tar").unlink()
    writes, real = [], export.atomic_write

    def failing(path, content):
        writes.append(path.name)
        if len(writes) == 4:  # the index, the first shard, the index, and now the index again
            raise OSError(28, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(export, "atomic_write", failing)
    with pytest.raises(OSError, match="No space"):
        export_shards(collection, tmp_path, per_shard=5)
    assert writes == ["index.json", "000000.tar", "index.json", "index.json"]
    export_shards(collection, tmp_path, per_shard=5)
    assert {*writes[4:]} == {"index.json"}


def test_another_export_in_the_folder_is_left_alone(tmp_path):
    collection = Scenes(6).collection()
    export_shards(collection, tmp_path, per_shard=3)
    before = contents(tmp_path)
    for other, per_shard in ((Scenes(7).collection(), 3), (collection, 2)):
        with pytest.raises(DataError, match="export elsewhere"):
            export_shards(other, tmp_path, per_shard)
    assert contents(tmp_path) == before
    for index in ("{", "[]", '{"shards": 3}', '{"shards": [{"file": 1}]}'):
        (tmp_path / "index.json").write_text(index)
        with pytest.raises(DataError, match="export to an empty folder"):
            export_shards(collection, tmp_path, per_shard=3)
    (tmp_path / "index.json").unlink()
    with pytest.raises(DataError, match=r"expected no shards without index.json"):
        export_shards(collection, tmp_path, per_shard=3)
    with pytest.raises(DataError, match="at least 1 picture per shard, got 0"):
        export_shards(collection, tmp_path / "new", per_shard=0)
    assert not (tmp_path / "new").exists()


def test_the_command_exports_by_name(tmp_path, capsys):
    folder = str(tmp_path / "out")
    argv = ["data", "export", "shards", "scenes:val?count=12", folder, "--per-shard", "5"]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == f"3 shards, 12 samples {folder}/index.json\n"
    assert len(data.load(f"shards:{folder}/{{000000..000002}}.tar")) == 12
    assert cli.main([*argv[:3], "scenes:val?nosuch=1", folder]) == 2
    told = capsys.readouterr().err
    assert told.startswith("towers: error: ")
    assert "got 'nosuch' in 'val?nosuch=1'" in told
    assert told.count("\n") == 1
    assert cli.main([*argv[:-1], "0"]) == 2


def test_equal_collections_make_equal_bytes(tmp_path):
    for name in ("a", "b"):
        export_shards(Scenes(6).collection(), tmp_path / name, per_shard=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with tarfile.open(fileobj=io.BytesIO(contents(tmp_path / "a")["000000.tar"])) as tar:
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}
