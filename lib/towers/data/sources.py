"""Where bytes come from: packages of Debian and PyPI, verified, and nothing else.

A source is a set of files inside a package. Its version and one SHA-256 over all of these files are
pinned; whatever way the files came, they are used only if that hash is right. So a package
that Ubuntu rebuilt or somebody repacked is as good as Debian's, and any other content is refused.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

from towers.data import archives, debs
from towers.data.cards import SOURCES, Source
from towers.data.errors import DataError
from towers.files import cache_home, keep, locked, sha256

__all__ = ["SOURCES", "Source", "Status", "fetch", "status", "tree_digest"]

SYSTEM = Path("/")
"""Where packages are installed; Debian's files lie in `usr/share` below it."""


@dataclass(frozen=True)
class Status:
    """What `towers doctor` says about a source.

    Attributes:
        name: of the source.
        package: that holds it.
        wanted: version that the pinned hash is of.
        found: version that is there; None if there is none.
        licence: of the files.
        where: folder of the verified files, or None.
        ok: whether they can be used.
        advice: what to do if not.
    """

    name: str
    package: str
    wanted: str
    found: str | None
    licence: str
    where: Path | None
    ok: bool
    advice: str


def tree_digest(folder: Path, endings: tuple[str, ...]) -> str:
    """SHA-256 over the files below a folder: sorted relative paths, each with its content's hash.

    Links are left out: they only repeat files, and may lead anywhere.
    """
    digest = hashlib.sha256()
    for name, entry in _files(folder, endings):
        digest.update(f"{name}\0{sha256(Path(entry.path))}\n".encode())
    return digest.hexdigest()


def fetch(name: str, verify: bool = False) -> Path:
    """The folder with a source's files, got and verified if that has not happened yet.

    Debian's files are looked for in the cache, in the installed system, at apt-get and in the
    folder that `TOWERS_DEBS` names, in this order; they are used from the cache only, where they
    appear whole or not at all. So are those of Python packages that are never installed, which pip
    downloads; of others they are used where pip put them. Once hashed, files are trusted as long as
    their paths, sizes and times stay the same.

    Args:
        name: of the source.
        verify: hash the files even if they seem to be the same.

    Raises:
        DataError: no such source; or the files cannot be had, or are others than pinned.
    """
    if name not in SOURCES:
        raise DataError(f"expected a source among {', '.join(SOURCES)}; got {name!r}")
    source = SOURCES[name]
    folder = _installed(source) if source.kind == "wheel" else _home(source)
    if _verified(source, folder, verify):
        return folder
    if source.kind == "wheel":
        raise DataError(_complaint(source))
    try:
        with locked(folder):
            if not _verified(source, folder, verify):
                _get(source, folder)
    except OSError as error:
        raise DataError(
            f"expected a cache to unpack {name} into, got {folder.parent}, which cannot be written "
            f"({error.strerror}); set TOWERS_HOME to another folder"
        ) from None
    return folder


def status(verify: bool = False) -> list[Status]:
    """Every source: whether it is there, and what to do if not. Nothing is downloaded.

    Args:
        verify: hash all files again instead of trusting what was hashed before.
    """
    return [_status(source, verify) for source in SOURCES.values()]


def _status(source: Source, verify: bool) -> Status:
    wheel = source.kind == "wheel"
    folder = _installed(source) if wheel else _home(source)
    ok = _verified(source, folder, verify)
    found = _version(source) if wheel else source.version if ok else None
    there = folder is not None and folder.is_dir()
    advice = _complaint(source) if wheel else f"run: towers data get {source.name}"
    if there and not wheel:
        advice = f"the cached copy is damaged; {advice}"
    return Status(
        source.name, source.package, source.version, found, source.licence,
        folder if ok else None, ok, "" if ok else advice,
    )  # fmt: skip


def _verified(source: Source, folder: Path | None, verify: bool) -> bool:
    """Whether a folder holds the pinned files: by its marker, else by hashing them all."""
    if folder is None or not os.path.isdir(folder):
        return False
    try:
        if not verify and _marker(source).read_text() == _state(source, folder):
            return True
    except (OSError, ValueError):  # no marker, or one that is not text
        pass
    if tree_digest(folder, source.endings) != source.sha256:
        return False
    _mark(source, folder)
    return True


def _mark(source: Source, folder: Path) -> None:
    keep(_marker(source), _state(source, folder))


