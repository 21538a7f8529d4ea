"""Archives that pip downloads: only the pinned one, and only its files below one folder."""

import hashlib
import io
import sys
import tarfile
import zipfile
from dataclasses import replace
from subprocess import CompletedProcess, TimeoutExpired

import pytest

from towers.data import DataError, archives, debs, sources

FILES = {"pack/data/a.txt": b"one", "pack/data/deep/b.txt": b"two", "pack/data/c.bin": b"no",
         "pack/other/d.txt": b"no", "../e.txt": b"no"}  # fmt: skip


def sdist():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def wheel():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.fixture(params=["sdist", "foreign wheel"])
def source(request, tmp_path, monkeypatch):
    """A source whose archive a stand-in for pip writes; it keeps what it was asked."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    content = {"sdist": sdist, "foreign wheel": wheel}[request.param]()
    digest = hashlib.sha256()
    for name in ("a.txt", "deep/b.txt"):
        digest.update(
            f"{name}\0{hashlib.sha256(FILES[f'pack/data/{name}']).hexdigest()}\n".encode()
        )
    made = sources.Source(
        name="toy", kind=request.param, package="toy", version="1.0", licence="MIT",
        root="pack/data", endings=(".txt",), sha256=digest.hexdigest(), archive="ab" * 32,
    )  # fmt: skip
    monkeypatch.setitem(sources.SOURCES, "toy", made)
    asked = []

    def pip(command, **_):
        asked.append(command)
        folder = command[command.index("--dest") + 1]
        with open(command[-1], encoding="utf-8") as wanted:
            asked.append(wanted.read())
        archives.Path(folder).mkdir()
        (archives.Path(folder) / "toy-1.0").write_bytes(content)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(archives.subprocess, "run", pip)
    return made, asked


@pytest.mark.slow
def test_the_pinned_archive_is_asked_for_and_its_files_are_taken(source):
    made, asked = source
    folder = sources.fetch("toy")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "a.txt", "deep/b.txt",
    }  # fmt: skip
    command, wanted = asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", *archives.KINDS[made.kind]} <= {*command}
    assert wanted == f"toy==1.0 --hash=sha256:{'ab' * 32}\n"
    assert sources.fetch("toy") == folder
    assert len(asked) == 2


def test_other_files_than_pinned_are_refused(source, monkeypatch):
    made, _ = source
    monkeypatch.setitem(sources.SOURCES, "toy", replace(made, sha256="0" * 64))
    wanted = r"Python package toy 1.0 \(MIT\), could not .*other files than.*PIP_FIND_LINKS"
    with pytest.raises(DataError, match=wanted) as error:
        sources.fetch("toy")
    assert "\n" not in str(error.value)


def test_what_pip_complains_about_is_told(source, monkeypatch):
    said = CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution\n")
    monkeypatch.setattr(archives.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(DataError, match="pip: ERROR: No matching distribution"):
        sources.fetch("toy")

    def slow(*_, **__):
        raise TimeoutExpired("pip", 1)

    monkeypatch.setattr(archives.subprocess, "run", slow)
    with pytest.raises(DataError, match="pip took more than 15 minutes"):
        sources.fetch("toy")


def test_too_large_and_damaged_archives_are_refused(source, monkeypatch):
    monkeypatch.setattr(debs, "MAX_FILE", 2)
    with pytest.raises(DataError, match="expected less than any version holds"):
        sources.fetch("toy")


def test_an_archive_that_is_cut_off_is_refused(tmp_path, monkeypatch):
    made = replace(sources.SOURCES["word-pairs"], root="pack/data", endings=(".txt",))
    for content in (sdist()[:40], b"", b"no archive"):
        (tmp_path / "toy").write_bytes(content)
        monkeypatch.setattr(archives, "_downloaded", lambda *_: tmp_path / "toy")
        scratch = tmp_path / f"scratch {len(content)}"
        scratch.mkdir()
        with pytest.raises(DataError, match="toy is damaged"):
            list(archives.unpacked(made, scratch))


def test_every_archive_is_pinned_twice():
    pinned = [each for each in sources.SOURCES.values() if each.kind in archives.KINDS]
    assert len(pinned) >= 2
    assert all(len(each.archive) == len(each.sha256) == 64 for each in pinned)
