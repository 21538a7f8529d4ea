"""Hostile data, made deterministically, and the process that feeds it to the loaders.

Run as a program it works through one family of cases under a memory limit and prints one JSON
line a case, so that a crash or a hang shows which case it was.
"""

import io
import json
import os
import random
import resource
import struct
import sys
import tarfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from towers.data import custom
from towers.data.errors import BadImage, DataError
from towers.data.images import open_image

SPARE_BYTES = 2**30
"""Address space that a worker may add to what it has after its imports."""


def picture(size=(24, 16), seed=0) -> Image.Image:
    noise = random.Random(seed)
    return Image.frombytes("RGB", size, noise.randbytes(3 * size[0] * size[1]))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tar_header(name: bytes, size: bytes, kind: bytes = b"0", prefix: bytes = b"") -> bytes:
    """A header with a right checksum around whatever fields it is given."""
    fields = bytearray(512)
    for at, field in ((0, name[:100]), (124, size), (156, kind), (257, b"ustar\x0000"),
                      (345, prefix)):  # fmt: skip
        fields[at : at + len(field)] = field
    return repaired_tar(bytes(fields))


def repaired_tar(header: bytes) -> bytes:
    total = sum(header[:148]) + sum(header[156:512]) + 8 * 32
    return header[:148] + b"%06o\0 " % total + header[156:]


def octal(number: int) -> bytes:
    return b"%011o\0" % number


def member(name: str | bytes, body: bytes) -> bytes:
    name = name.encode() if isinstance(name, str) else name
    return tar_header(name, octal(len(body))) + body + bytes(-len(body) % 512)


def pax(records: bytes) -> bytes:
    return tar_header(b"pax", octal(len(records)), b"x") + records + bytes(-len(records) % 512)


def good_sample(name: str = "good") -> bytes:
    return member(f"{name}.png", encoded(picture(), "PNG")) + member(f"{name}.txt", b"a caption")


# ---- mutations

INTERESTING = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xd9"]


def mutated(data: bytes, noise: random.Random) -> bytes:
    """The data with one to three small or large wounds."""
    body = bytearray(data)
    for _ in range(noise.randint(1, 3)):
        at = noise.randrange(len(body) + 1)
        span = noise.choice([1, 2, 4, 16, 64, 600])
        wound = noise.choice(["flip", "cut", "delete", "zero", "repeat", "insert", "value"])
        if wound == "flip" and at < len(body):
            body[at] ^= 1 << noise.randrange(8)
        elif wound == "cut":
            del body[max(at, 1) :]
        elif wound == "delete":
            del body[at : at + span]
        elif wound == "zero":
            body[at : at + span] = bytes(len(body[at : at + span]))
        elif wound == "repeat":
            body[at:at] = body[at : at + span]
        elif wound == "insert":
            body[at:at] = noise.randbytes(span)
        else:
            value = noise.choice(INTERESTING)
            body[at : at + len(value)] = value
    return bytes(body)


def with_png_checksums(data: bytes) -> bytes:
    """The wounds kept, the checksums made right again, so that they reach the decoder."""
    out, position = bytearray(data), 8
    while position + 12 <= len(out):
        end = position + 8 + int.from_bytes(out[position : position + 4])
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(out)


def with_tar_checksums(data: bytes) -> bytes:
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    return b"".join(
        repaired_tar(block) if len(block) == 512 and block[257:262] == b"ustar" else block
        for block in blocks
    )


