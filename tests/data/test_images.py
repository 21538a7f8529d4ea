"""Reading images: right pixels from every mode, one short reason for every refusal."""

import errno
import io
import os
import pickle
import socket
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from towers.data.containers import MAX_PARTS, orientation, pixels_only
from towers.data.errors import BadImage, DataError
from towers.data.images import image_type, on_white, open_image, shrink
from towers.data.shards import Member
from towers.data.verdicts import Verdicts, check

FORMATS = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "GIF": {},
    "WEBP": {"lossless": True},
    "BMP": {},
}


def picture(height=24, width=36) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.stack([rows * 10, columns * 7, (rows + columns) * 4], -1).astype(np.uint8)
    )


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def reason_of(source, **options) -> str:
    with pytest.raises(BadImage) as caught:
        open_image(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def framing_of(kind: str, data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        pixels_only(kind, data, 64e6)
    return caught.value.reason


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_come_back(kind):
    data = encoded(picture(), kind, **FORMATS[kind])
    error = np.abs(np.asarray(open_image(data)).astype(int) - np.asarray(picture()))
    # exact where lossless; JPEG and GIF's 256 colours lose a few levels on a smooth picture
    assert error.mean() <= {"JPEG": 3, "GIF": 12}.get(kind, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_type_comes_from_the_content(kind, tmp_path):
    file = tmp_path / "wrong.txt"
    file.write_bytes(encoded(picture(), kind))
    assert image_type(file.read_bytes()) == kind
    assert open_image(file).size == open_image(str(file)).size == (36, 24)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_is_an_error(kind):
    data = encoded(picture(), kind, **FORMATS[kind])
    for length in range(len(data) - 1):
        assert reason_of(data[:length]) in {"empty", "unknown type", "truncated", "damaged"}


def test_jpeg_without_its_end_is_truncated_even_if_all_rows_are_there():
    data = encoded(picture(), "JPEG")
    assert data.endswith(b"\xff\xd9")
    assert framing_of("JPEG", data[:-2]) == reason_of(data[:-2]) == "truncated"


def test_what_follows_the_end_of_a_jpeg_is_ignored():
    data = encoded(picture(), "JPEG")
    trailer = b"ftyp" + b"\xff\xda\x00\x02\xff\x00" * 500  # as phones append a film
    assert np.array_equal(np.asarray(open_image(data + trailer)), np.asarray(open_image(data)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    turn = {  # what a viewer must do, as array operations
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a),
    }[orientation]
    data = encoded(Image.fromarray(upright), "PNG", exif=exif)
    assert np.array_equal(np.asarray(open_image(data))[..., 0], turn(upright))


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (4, 4), (200, 0, 100, 128))
    blended = round(200 * 128 / 255 + 255 * 127 / 255)
    for kind in ("PNG", "WEBP"):
        pixel = open_image(encoded(half, kind, lossless=True)).getpixel((0, 0))
        assert abs(pixel[0] - blended) <= 1  # integer rounding of the blend
    clear = Image.new("P", (4, 4), 3)
    clear.putpalette([9, 9, 9] * 256)
    for kind in ("PNG", "GIF"):
        assert open_image(encoded(clear, kind, transparency=3)).getpixel((0, 0)) == (255,) * 3
    marked = encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert open_image(marked).getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA", "RGB"])
def test_every_mode_becomes_rgb(mode):
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    opened = open_image(encoded(white, kind))
    assert opened.mode == "RGB"
    assert np.asarray(opened).min() >= 250  # JPEG may miss white by a level or two


def test_sixteen_bits_keep_their_brightness():
    for level in (0, 1000, 40_000, 65_535):
        image = Image.fromarray(np.full((4, 4), level, np.uint16))
        assert open_image(encoded(image, "PNG")).getpixel((0, 0)) == (level >> 8,) * 3


def png_of(colour_type: int, depth: int, row: bytes, width: int, clear: bytes) -> bytes:
    """One row of pixels in a PNG with a transparent colour, as Pillow cannot write it."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", clear)]
    parts += [chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("clear", [0, 513, 40_000, 65_535])
def test_only_the_transparent_level_of_sixteen_bit_grey_becomes_white(clear):
    levels = np.array([0, 513, 514, 40_000, 40_001, 65_535], ">u2")
    shown = np.asarray(open_image(png_of(0, 16, levels.tobytes(), 6, struct.pack(">H", clear))))
    assert shown[0].tolist() == [
        [255 if level == clear else level >> 8] * 3 for level in levels.tolist()
    ]


def test_the_transparent_colour_of_sixteen_bits_becomes_white():
    colours = np.array([[1000, 2000, 3000], [1300, 2000, 3000], [0, 0, 0]], ">u2")
    shown = np.asarray(open_image(png_of(2, 16, colours.tobytes(), 3, colours[0].tobytes())))
    assert shown[0].tolist() == [[255] * 3, [5, 7, 11], [0, 0, 0]]  # 1300 >> 8 is 5


@pytest.mark.parametrize(("depth", "row"), [(2, 0b00_01_10_11), (4, 0x07)])
def test_a_transparent_level_of_few_bits_becomes_white(depth, row):
    greatest = 2**depth - 1
    levels = [row >> shift & greatest for shift in range(8 - depth, -1, -depth)]
    for clear in levels:
        data = png_of(0, depth, bytes([row]), len(levels), struct.pack(">H", clear))
        assert np.asarray(open_image(data))[0, :, 0].tolist() == [
            255 if level == clear else level * 255 // greatest for level in levels
        ]


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"save_all": True, "append_images": frames[1:]}
        data = encoded(frames[0], kind, **options, **({"lossless": True} if kind == "WEBP" else {}))
        assert open_image(data).getpixel((4, 4)) == (255, 0, 0), kind


@pytest.mark.parametrize("kind", FORMATS)
def test_pixel_limit_counts_width_times_height(kind):
    data = encoded(picture(24, 36), kind)
    assert reason_of(data, max_pixels=24 * 36 - 1) == "too many pixels"
    assert open_image(data, max_pixels=24 * 36).size == (36, 24)


def test_a_longer_side_than_any_jpeg_has_is_refused():
    longest = encoded(Image.new("L", (65_535, 1)), "PNG")
    assert open_image(longest).size == (65_535, 1)
    assert reason_of(encoded(Image.new("L", (1, 65_536)), "PNG")) == "too many pixels"


@pytest.mark.parametrize("kind", FORMATS)
def test_size_bounds_the_longest_side(kind):
    data = encoded(picture(60, 200), kind)
    assert open_image(data, size=50).size == (50, 15)
    assert open_image(data, size=300).size == (200, 60)


def test_shrinking_a_jpeg_early_changes_little():
    data = encoded(picture(600, 800).resize((1600, 1200)), "JPEG", quality=95)
    late = np.asarray(shrink(open_image(data), 100)).astype(int)
    early = np.asarray(open_image(data, size=100)).astype(int)
    assert np.abs(early - late).mean() < 2  # of 255: the decoder's averaging against bicubic


def test_thin_images_keep_one_pixel():
    assert shrink(Image.new("RGB", (5000, 1)), 256).size == (256, 1)


def test_wrong_types_are_refused():
    tiff = encoded(picture(), "TIFF")
    for data in (tiff, b"<svg/>", b"%PDF-1.4", b"MZ" + b"\0" * 99, b"\x89PNG", b"BMnot a bitmap"):
        assert reason_of(data) == "unknown type"
    assert reason_of(b"") == "empty"


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "folder.png", "device.png"):
        assert reason_of(tmp_path / name) == "not a file"
    assert reason_of(tmp_path / "none.png") == reason_of(tmp_path / "nul\0.png") == "missing"


def test_paths_that_lead_to_no_file_are_missing(tmp_path):
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "file").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(tmp_path)  # names of sockets are short
        server.bind("socket.png")
        os.chdir(before)
        for name in ("circle.png", "file/below.png", "l" * 300 + ".png", "socket.png"):
            assert reason_of(tmp_path / name) == "missing"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_disk_that_fails_is_no_bad_picture(tmp_path, monkeypatch, number):
    path, tar = tmp_path / "a.png", tmp_path / "a.tar"
    for each in (path, tar):
        each.write_bytes(encoded(picture(), "PNG"))
    status = path.stat()

    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        patch.setattr(Path, "open", failing)
        patch.setattr(Path, "stat", lambda _: status)
        for read in (partial(open_image, path), Member(tar, 0, 9), partial(check, path)):
            with pytest.raises(OSError, match=os.strerror(number)) as caught:
                read()
            assert not isinstance(caught.value, BadImage)
        patch.setattr(Path, "stat", failing)
        with pytest.raises(OSError, match=os.strerror(number)):
            Verdicts("toys").of(path)


def test_large_files_are_refused_unread(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.write(encoded(picture(), "PNG"))
        file.truncate(2**40)
    assert reason_of(tmp_path / "sparse.png") == "too many bytes"


def test_png_checksums_are_checked():
    data = bytearray(encoded(picture(), "PNG"))
    for at in (data.index(b"IDAT") + 20, data.index(b"IEND") + 4, data.index(b"IHDR") + 17):
        data[at] ^= 1
        assert framing_of("PNG", bytes(data)) == reason_of(bytes(data)) == "damaged"
        data[at] ^= 1
    assert open_image(bytes(data)).size == (36, 24)


def test_png_text_bombs_are_refused():
    zeros, plain = zlib.compress(b"\0" * 2**24), encoded(picture(), "PNG")
    for bomb in (
        chunk(b"zTXt", b"Comment\0\0" + zeros),
        chunk(b"iTXt", b"Comment\0\1\0en\0Comment\0" + zeros),
        chunk(b"iCCP", b"name\0\0" + zeros),
    ):
        assert len(bomb) < 2**15
        assert reason_of(plain[:33] + bomb + plain[33:]) == "metadata bomb"
        assert reason_of(plain[:-12] + bomb + plain[-12:]) == "metadata bomb"


def test_harmless_text_is_ignored():
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "a blackbird", zip=True)
    about.add_itxt("Title", "Merle", "fr", "titre", zip=True)
    data = encoded(picture(), "PNG", pnginfo=about, icc_profile=b"not a profile")
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(picture()))


def bloated(kind: str) -> bytes:
    """A small picture with megabytes of metadata of every sort that its type knows."""
    entries = b"".join(struct.pack(">HHII", tag, 7, 2**22, 8) for tag in range(1, 60_000))
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 59_999) + entries + bytes(2**20)
    if kind in ("PNG", "WEBP"):
        return encoded(picture(), kind, exif=exif)
    whole = encoded(picture(), kind)
    if kind == "GIF":
        at = 13 + (3 << (whole[10] & 7) + 1)
        return whole[:at] + b"\x21\xfe" + (b"\xff" + b"c" * 255) * 8000 + b"\0" + whole[at:]
    parts = (exif[at : at + 65_000] for at in range(6, len(exif), 65_000))
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(part)) + b"Exif\0\0" + part
                        for part in parts)  # fmt: skip
    return whole[:2] + segments + b"\xff\xfe\xff\xffcomment" + bytes(65_526) + whole[2:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_metadata_never_reaches_the_decoder(kind):
    data = bloated(kind)
    reduced, turn = pixels_only(kind, data, 1e6)
    assert len(data) > 10**6
    assert (len(reduced) <= len(encoded(picture(), kind)) + 18, turn) == (True, 1)  # 18: VP8X
    assert np.array_equal(open_image(data), open_image(encoded(picture(), kind)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_from_both_byte_orders(order):
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    exif = head + struct.pack(order + "IH", 8, 1) + entry
    assert orientation(exif) == orientation(b"Exif\0\0" + exif) == 6
    for cut in range(len(exif)):
        assert orientation(exif[:cut]) == 1
    assert orientation(exif.replace(struct.pack(order + "HH", 6, 0), b"\x99" * 4)) == 1


def test_too_many_parts_are_refused():
    plain = encoded(picture(), "PNG")
    jpeg = encoded(picture(), "JPEG")
    empty = b"\xff\xe5\0\2" * (MAX_PARTS + 1)
    assert reason_of(plain[:33] + chunk(b"juNk", b"") * MAX_PARTS + plain[33:]) == "too many parts"
    assert reason_of(jpeg[:2] + empty + jpeg[2:]) == "too many parts"


def test_run_length_bitmaps_are_not_read():
    data = bytearray(encoded(picture().convert("P"), "BMP"))
    data[30] = 1
    assert reason_of(bytes(data)) == "unknown type"


def test_jpeg_scan_bombs_are_refused():
    data = encoded(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert reason_of(data[:last] + data[last:-2] * 100 + b"\xff\xd9") == "too many scans"


def test_webp_canvas_is_checked_before_decoding():
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + b"\xff\xff\xff" + b"\xff\x00\x00"
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    assert framing_of("WEBP", data) == reason_of(data) == "too many pixels"


def test_webp_cut_between_two_chunks_is_truncated():
    data = encoded(picture(), "WEBP", exif=Image.Exif())
    data = data + b"EXIF\2\0\0\0ab"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert open_image(data).size == (36, 24)
    assert reason_of(data[:-10]) == "truncated"


def test_bitmaps_with_the_oldest_header_are_limited_too():
    header = struct.pack("<IHHHH", 12, 8001, 8001, 1, 24)
    data = b"BM" + struct.pack("<IHHI", 26, 0, 0, 26) + header
    assert reason_of(data + bytes(99)) == "too many pixels"


def test_refusals_cross_process_borders():
    with pytest.raises(BadImage) as caught:
        open_image(b"GIF89a")
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, DataError)
    assert (again.reason, str(again)) == (caught.value.reason, str(caught.value))


def test_lack_of_memory_is_no_damage(monkeypatch, tmp_path):
    """It says nothing of the file, which is looked at again the next time."""
    file = tmp_path / "a.png"
    file.write_bytes(encoded(picture(), "PNG"))

    def short(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("towers.data.images.pixels_only", short)
        assert reason_of(file) == "out of memory"
        verdicts = Verdicts("files")
        assert verdicts.of(file).reason == "out of memory"
        verdicts.save()
    assert Verdicts("files").of(file).key


def test_on_white_leaves_opaque_rgb_alone():
    image = picture()
    assert on_white(image) is image
