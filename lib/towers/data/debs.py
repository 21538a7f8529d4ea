"""Debian packages without root: got by apt-get or from a folder, unpacked by us.

Nothing here is trusted, not even the order of an archive: only files below one folder, with known
endings, are copied out. Links, devices, and paths that lead elsewhere are passed by, so that no
archive writes outside the folder that it is given.
"""

import lzma
import os
import shutil
import subprocess
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import zstandard
from debian.arfile import ArError, ArFile, ArMember

from towers.data.errors import DataError
from towers.files import cache_home, locked, user_path
from towers.progress import tqdm

MAX_FILE = 128 * 2**20
"""Largest file that is unpacked, in bytes."""
MAX_TOTAL = 2**30
"""Most that is unpacked from one package, in bytes; the stamps hold 230 MB."""
MAX_MEMBERS = 200_000
FOLDER = "TOWERS_DEBS"
"""Names the folder of .deb files for machines that apt-get does not serve."""
MIRROR = "TOWERS_DEBIAN_MIRROR"
"""Names a Debian mirror, for machines whose own release has other versions; else `ARCHIVE`."""
ARCHIVE = "http://deb.debian.org/debian"
RELEASE = "deb [trusted=yes] {mirror} bookworm main"
"""The release that keeps the pinned versions. Whoever serves them is not trusted: the files count
by their pinned hashes alone."""
PATIENCE = 1800.0
"""Seconds that one apt-get may take."""

_DAMAGE = (ArError, tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError)


def unpack(deb: Path, root: str, endings: tuple[str, ...], target: Path) -> None:
    """Copy a package's files below one of its folders.

    Args:
        deb: a package, its data compressed with xz, zstd, gzip or bzip2.
        root: the folder inside the package, such as "usr/share/fonts".
        endings: of the files that are copied.
        target: an empty folder, which afterwards holds them under the same relative paths.

    Raises:
        DataError: the package is damaged or cut off, or larger than any that we know.
    """
    try:
        with deb.open("rb") as file:
            parts = [part for part in ArFile(fileobj=file) if part.name.startswith("data.tar")]
            if len(parts) != 1:
                raise DataError(f"expected one data.tar in {deb.name}, got {len(parts)}")
            parts[0].seek(parts[0].size - 1)
            if not parts[0].read(1):
                raise DataError(f"{deb.name} is cut off")
            parts[0].seek(0)
            with tarfile.open(fileobj=_plain(parts[0]), mode="r|*") as archive:
                copy_members(archive, root, endings, target)
    except DataError:
        raise
    except (*_DAMAGE, OSError, ValueError) as error:
        raise DataError(f"{deb.name} is damaged or cut off ({_line(error)})") from None


def _plain(part: ArMember) -> BinaryIO:
    """The part for `tarfile`, which knows every compression of .deb files except zstd."""
    if part.name.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(part)
    return part


def copy_members(
    archive: tarfile.TarFile, root: str, endings: tuple[str, ...], target: Path
) -> None:
    """Copy an opened archive's files below one of its folders.

    Args:
        archive: of any layout; links and devices in it are passed by.
        root: the folder inside it.
        endings: of the files that are copied.
        target: an empty folder.

    Raises:
        DataError: the archive is cut off, or larger than any that we know.
    """
    total = 0
    members = tqdm(archive, desc=f"unpacking {root}", unit=" files", disable=None, leave=False)
    for number, member in enumerate(members):
        path = inside(member.name, root)
        if number > MAX_MEMBERS:
            raise DataError(f"expected at most {MAX_MEMBERS} files, the package holds more")
        if path is None or not member.isreg() or not path.name.endswith(endings):
            continue
        total += member.size
        if member.size > MAX_FILE or total > MAX_TOTAL:
            raise DataError(f"expected less than any version holds, {path} makes it larger")
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        with archive.extractfile(member) as content, copy.open("xb") as file:
            shutil.copyfileobj(content, file)
        if copy.stat().st_size != member.size:
            raise DataError(f"expected {member.size} bytes of {path}, the package is cut off")


