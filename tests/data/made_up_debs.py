"""Small Debian packages made up for tests, and an apt-get that does what a test says."""

import gzip
import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import zstandard

from towers.data import sources

ROOT = "usr/share/toys"
FILES = {
    f"{ROOT}/a/ball.svg": b"<svg/>",
    f"{ROOT}/bear.txt": b"A bear.\n" * 500,
    f"{ROOT}/readme": b"an ending that does not count",
    "usr/share/doc/toys/c.txt": b"another folder",
}
KEPT = {"a/ball.svg": b"<svg/>", "bear.txt": b"A bear.\n" * 500}
ENDINGS = (".svg", ".txt")

COMPRESS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def deb(path: Path, files: dict[str, bytes], ending: str = ".xz", odd=()) -> Path:
    """Write a package.

    Args:
        path: of the .deb.
        files: path inside the package -> content.
        ending: of data.tar, which says how it is compressed.
        odd: further members of data.tar, as `tarfile.TarInfo`, put before the files.
    """
    members = io.BytesIO()
    with tarfile.open(fileobj=members, mode="w") as archive:
        for info in odd:
            archive.addfile(info, io.BytesIO(b"odd" if info.isreg() else b""))
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(b""),
        f"data.tar{ending}": COMPRESS[ending](members.getvalue()),
    }
    path.write_bytes(b"!<arch>\n" + b"".join(_part(*part) for part in parts.items()))
    return path


def toy(tmp_path: Path, kept: dict[str, bytes] = KEPT, **changes) -> sources.Source:
    """A source whose pin is that of some files."""
    model = tmp_path / "model"
    for name, content in kept.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    values = {
        "name": "toy", "kind": "deb", "package": "toy-set", "version": "1.5", "licence": "CC0",
        "root": ROOT, "endings": ENDINGS, "sha256": sources.tree_digest(model, ENDINGS),
    }  # fmt: skip
    return sources.Source(**values | changes)


def _part(name: str, content: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)


def odd(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """A member that an honest package would not hold."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 3 if kind == tarfile.REGTYPE else 0
    return info


def fake_apt(folder: Path, download: str) -> Path:
    """Put an apt-get into a folder; every call is written to `calls` beside it.

    Args:
        folder: for PATH.
        download: shell commands that `apt-get download` runs.

    Returns:
        The file with the calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    calls = folder / "calls"
    script = folder / "apt-get"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\ncase "$*" in\n*--print-uris*|*update*) exit 0;;\n'
        f"*download*) {download};;\nesac\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return calls


def path_with(folder: Path) -> str:
    """PATH with a folder before the shell's own tools."""
    return f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin"
