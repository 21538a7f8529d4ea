"""Where things lie, and how they are written: whole or not at all.

One file is written by `atomic_write`. Files that belong together are one folder, made beside its
place and put there by `publish`.
"""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from towers import progress

Kept = TypeVar("Kept")

_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\data, C:/data, \\server\data
_said = threading.Lock()  # taken once a process, by the first file that the cache cannot keep


def user_path(path: str | os.PathLike) -> Path:
    """The path that a person gave: whatever comes from outside passes through here.

    A first ~ is the home folder. A relative path stays relative, to the working directory.

    Raises:
        ValueError: nothing was given, no home folder is known, or the path is one of Windows, and
            this system another one.
    """
    text = os.fspath(path)
    if not text:
        raise ValueError("expected a path, got none; write . for the working directory")
    if text.startswith("~"):
        try:
            return Path(text).expanduser()
        except RuntimeError:  # a name like ~backup may be a folder's own
            if not os.path.lexists(text):
                raise ValueError(
                    f"expected a home folder for {text!r}, found none; set HOME, or write the "
                    "whole path"
                ) from None
    if os.sep == "/" and not os.path.lexists(text):
        _refuse_windows(text)
    return Path(text)


def _refuse_windows(text: str) -> None:
    """Refuse what can only be a path of Windows; a backslash alone may be part of a name."""
    turned = text.replace("\\", "/")
    if _OF_WINDOWS.match(text):
        advice = f"WSL has it at /mnt/{turned[0].lower()}{turned[2:]}" if text[1] == ":" else ""
        raise ValueError(
            f"expected a path of this system, got {text!r}, which is one of Windows; "
            f"{advice or 'mount it and write the path with /'}"
        )
    if turned != text and os.path.lexists(turned):
        raise ValueError(f"expected / between folders, got {text!r}; write {turned}")


def repo_root() -> Path:
    """The checkout that holds the notebooks and the book.

    Returns:
        `TOWERS_ROOT` if set; else the first folder with `_toc.yml` and `notebooks/`, searched
        upwards from the working directory and then from this file.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if root := os.environ.get("TOWERS_ROOT"):
        return user_path(root).resolve()
    for start in (Path.cwd(), Path(__file__).resolve()):
        for folder in (start, *start.parents):
            if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
                return folder
    raise FileNotFoundError(
        f"expected _toc.yml and notebooks/ in {Path.cwd()} or a folder above it, found neither; "
        "run from the book's checkout or set TOWERS_ROOT to it"
    )


def results_home() -> Path:
    """The folder of all results: `TOWERS_RESULTS` if set, else `results/` in the checkout."""
    home = os.environ.get("TOWERS_RESULTS")
    return user_path(home).resolve() if home else repo_root() / "results"


def cache_home() -> Path:
    """The user's cache for data, rasters, features and checkpoints (`TOWERS_HOME` if set).

    Raises:
        RuntimeError: no place is named, and no home folder is known.
    """
    if home := os.environ.get("TOWERS_HOME"):
        return user_path(home)
    home = Path(platformdirs.user_cache_dir("towers"))
    if not home.is_absolute():  # ~ is left as it is where nobody knows what it stands for
        raise RuntimeError(
            f"expected a home folder for the cache, found none ({home}); set HOME, or TOWERS_HOME "
            "to a folder"
        )
    return home


def cached(
    place: str,
    make: Callable[[], Kept],
    pack: Callable[[Kept], bytes],
    read: Callable[[bytes], Kept],
    waiting: bool = True,
) -> Kept:
    """What a file of the cache holds; made now, and kept there, if no such file is there and whole.

    Args:
        place: of the file below the cache, whose name says all that its content depends on.
        make: makes it.
        pack: what was made -> content of the file, behind a digest of its bytes.
        read: content of the file -> what was made.
        waiting: whether processes wait for the one that makes it, instead of all making it.
    """
    path = cache_home() / place
    with contextlib.suppress(OSError, ValueError):
        return read(_whole(path))
    with cache_lock(path) if waiting else contextlib.nullcontext():
        with contextlib.suppress(OSError, ValueError):
            return read(_whole(path))
        made = make()
        content = pack(made)
        keep(path, hashlib.sha256(content).digest() + content)
    return made


def _whole(path: Path) -> bytes:
    """What `cached` wrote; a ValueError where these are other bytes."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError(f"expected the bytes that were written to {path}")
    return content[32:]


def keep(path: Path, content: bytes | str) -> bool:
    """Put a file into the cache; where that cannot be written, go on without it.

    For what can be made again. The first file that cannot be kept (a disk that is read-only or
    full, no permission) is told of on stderr, the others of a process are not.

    Returns:
        Whether it is there now.
    """
    try:
        atomic_write(path, content)
    except OSError as error:
        _complain(path, error)
        return False
    return True


@contextlib.contextmanager
def cache_lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """`locked` for a file of the cache that `keep` writes; no lock where none can be had.

    Args:
        path: of the file.
        wait: until another process gives the lock back; else gives False where one holds it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(path).acquire(blocking=wait))
        except Timeout:
            yield False
            return
        except OSError as error:
            _complain(path, error)
        yield True


def _complain(path: Path, error: OSError) -> None:
    if _said.acquire(blocking=False):
        print(
            f"towers: warning: the cache cannot keep {str(path)!a} ({error.strerror}); going "
            "on without it. TOWERS_HOME names another folder for it",
            file=sys.stderr,
        )


def shown(path: Path) -> Path:
    """A path as a reader wants it: relative where it lies below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sha256(content: bytes | Path) -> str:
    """Hex SHA-256 of bytes, or of a file's content read in blocks."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(content).hexdigest()


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all, also under `kill -9` and with several writers.

    The content goes to a temporary file in the same folder, is forced to disk and renamed into
    place; then the folder entry itself is forced to disk. On any error before the rename the
    temporary file is removed and what stood at `path` before still stands there.

    Args:
        path: the file; its folder is made if it is missing.
        content: text is written as UTF-8; a byte of a path that is none, as \\udce4, which is
            also how JSON and YAML write it.

    Raises:
        OSError: the disk is full, fails, or may not be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    left = memoryview(content)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        try:
            while left:
                left = left[os.write(handle, left) :]
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to disk: what follows survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def locked(path: Path) -> FileLock:
    """A lock between processes, as a context manager; `path` + `.lock` is the lock's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return progress.Lock(f"{path}.lock")


def publish(staging: Path, folder: Path) -> None:
    """Put a complete folder in its place by one rename; what stood there is removed.

    Args:
        staging: a folder beside the place, complete, written by nobody any more. It is used up.
        folder: the place, where an older folder may stand.

    Raises:
        OSError: the disk is full or fails. The old folder stands in the place, or the new one.
    """
    for path in (*staging.rglob("*"), staging):
        sync(path)
    old = folder.with_name(f".{folder.name}.old")
    with locked(folder.with_name(f".{folder.name}.publish")):
        shutil.rmtree(old, ignore_errors=True)
        # A process that dies between the two renames leaves nothing in the place, so that whoever
        # reads sees no result, never some files of each; the next run is the first again.
        try:
            if folder.exists():
                os.rename(folder, old)
            os.rename(staging, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.rename(old, folder)
            raise
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