def inside(name: str, root: str) -> PurePosixPath | None:
    """A member's path relative to a folder, or None if it does not lie in there."""
    path = PurePosixPath(name.removeprefix("./"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.is_relative_to(root):
        return None
    return path.relative_to(root)


def from_machine(package: str, scratch: Path) -> list[Path]:
    """`apt-get download` as the machine is set up; with lists of our own where it has none.

    Args:
        package: its name.
        scratch: a folder that the package is written to.

    Raises:
        DataError: there is no apt-get, or it does not get the package.
    """
    try:
        return _download(package, scratch, [])
    except DataError:
        return _with_own_lists("machine", [], package, scratch)


def from_release(package: str, scratch: Path) -> list[Path]:
    """`apt-get download` from the release with the pinned versions, whatever the machine's own is.

    Args:
        package: its name.
        scratch: a folder that the package is written to.

    Raises:
        DataError: there is no apt-get, or it does not get the package.
    """
    mirror = os.environ.get(MIRROR) or ARCHIVE
    listed = scratch / "sources.list"
    listed.write_text(RELEASE.format(mirror=mirror) + "\n")
    only = [f"-oDir::Etc::sourcelist={listed}", "-oDir::Etc::sourceparts=-"]
    return _with_own_lists("release", only, package, scratch)


def from_folder(package: str, scratch: Path) -> list[Path]:
    """The package's .deb files in the folder that `TOWERS_DEBS` names, the latest name first.

    Args:
        package: its name.
        scratch: not used.

    Raises:
        DataError: no folder is named, or it holds no such file.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        raise DataError(f"{FOLDER} is not set")
    found = sorted(user_path(folder).glob(f"{package}_*.deb"), reverse=True)
    if not found:
        raise DataError(f"no {package}_*.deb in {folder}")
    return found


def _with_own_lists(name: str, options: list[str], package: str, scratch: Path) -> list[Path]:
    """Update lists in our cache, where no root is needed, and download by them."""
    state = cache_home() / "apt" / name
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    options = [
        *options,
        f"-oDir::State::lists={state}/lists",
        f"-oDir::Cache={state}/cache",
        "-oAcquire::Languages=none",
    ]
    if os.name == "posix" and os.geteuid() == 0:  # apt's own user may not write to our cache
        options.append("-oAPT::Sandbox::User=root")
    with locked(state):
        _run(["update"], options, scratch)
        return _download(package, scratch, options)


def _download(package: str, scratch: Path, options: list[str]) -> list[Path]:
    for old in scratch.glob("*.deb"):
        old.unlink()
    output = _run(["--print-uris", "download", package], options, scratch)
    sizes = [part for part in output.split() if part.isdigit()]
    _run(["download", package], options, scratch, package, int(sizes[-1]) if sizes else None)
    found = sorted(scratch.glob("*.deb"))
    if not found:
        raise DataError(f"apt-get gave no file for {package}")
    return found


def _run(
    words: list[str], options: list[str], scratch: Path, label: str = "", size: int | None = None
) -> str:
    """What one apt-get prints, with a bar over the bytes that arrive if there is a label.

    Raises:
        DataError: it is not there, fails, or takes too long; with its last complaint.
    """
    if not shutil.which("apt-get"):
        raise DataError("there is no apt-get")
    command = ["apt-get", "-qq", "-oAcquire::Retries=2", *options, *words]
    started = time.monotonic()
    with (scratch / "printed").open("w+b") as printed, (scratch / "complaints").open("w+b") as said:
        with subprocess.Popen(command, cwd=scratch, stdout=printed, stderr=said) as process:
            try:
                for _ in _arriving(process, scratch, label, size):
                    if time.monotonic() - started > PATIENCE:
                        raise DataError(f"apt-get took more than {PATIENCE / 60:.0f} minutes")
            finally:
                process.kill()
        texts = []
        for file in (printed, said):
            file.seek(0)
            texts.append(file.read().decode(errors="replace").strip())
    if process.returncode:
        complaints = [line for line in texts[1].splitlines() if line.startswith("E:")]
        raise DataError(complaints[-1] if complaints else f"apt-get failed at {' '.join(words)}")
    return texts[0]


def _arriving(
    process: subprocess.Popen, scratch: Path, label: str, size: int | None
) -> Iterator[None]:
    """Ticks while a process runs, and shows how many bytes of .deb files there are."""
    hidden = None if label else True
    with tqdm(
        total=size, desc=label, unit="B", unit_scale=True, disable=hidden, leave=False
    ) as bar:
        while process.poll() is None:
            yield
            time.sleep(0.05)
            bar.n = sum(path.stat().st_size for path in scratch.glob("*.deb") if path.exists())
            bar.refresh() if not bar.disable else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
