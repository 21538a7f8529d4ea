"""Sources: right files whole, or nothing and one line that says what to do."""

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from towers.data import sources
from towers.data.errors import DataError

FILES = {"a.txt": b"one", "deep/b.txt": b"two"}
ROOT = "usr/share/toy"


def deb(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], compression: str = "xz") -> Path:
    """Write a .deb: an ar archive with a version, control files, and the members as data."""

    def tar(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
            for info, content in entries:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    parts = {
        "debian-binary": b"2.0\n",
        f"control.tar.{compression}": tar([(tarfile.TarInfo("./control"), b"Package: toy\n")]),
        f"data.tar.{compression}": tar(members),
    }
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


def plain(files: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Members below the toy source's root."""
    return [(tarfile.TarInfo(f"./{ROOT}/{name}"), content) for name, content in files.items()]


@pytest.fixture
def toy(tmp_path, monkeypatch) -> sources.Source:
    """A source of two text files, which no system has, and a cache of its own."""
    for name, content in FILES.items():
        (tmp_path / "right" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "right" / name).write_bytes(content)
    digest = sources.tree_digest(tmp_path / "right", (".txt",))
    source = sources.Source(
        name="toy", kind="deb", package="toy-data", version="1.0", licence="MIT", root=ROOT,
        endings=(".txt",), sha256=digest,
    )  # fmt: skip
    monkeypatch.setitem(sources.SOURCES, "toy", source)
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOWERS_DEBS", str(tmp_path / "debs"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "debs").mkdir()
    return source


def content(folder: Path) -> dict[str, bytes]:
    """Text files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")}


def leftovers(tmp_path: Path) -> list[str]:
    """What lies in the cache of sources, locks apart."""
    home = tmp_path / "home/sources"
    return [p.name for p in home.iterdir() if p.suffix != ".lock"] if home.is_dir() else []


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
def test_unpacks_and_verifies_a_deb_from_a_folder(toy, tmp_path, compression):
    deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES), compression)
    assert content(sources.fetch("toy")) == FILES


def test_a_verified_copy_needs_no_package_again(toy, tmp_path):
    path = deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES))
    first = sources.fetch("toy")
    path.unlink()
    assert sources.fetch("toy") == first


def test_verify_notices_a_changed_file_and_gets_it_again(toy, tmp_path):
    deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES))
    (sources.fetch("toy") / "a.txt").write_bytes(b"tampered")
    assert not next(row for row in sources.status(verify=True) if row.name == "toy").ok
    assert content(sources.fetch("toy", verify=True)) == FILES


def test_other_content_is_refused_and_nothing_stays(toy, tmp_path):
    deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES | {"a.txt": b"other"}))
    with pytest.raises(DataError, match="holds other files than the pinned"):
        sources.fetch("toy")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_half_download_is_never_used(toy, tmp_path, share):
    path = deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match="toy-data"):
        sources.fetch("toy")
    assert leftovers(tmp_path) == []


def test_paths_that_leave_the_package_and_links_are_passed_by(toy, tmp_path):
    hostile = [
        (tarfile.TarInfo("../../escaped.txt"), b"x"),
        (tarfile.TarInfo(f"./{ROOT}/../../../escaped.txt"), b"x"),
        (tarfile.TarInfo("/tmp/escaped.txt"), b"x"),
    ]
    link = tarfile.TarInfo(f"./{ROOT}/link.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo(f"./{ROOT}/device.txt")
    device.type = tarfile.CHRTYPE
    members = [*hostile, (link, b""), (device, b""), *plain(FILES)]
    deb(tmp_path / "debs/toy-data_1.0_all.deb", members)
    assert content(sources.fetch("toy")) == FILES
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_package_that_grows_without_end_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(sources.debs, "MAX_TOTAL", 5)
    deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES))
    with pytest.raises(DataError, match="than any version holds"):
        sources.fetch("toy")


def test_without_any_way_the_error_says_what_to_do(toy):
    with pytest.raises(DataError) as error:
        sources.fetch("toy")
    message = str(error.value)
    assert "\n" not in message
    for word in ("toy-data 1.0", "MIT", "apt-get", "TOWERS_DEBS"):
        assert word in message


def fake_apt(tmp_path: Path, script: str) -> None:
    """Put an `apt-get` of our own on the path."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/apt-get"
    program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_apt_get_download_is_used_without_root(toy, tmp_path):
    made = deb(tmp_path / "toy-data_1.0_all.deb", plain(FILES))
    fake_apt(tmp_path, f'for a in "$@"; do last=$a; done; [ "$last" = toy-data ] && cp {made} .')
    assert content(sources.fetch("toy")) == FILES


def test_missing_package_lists_are_fetched_into_the_cache(toy, tmp_path):
    made = deb(tmp_path / "toy-data_1.0_all.deb", plain(FILES))
    script = (
        f'case "$*" in *update*) touch {tmp_path}/updated;; '
        f"*download*) [ -e {tmp_path}/updated ] || exit 100; cp {made} .;; esac"
    )
    fake_apt(tmp_path, script)
    assert content(sources.fetch("toy")) == FILES


def test_apt_get_that_dies_half_way_falls_through_to_the_folder(toy, tmp_path):
    made = deb(tmp_path / "debs/toy-data_1.0_all.deb", plain(FILES))
    fake_apt(tmp_path, f"head -c 100 {made} > toy-data_1.0_all.deb; exit 0")
    assert content(sources.fetch("toy")) == FILES


def test_digest_depends_on_names_and_content_and_not_on_links(tmp_path):
    def made(**files: bytes) -> str:
        folder = tmp_path / os.urandom(4).hex()
        folder.mkdir()
        for name, data in files.items():
            (folder / f"{name}.txt").write_bytes(data)
        (folder / "link.txt").symlink_to("/etc/passwd")
        return sources.tree_digest(folder, (".txt",))

    assert made(a=b"1", b=b"2") == made(b=b"2", a=b"1")
    assert len({made(a=b"1"), made(b=b"1"), made(a=b"2"), made(a=b"1", b=b"")}) == 4


def test_unknown_source_lists_the_known_ones():
    with pytest.raises(DataError, match=r"clipart, .*stamps.*got 'nosuch'"):
        sources.fetch("nosuch")


def test_every_embedded_source_is_here_and_right():
    for name in sources.SOURCES:
        sources.fetch(name)
    assert [row.name for row in sources.status() if not row.ok] == []