def _marker(source: Source) -> Path:
    return cache_home() / "sources" / f"{source.name}.verified"


def _state(source: Source, folder: Path) -> str:
    """SHA-256 over paths, sizes and times of change: what a warm start looks at."""
    digest = hashlib.sha256(f"{source.sha256}\0{folder}".encode())
    for name, entry in _files(folder, source.endings):
        seen = entry.stat(follow_symlinks=False)
        digest.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(folder: Path, endings: tuple[str, ...]) -> list[tuple[str, os.DirEntry]]:
    """Relative paths of the files that count, sorted, each with its entry; no links."""
    return sorted(_walk(folder, "", endings), key=itemgetter(0))


def _walk(
    folder: Path | str, prefix: str, endings: tuple[str, ...]
) -> Iterator[tuple[str, os.DirEntry]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/", endings)
            elif entry.name.endswith(endings) and entry.is_file(follow_symlinks=False):
                yield prefix + entry.name, entry


def _installed(source: Source) -> Path | None:
    """The folder that pip put a package's module into."""
    spec = importlib.util.find_spec(source.root)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _version(source: Source) -> str | None:
    try:
        return importlib.metadata.version(source.package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _complaint(source: Source) -> str:
    """What is wrong with a Python package, and what to do."""
    found = _version(source)
    given = f"version {found}, whose files differ" if found else "none"
    again = " --force-reinstall" if found == source.version else ""
    return (
        f"expected the Python package {source.package} {source.version} ({source.licence}), got "
        f"{given}; run: pip install{again} {source.package}=={source.version}"
    )


def _home(source: Source) -> Path:
    return cache_home() / "sources" / f"{source.name}-{source.sha256[:16]}"


def _get(source: Source, home: Path) -> None:
    """Put the pinned files into the cache, by the first way that gives them."""
    for old in (home, *home.parent.glob(f".{source.name}.*")):  # the latter: of runs that died
        shutil.rmtree(old, ignore_errors=True)
    tried = []
    for label, way in (WAYS if source.kind == "deb" else PIP).items():
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{source.name}.") as scratch:
            try:
                for copy in way(source, Path(scratch)):
                    if tree_digest(copy, source.endings) == source.sha256:
                        copy.rename(home)
                        return _mark(source, home)
                raise DataError("holds other files than the pinned version")
            except (DataError, OSError) as error:
                tried.append(f"{label}: {' '.join(str(error).split())[:160]}")
    raise DataError(_missed(source, "; ".join(tried)))


def _missed(source: Source, tried: str) -> str:
    """What could not be got, and what to do."""
    what = f"{source.package} {source.version} ({source.licence})"
    if source.kind != "deb":
        return (
            f"expected the Python package {what}, could not get it ({tried}); connect pip to a "
            "network, or put the file into a folder and set PIP_FIND_LINKS to it, PIP_NO_INDEX to 1"
        )
    return (
        f"expected the Debian package {what}, could not get it ({tried}); connect apt-get to a "
        f"network, set {debs.MIRROR} to a Debian mirror that it reaches, or put "
        f"{source.package}_{source.version}*.deb into a folder and set {debs.FOLDER} to it"
    )


def _copied(source: Source, scratch: Path) -> Iterator[Path]:
    """A copy of the files where the system has them installed."""
    folder = SYSTEM / source.root
    if not folder.is_dir():
        raise DataError("not there")
    for name, entry in _files(folder, source.endings):
        copy = scratch / "files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.path, copy)
    yield scratch / "files"


def _unpacked(
    way: Callable[[str, Path], list[Path]], source: Source, scratch: Path
) -> Iterator[Path]:
    """The files of each .deb that a way gives; a damaged one does not hide a good one."""
    damage = None
    for number, deb in enumerate(way(source.package, scratch)):
        target = scratch / f"files {number}"
        target.mkdir()
        try:
            debs.unpack(deb, source.root, source.endings, target)
        except DataError as error:
            damage = error
            continue
        yield target
    if damage:
        raise damage


WAYS = {
    "installed": _copied,
    "apt-get": partial(_unpacked, debs.from_machine),
    "folder": partial(_unpacked, debs.from_folder),
    "Debian's archive": partial(_unpacked, debs.from_release),
}
PIP = {"pip": archives.unpacked}
"""The same for archives of Python packages that are never installed."""
