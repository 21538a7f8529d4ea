"""Bombs and traversals: files made to harm, each beside one good sample.

A builder lays its files into an empty folder and returns the name to load. The set must be
refused in one line, or load with nothing but the good sample.
"""

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.hostile_files import (
    encoded,
    good_sample,
    in_one_line,
    measured,
    member,
    octal,
    pax,
    picture,
    png_chunk,
    tar_header,
)
from towers.data import custom
from towers.data.errors import DataError

BOMBS: dict[str, Callable[[Path], str]] = {}
PNG = encoded(picture(), "PNG")
JPEG = encoded(picture(), "JPEG")
GIF = encoded(picture(), "GIF")
PNG_HEAD, PNG_END = b"\x89PNG\r\n\x1a\n", png_chunk(b"IEND", b"")
GIF_AT = 13 + (3 << (GIF[10] & 7) + 1)
MEGABYTES = zlib.compress(bytes(2**26), 9)


def explode(folder: Path, count: int) -> Iterator[dict]:
    """Every bomb in a folder of its own, through the front door."""
    for number, (name, build) in enumerate(BOMBS.items()):
        home = folder / str(number)
        home.mkdir()
        target = build(home)
        yield measured(name, lambda target=target: outcome(target))


def outcome(target: str) -> str:
    try:
        loaded = custom.load(target, max_bad=1)
    except DataError as error:
        return in_one_line(error, "refused")
    names = {item.name for item in loaded}
    assert names <= {"good"}, f"accepted {names}"
    assert loaded.report.dropped.total() + loaded.report.mended.total(), "skipped in silence"
    return "only the good one"


def bomb(builder: Callable[[Path], str]) -> Callable[[Path], str]:
    BOMBS[builder.__name__] = builder
    return builder


def in_folder(name: str, make: Callable[[], bytes]) -> None:
    """A bomb that is one image file with a caption beside it."""

    def build(home: Path) -> str:
        _good(home)
        (home / name).write_bytes(make())
        (home / name).with_suffix(".txt").write_text("a caption")
        return f"folder:{home}"

    build.__name__ = name
    bomb(build)


def in_shard(name: str, make: Callable[[], bytes]) -> None:
    """A bomb that stands in a tar between good samples' headers."""

    def build(home: Path) -> str:
        (home / "a.tar").write_bytes(good_sample() + make() + bytes(1024))
        return f"shards:{home}/a.tar"

    build.__name__ = name
    bomb(build)


def in_table(name: str, rows: Callable[[Path], bytes]) -> None:
    """A bomb that is a captions.csv."""

    def build(home: Path) -> str:
        (home / "data").mkdir()
        _good(home / "data")
        (home / "secret.png").write_bytes(PNG)
        table = b"image,caption\ngood.png,a caption\n" + rows(home)
        (home / "data" / "captions.csv").write_bytes(table)
        return f"folder:{home}/data"

    build.__name__ = name
    bomb(build)


def in_json(name: str, filename: object, **more) -> None:
    """A bomb that is an entry of Karpathy's JSON."""

    def build(home: Path) -> str:
        (home / "data").mkdir()
        _good(home / "data")
        (home / "secret.png").write_bytes(PNG)
        entries = [
            {"filename": one, "split": "test", "sentences": [{"raw": "a caption"}]}
            | (more if one is filename else {})
            for one in ("good.png", filename)
        ]
        (home / "data" / "dataset_coco.json").write_text(json.dumps({"images": entries}))
        return f"coco:{home}/data"

    build.__name__ = name
    bomb(build)


def _good(home: Path) -> None:
    (home / "good.png").write_bytes(PNG)
    (home / "good.txt").write_text("a caption")


def _png(width: int, height: int, body: bytes, depth: int = 8, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlace)
    return PNG_HEAD + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + PNG_END


def _webp(kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _bmp(width: int, height: int, compression: int, body: bytes) -> bytes:
    palette = bytes(1024)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(body), 0, 0, 0, 0)
    at = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + info + palette + body