def image_seeds() -> dict[str, bytes]:
    image, frames = picture(), [picture(seed=seed) for seed in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    moving = {"save_all": True, "append_images": frames[1:]}
    return {
        "png": encoded(image, "PNG", exif=exif),
        "png palette": encoded(image.convert("P"), "PNG", transparency=3),
        "png 16 bit": encoded(image.convert("I;16"), "PNG"),
        "png moving": encoded(frames[0], "PNG", **moving),
        "jpeg": encoded(image, "JPEG", exif=exif),
        "jpeg progressive": encoded(image, "JPEG", progressive=True),
        "jpeg cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "gif": encoded(image, "GIF", comment=b"made up"),
        "gif moving": encoded(frames[0], "GIF", **moving),
        "webp": encoded(image, "WEBP", exif=exif),
        "webp lossless": encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "webp moving": encoded(frames[0], "WEBP", **moving),
        "bmp": encoded(image, "BMP"),
        "bmp palette": encoded(image.convert("P"), "BMP"),
    }


def mutate_images(folder: Path, count: int) -> Iterator[dict]:
    """Mutants opened one by one; refusal is fine, any other exception is a crash."""
    for kind, seed in image_seeds().items():
        for number in range(count):
            noise = random.Random(f"{kind} {number}")
            data = mutated(seed, noise)
            if kind.startswith("png") and number % 2:
                data = with_png_checksums(data)
            yield measured(f"{kind} {number}", lambda data=data: opened(data))


def mutate_folder(folder: Path, count: int) -> Iterator[dict]:
    """All mutants of all types in one folder: each is kept or counted."""
    total = 0
    for kind, seed in image_seeds().items():
        for number in range(count):
            name = f"{kind} {number:03d}.{kind.split()[0]}"
            (folder / name).write_bytes(mutated(seed, random.Random(f"folder {kind} {number}")))
            (folder / name).with_suffix(".txt").write_text("a caption")
            total += 1

    def load() -> str:
        loaded = custom.load(f"folder:{folder}", max_bad=1)
        assert loaded.report.found == total
        for index in range(len(loaded)):
            assert max(loaded.image(index).size) <= 256
        return f"kept {len(loaded)} of {total}"

    yield measured("folder", load)


def mutate_tars(folder: Path, count: int) -> Iterator[dict]:
    """A lost sample is never silent."""
    samples = 8
    plain = b"".join(good_sample(f"{number:02d}") for number in range(samples)) + bytes(1024)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(samples):
            for ending, body in (("png", encoded(picture(), "PNG")), ("txt", b"a caption")):
                info = tarfile.TarInfo("é" * 70 + f"{number}.{ending}")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    for number in range(count):
        noise = random.Random(f"tar {number}")
        data = mutated((plain, buffer.getvalue())[number % 2], noise)
        data = with_tar_checksums(data) if noise.random() < 0.5 else data
        shard = folder / f"{number}.tar"
        shard.write_bytes(data)
        yield measured(f"tar {number}", lambda shard=shard: loaded_shard(shard, samples))


def loaded_shard(shard: Path, samples: int) -> str:
    try:
        loaded = custom.load(f"shards:{shard}", max_bad=1)
    except DataError as error:
        return in_one_line(error, "refused")
    assert loaded.report.kept == len(loaded)
    assert len(loaded) >= samples or loaded.report.dropped or loaded.report.mended
    for index in range(len(loaded)):
        loaded.image(index)
    return f"kept {len(loaded)}"


def mutate_texts(folder: Path, count: int) -> Iterator[dict]:
    """Mutants of captions.csv and of the two JSON layouts over ten sound images."""
    names = [f"{number}.png" for number in range(10)]
    table = "image,caption,language\n" + "".join(
        f'{n},"a, caption é",en\n{n},b,fr\n' for n in names
    )
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    notes = [{"image_id": number, "caption": "a\ncaption"} for number in range(10)]
    split = [{"filename": name, "split": "test", "sentences": [{"raw": "x é"}]} for name in names]
    texts = {
        "captions.csv": ("folder", table),
        "captions_val.json": ("coco", json.dumps({"images": images, "annotations": notes})),
        "dataset_flickr30k.json": ("flickr30k", json.dumps({"images": split}, ensure_ascii=False)),
        "results.token": ("flickr30k", "".join(f"{name}#0\ta caption\n" for name in names)),
    }
    for file, (layout, text) in texts.items():
        home = folder / file.replace(".", "_")
        home.mkdir()
        for seed, name in enumerate(names):
            (home / name).write_bytes(encoded(picture(seed=seed), "PNG"))
        for number in range(count):
            (home / file).write_bytes(mutated(text.encode(), random.Random(f"{file} {number}")))
            target = f"{layout}:{home}"
            yield measured(f"{file} {number}", lambda target=target: accepted(target, len(names)))


def accepted(target: str, most: int) -> str:
    try:
        loaded = custom.load(target, max_bad=1)
    except DataError as error:
        return in_one_line(error, "refused")
    assert len(loaded) <= most
    assert all(text and "\n" not in text and text.encode() for item in loaded
               for texts in item.captions.values() for text in texts)  # fmt: skip
    return f"kept {len(loaded)}"


def opened(data: bytes) -> str:
    try:
        image = open_image(data)
    except BadImage as error:
        return in_one_line(error, error.reason)
    assert image.mode == "RGB"
    return "read"


def in_one_line(error: Exception, outcome: str) -> str:
    assert "\n" not in str(error)
    return outcome


# ---- measuring


def measured(name: str, action: Callable[[], str]) -> dict:
    """One case: what came of it, in which time and with how much more memory."""
    before = _memory("VmRSS")
    _forget_peak()
    start = time.perf_counter()
    try:
        outcome = action()
    except BaseException as error:  # the finding itself
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"CRASH {type(error).__name__}: {error} ({where.name}: {where.line})"[:300]
    return {
        "name": name,
        "outcome": outcome,
        "seconds": time.perf_counter() - start,
        "grown": max(0, _memory("VmHWM") - before),
    }


def _memory(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return (
        int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) * 1024
    )


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(family: str, folder: Path, count: int) -> None:
    from tests.faults.bombs import explode

    families = {
        "images": mutate_images,
        "folder": mutate_folder,
        "tars": mutate_tars,
        "texts": mutate_texts,
        "bombs": explode,
    }
    os.environ["TOWERS_HOME"] = str(folder / ".home")
    warm = folder / ".warm.tar"
    warm.write_bytes(good_sample())
    custom.load(f"shards:{warm}").image(0)
    limit = _memory("VmSize") + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for result in families[family](folder, count):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
