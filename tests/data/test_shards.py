"""WebDataset shards: every text read, nothing run, damage counted, streams equal to sets."""

import json
import os
import pickle
import tarfile

import pytest

from tests.data.made_up_files import color_of, encoded, make_tar, own_cache, refusal  # noqa: F401
from towers.data import custom
from towers.data.shards import shard_paths
from towers.data.tars import entries


def sample(number: int, ending="png", **texts) -> list[tuple[str, bytes]]:
    texts = texts or {"txt": f"caption {number}"}
    kind = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending]
    return [
        (f"{number:04d}.{ending}", encoded(color_of(number), kind)),
        *((f"{number:04d}.{name}", str(text).encode()) for name, text in texts.items()),
    ]


def test_shards_in_braces(tmp_path):
    for shard in range(3):
        members = [part for number in range(4) for part in sample(10 * shard + number)]
        make_tar(tmp_path / f"{shard:02d}.tar", [("sub/", b""), *members])
    loaded = custom.load(f"shards:{tmp_path}/{{00..02}}.tar")
    assert len(loaded) == 12
    assert loaded[5].name == "0011"
    assert loaded.captions()[5] == ("caption 11",)
    assert loaded.image(5).getpixel((0, 0)) == color_of(11)
    assert pickle.loads(pickle.dumps(loaded)).image(5).size == (6, 4)
    assert custom.load(f"shards:{tmp_path}/*.tar").digest == loaded.digest


def test_every_text_of_a_sample_is_read(tmp_path):
    about = {
        "captions": {"en": ["a", "b"], "pt-br": "c", "pt_BR": ["e"], "not a tag": "d"},
        "label": "kite",
    }
    members = [
        *sample(0, json=json.dumps(about)),
        *sample(1, json='{"caption": "a", "language": "fr"}'),
        *sample(2, json='{"text": ["a", 3]}'),
        *sample(3, cls="1"),
        *sample(4, "jpg", txt="from txt", json='{"caption": "from json"}'),
        *sample(5, "webp"),
        ("0006.npy", b"never read"),
        ("0007.pyd", b"cos\nsystem\n(S'true'\ntR."),
        *sample(8, json="[]"),
        *sample(9, txt=" "),
        ("README", b"no sample"),
    ]
    make_tar(tmp_path / "a.tar", members)
    (tmp_path / "classnames.txt").write_text("apple\nkite\n")
    loaded = custom.load(f"shards:{tmp_path}/a.tar", max_bad=1)
    assert [dict(item.captions) for item in loaded] == [
        {"en": ("a", "b"), "pt_BR": ("c", "e")},
        {"fr": ("a",)},
        {"en": ("a",)},
        {},
        {"en": ("from txt",)},
        {"en": ("caption 5",)},
    ]
    assert [item.targets.get("class") for item in loaded] == [
        "kite",
        None,
        None,
        "kite",
        None,
        None,
    ]
    assert loaded.report.dropped == {"no picture": 2, "damaged text": 1, "no caption": 1}


class Trap:
    """Unpickling one writes a file."""

    def __init__(self, file) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (self.file,)


def test_nothing_is_unpickled(tmp_path):
    trap = pickle.dumps(Trap(str(tmp_path / "sprung")))
    endings = ("pyd", "pickle", "pkl", "pth", "npy", "cbor", "mp")
    make_tar(tmp_path / "a.tar", [*sample(0), *((f"0000.{ending}", trap) for ending in endings)])
    assert len(custom.load(f"shards:{tmp_path}/a.tar")) == 1
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_are_read_as_tarfile_reads_them(tmp_path, kind):
    deep = "/".join(["folder"] * 20)
    names = ["a.txt", f"{deep}/b.txt", "./c.png", "dir.d/e.json"]
    if kind != tarfile.USTAR_FORMAT:
        names += ["é" * 60 + ".txt", "long" * 200 + ".txt"]
    bodies = [(name, os.urandom(512 * number + number % 3)) for number, name in enumerate(names)]
    make_tar(tmp_path / "a.tar", bodies, kind)
    with (tmp_path / "a.tar").open("rb") as file, tarfile.open(tmp_path / "a.tar") as theirs:
        ours = list(entries(file))
        assert [(e.name, e.offset, e.length, e.fault) for e in ours] == [
            (info.name, info.offset_data, info.size, None) for info in theirs
        ]


def test_damage_in_a_tar_costs_only_its_samples(tmp_path):
    make_tar(tmp_path / "a.tar", [part for number in range(30) for part in sample(number)])
    data = bytearray((tmp_path / "a.tar").read_bytes())
    block = data.index(b"0007.png") // 512 * 512
    data[block + 130] ^= 0x40  # a header's size field
    (tmp_path / "a.tar").write_bytes(data)
    loaded = custom.load(f"shards:{tmp_path}/a.tar")
    assert {item.name for item in loaded} == {f"{number:04d}" for number in range(30)} - {"0007"}
    assert loaded.report.dropped == {"damaged header": 1, "no picture": 1}


def test_cut_tars_are_counted_and_the_rest_goes_on(tmp_path):
    for name in "ab":
        make_tar(tmp_path / f"{name}.tar", [p for number in range(9) for p in sample(number)])
    data = (tmp_path / "a.tar").read_bytes()
    at = data.index(b"0005.png") // 512 * 512 + 512
    (tmp_path / "a.tar").write_bytes(data[: at + 20])
    loaded = custom.load(f"shards:{tmp_path}/{{a,b,c}}.tar", max_bad=0.5)
    assert len(loaded) == 5 + 9
    # as many as in the whole one: 9 of the missing one, 9 - 6 after the cut
    assert loaded.report.dropped == {"truncated archive": 1, "in a missing or damaged shard": 12}


def test_empty_blocks_inside_a_tar_are_damage_not_the_end(tmp_path):
    make_tar(tmp_path / "a.tar", [part for number in range(9) for part in sample(number)])
    data = bytearray((tmp_path / "a.tar").read_bytes())
    block = data.index(b"0003.png") // 512 * 512
    data[block : block + 512] = bytes(512)
    (tmp_path / "a.tar").write_bytes(data)
    assert len(custom.load(f"shards:{tmp_path}/a.tar")) == 8


@pytest.mark.parametrize("pattern", [
    "http://example.org/{000..999}.tar", "pipe:touch /tmp/x", "{000..999999999999}.tar",
    "{a,b", "{0..9}{0..9}{0..9}{0..9}{0..9}.tar", "none.tar", "*.nothing",
])  # fmt: skip
def test_shard_patterns_that_are_refused(pattern):
    assert "expected" in refusal(f"shards:{pattern}")


def test_compressed_shards_are_refused(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    assert "uncompressed" in refusal(f"shards:{tmp_path}/a.tar.gz")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a0.tar").touch()
    assert shard_paths("~/a{0..0}.tar") == [tmp_path / "a0.tar"]