def _sof(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


def _scans() -> bytes:
    data = encoded(picture((512, 512)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 200 + b"\xff\xd9"


def _zip_of(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", data)
    return buffer.getvalue()


# ---- images that ask for too much, or are not what they say

in_folder("png_of_ten_gigapixels.png", lambda: _png(100_000, 100_000, zlib.compress(bytes(99))))
in_folder(
    "png_just_above_the_limit.png", lambda: _png(8001, 8001, zlib.compress(bytes(8001 * 8002)))
)
in_folder("png_one_pixel_high.png", lambda: _png(2**31 - 1, 1, zlib.compress(bytes(99))))
in_folder("png_interlaced.png", lambda: _png(60_000, 60_000, zlib.compress(bytes(99)), interlace=1))
in_folder("png_of_no_size.png", lambda: _png(0, 0, zlib.compress(b"")))
in_folder("png_without_pixels.png", lambda: PNG[:33] + PNG_END)
in_folder("png_with_endless_chunk.png", lambda: PNG[:33] + b"\xff\xff\xff\xffIDAT" + PNG[41:])
in_folder("png_text_bomb.png",
          lambda: PNG[:33] + png_chunk(b"zTXt", b"a\0\0" + MEGABYTES) + PNG[33:])  # fmt: skip
in_folder("png_text_bomb_at_the_end.png",
          lambda: PNG[:-12] + png_chunk(b"zTXt", b"a\0\0" + MEGABYTES) + PNG_END)  # fmt: skip
in_folder("png_international_text_bomb.png",
          lambda: PNG[:33] + png_chunk(b"iTXt", b"a\0\1\0\0\0" + MEGABYTES) + PNG[33:])  # fmt: skip
in_folder("png_profile_bomb.png",
          lambda: PNG[:33] + png_chunk(b"iCCP", b"a\0\0" + MEGABYTES) + PNG[33:])  # fmt: skip
in_folder("png_of_countless_chunks.png",
          lambda: PNG[:33] + png_chunk(b"noTe", b"") * 600_000 + PNG[33:])  # fmt: skip
in_folder("jpeg_of_four_gigapixels.jpg", lambda: _sof(65_535, 65_535))
in_folder("jpeg_of_no_size.jpg", lambda: _sof(0, 0))
in_folder("jpeg_of_countless_scans.jpg", _scans)
in_folder("jpeg_of_countless_segments.jpg",
          lambda: JPEG[:2] + b"\xff\xe5\0\2" * 600_000 + JPEG[2:])  # fmt: skip
in_folder("jpeg_without_end.jpg", lambda: JPEG[:-2])
in_folder("gif_of_four_gigapixels.gif", lambda: GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:])
in_folder("gif_with_vast_frame.gif",
          lambda: GIF[:GIF_AT] + b"," + b"\0\0\0\0\xff\xff\xff\xff\0\x08\1\0\0;")  # fmt: skip
in_folder("gif_of_countless_comments.gif",
          lambda: GIF[:GIF_AT] + b"!\xfe\1x\0" * 600_000 + GIF[GIF_AT:])  # fmt: skip
in_folder("gif_with_endless_comment.gif",
          lambda: GIF[:GIF_AT] + b"!\xfe" + b"\1x" * 600_000 + b"\0" + GIF[GIF_AT:])  # fmt: skip
in_folder("gif_with_impossible_code_size.gif",
          lambda: GIF[:GIF_AT] + b"," + b"\0\0\0\0\x18\0\x10\0\0\xc8\1\0\0;")  # fmt: skip
in_folder("webp_with_vast_canvas.webp",
          lambda: _webp(b"VP8X", b"\2\0\0\0\xff\xff\xff\xff\0\0"))  # fmt: skip
in_folder("webp_lossless_quarter_gigapixel.webp", lambda: _webp(b"VP8L", b"\x2f" + b"\xff" * 29))
in_folder("webp_longer_than_its_file.webp",
          lambda: b"RIFF\xff\xff\xff\x7f" + encoded(picture(), "WEBP")[8:])  # fmt: skip
in_folder("bmp_of_gigapixels.bmp", lambda: _bmp(50_000, 50_000, 0, bytes(99)))
in_folder("bmp_upside_down_gigapixels.bmp", lambda: _bmp(50_000, -50_000, 0, bytes(99)))
in_folder("bmp_of_endless_jumps.bmp", lambda: _bmp(60_000, 1000, 1, b"\0\2\xff\xff" * 10_000))
in_folder("tiff_in_disguise.png", lambda: encoded(picture(), "TIFF"))
in_folder("tiff_directory_loop.png", lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0")
in_folder(
    "postscript_in_disguise.jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
)
in_folder("zip_in_disguise.png", lambda: _zip_of(bytes(10**6)))
in_folder("nothing.png", lambda: b"")


@bomb
def terabyte_without_content(home: Path) -> str:
    _good(home)
    (home / "bomb.txt").write_text("a caption")
    with (home / "bomb.png").open("wb") as file:
        file.write(PNG)
        file.truncate(2**40)
    return f"folder:{home}"


# ---- folders that lead elsewhere


def _linked(name: str, target: str) -> None:
    def build(home: Path) -> str:
        (home / "data").mkdir()
        _good(home / "data")
        (home / "secret.png").write_bytes(PNG)
        (home / "data" / "bomb.txt").write_text("a caption")
        (home / "data" / "bomb.png").symlink_to(target)
        return f"folder:{home}/data"

    build.__name__ = name
    bomb(build)


_linked("link_to_a_neighbour", "../secret.png")
_linked("link_to_a_system_file", "/etc/passwd")
_linked("link_to_a_device", "/dev/zero")
_linked("link_to_itself", "bomb.png")
_linked("link_to_a_folder_above", "..")
_linked("link_to_a_process", "/proc/self/mem")


@bomb
def pipe_instead_of_an_image(home: Path) -> str:
    _good(home)
    (home / "bomb.txt").write_text("a caption")
    os.mkfifo(home / "bomb.png")
    return f"folder:{home}"


@bomb
def pipe_instead_of_a_caption(home: Path) -> str:
    _good(home)
    (home / "bomb.png").write_bytes(PNG)
    os.mkfifo(home / "bomb.txt")
    return f"folder:{home}"


@bomb
def caption_that_is_a_system_file(home: Path) -> str:
    _good(home)
    (home / "bomb.png").write_bytes(PNG)
    (home / "bomb.txt").symlink_to("/etc/passwd")
    return f"folder:{home}"


@bomb
def caption_of_megabytes(home: Path) -> str:
    _good(home)
    (home / "bomb.png").write_bytes(PNG)
    (home / "bomb.txt").write_bytes(b"a" * 2**22)
    return f"folder:{home}"


@bomb
def captions_in_other_encodings(home: Path) -> str:
    _good(home)
    wrong = {
        "utf16": "caption".encode("utf-16"),
        "latin": "légende".encode("latin-1"),
        "lone": b"\xed\xa0\x80",
        "overlong": b"\xc0\xafetc",
        "nul": bytes(99),
    }
    for name, text in wrong.items():
        (home / f"{name}.png").write_bytes(PNG)
        (home / f"{name}.txt").write_bytes(text)
    return f"folder:{home}"


@bomb
def name_that_is_no_text(home: Path) -> str:
    _good(home)
    for ending, body in ((b".png", PNG), (b".txt", b"a caption")):
        with open(os.fsencode(home) + b"/bomb\xff\xfe" + ending, "wb") as file:
            file.write(body)
    return f"folder:{home}"


@bomb
def folders_two_hundred_deep(home: Path) -> str:
    _good(home)
    deep = home.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "bomb.png").write_bytes(PNG)
    (deep / "bomb.txt").write_text("a caption")
    return f"folder:{home}"


# ---- tables

in_table("table_that_climbs", lambda home: b"../secret.png,x\nsub/../../secret.png,x\n")
in_table(
    "table_of_absolute_paths", lambda home: os.fsencode(home) + b"/secret.png,x\n/etc/passwd,x\n"
)
in_table(
    "table_of_foreign_paths", lambda home: b"C:\\secret.png,x\n..\\secret.png,x\nC:secret.png,x\n"
)
in_table("table_of_devices", lambda home: b"/dev/stdin,x\n/dev/zero,x\nCON,x\nnul.png,x\n")
in_table(
    "table_of_long_names", lambda home: b"a" * 5000 + b".png,x\n" + b"d/" * 3000 + b"e.png,x\n"
)
in_table("table_of_control_characters", lambda home: b'a\0.png,x\n"b\n.png",x\n\x1b[2J.png,x\n')
in_table(
    "table_of_other_bytes", lambda home: b"\xff\xfe.png,x\n\xed\xa0\x80.png,x\nbomb.png,\xff\n"
)
in_table("table_with_vast_field", lambda home: b"good.png," + b"x" * 2**24 + b"\n")
in_table("table_with_open_quote", lambda home: b'"' + b"good.png,x\n" * 10**5)
in_table("table_of_empty_rows", lambda home: b",\n" * 300_000)
in_table("table_of_commas", lambda home: b"," * 10**6 + b"\n")


# ---- annotations

in_json("annotation_that_climbs", "../secret.png")
in_json("annotation_whose_folder_climbs", "secret.png", filepath="..")
in_json("annotation_of_an_absolute_path", "/etc/passwd")
in_json("annotation_of_a_device", "/dev/zero")
in_json("annotation_with_nul", "good.png\0.png")
in_json("annotation_with_a_lone_surrogate", "\ud800.png")
in_json("annotation_of_a_long_name", "a" * 10**6)
in_json("annotation_of_lists", ["good.png"])
in_json("annotation_with_vast_caption", "missing.png", sentences=[{"raw": "x" * 2**24}])
in_json("annotation_of_an_unknown_part", "secret.png", split="train/../test")


def _annotation(name: str, text: Callable[[], bytes]) -> None:
    def build(home: Path) -> str:
        _good(home)
        (home / "dataset_coco.json").write_bytes(text())
        return f"coco:{home}"

    build.__name__ = name
    bomb(build)


_annotation("annotations_nested_without_end", lambda: b"[" * 10**6)
_annotation("annotations_nested_in_objects", lambda: b'{"images":' * 10**5)
_annotation("annotations_with_vast_number", lambda: b'{"images": [' + b"9" * 10**6 + b"]}")
_annotation("annotations_in_utf16", lambda: '{"images": []}'.encode("utf-16"))
_annotation("annotations_of_nothing", lambda: b'{"images": [' + b"{}," * 10**5 + b"{}]}")


# ---- tars

CAPTIONED = member("bomb.txt", b"a caption")
in_shard("member_that_climbs", lambda: member("../bomb.png", PNG) + member("../bomb.txt", b"x"))
in_shard("member_of_an_absolute_path",
         lambda: member("/tmp/bomb.png", PNG) + member("/tmp/bomb.txt", b"x"))  # fmt: skip
in_shard("member_whose_prefix_climbs",
         lambda: tar_header(b"bomb.png", octal(len(PNG)), prefix=b"../..") + PNG
         + bytes(-len(PNG) % 512))  # fmt: skip
in_shard("member_renamed_to_climb",
         lambda: pax(b"21 path=../../bomb.png\n") + member("x.png", PNG))  # fmt: skip
in_shard("member_that_is_a_link", lambda: tar_header(b"bomb.png", octal(0), b"2") + CAPTIONED)
in_shard("member_that_is_a_hard_link", lambda: tar_header(b"bomb.png", octal(0), b"1") + CAPTIONED)
in_shard("member_that_is_a_device", lambda: tar_header(b"bomb.png", octal(0), b"3") + CAPTIONED)
in_shard("member_that_is_a_pipe", lambda: tar_header(b"bomb.png", octal(0), b"6") + CAPTIONED)
in_shard("member_that_is_sparse", lambda: tar_header(b"bomb.png", octal(0), b"S") + CAPTIONED)
in_shard("member_sparse_by_pax",
         lambda: pax(b"22 GNU.sparse.major=1\n") + member("bomb.png", PNG) + CAPTIONED)  # fmt: skip
in_shard("member_of_negative_size", lambda: tar_header(b"bomb.png", b"\xff" * 12) + CAPTIONED)
in_shard("member_of_endless_size", lambda: tar_header(b"bomb.png", b"\x80" + b"\xff" * 11) + PNG)
in_shard("member_of_negative_size_by_pax",
         lambda: pax(b"14 size=-1024\n") + member("bomb.png", PNG) + CAPTIONED)  # fmt: skip
in_shard("member_of_vast_size_by_pax",
         lambda: pax(b"30 size=999999999999999999999\n") + member("bomb.png", PNG)
         + CAPTIONED)  # fmt: skip
in_shard("member_of_a_gigabyte_name", lambda: tar_header(b"x", octal(2**30), b"L") + CAPTIONED)
in_shard("member_of_long_name",
         lambda: tar_header(b"x", octal(5000), b"L") + b"a" * 5000 + bytes(120)
         + member("bomb.png", PNG) + CAPTIONED)  # fmt: skip
in_shard("member_behind_a_thousand_headers", lambda: pax(b"13 path=a.txt\n") * 5000 + CAPTIONED)
in_shard("member_with_digits_without_end", lambda: pax(b"1" * 60_000) + CAPTIONED)
in_shard("member_with_control_characters",
         lambda: member(b"bo\x1b[2Jmb.png", PNG) + member(b"bo\x1b[2Jmb.txt", b"x"))  # fmt: skip
in_shard("member_named_in_other_bytes",
         lambda: member(b"bomb\xff.png", PNG) + member(b"bomb\xff.txt", b"x"))  # fmt: skip
in_shard("member_twice", lambda: member("bomb.png", PNG) * 2 + CAPTIONED)
in_shard("member_that_is_a_pickle",
         lambda: member("bomb.pyd", b"cos\nsystem\n(S'touch pwned'\ntR.") + CAPTIONED)  # fmt: skip
in_shard("member_of_nested_json",
         lambda: member("bomb.png", PNG) + member("bomb.json", b"[" * 10**5))  # fmt: skip
in_shard("member_of_vast_class_number",
         lambda: member("bomb.png", PNG) + member("bomb.cls", b"9" * 10**5))  # fmt: skip
in_shard("member_of_vast_caption",
         lambda: member("bomb.png", PNG) + member("bomb.txt", b"x" * 2**22))  # fmt: skip
in_shard("member_that_is_a_pixel_bomb",
         lambda: member("bomb.png", _png(10**5, 10**5, b"")) + CAPTIONED)  # fmt: skip


@bomb
def shard_that_is_compressed(home: Path) -> str:
    (home / "a.tar").write_bytes(gzip.compress(bytes(2**26)))
    return f"shards:{home}/a.tar"


@bomb
def shard_of_a_terabyte(home: Path) -> str:
    with (home / "a.tar").open("wb") as file:
        file.write(tar_header(b"bomb.png", b"\x80" + (2**39).to_bytes(11)))
        file.truncate(2**40)
    return f"shards:{home}/a.tar"


@bomb
def shard_that_is_a_device(home: Path) -> str:
    (home / "a.tar").symlink_to("/dev/zero")
    return f"shards:{home}/a.tar"
