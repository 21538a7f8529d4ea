"""Packages are used whole and as pinned, or not at all: every way, every accident."""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.made_up_debs import (
    COMPRESS,
    ENDINGS,
    FILES,
    KEPT,
    ROOT,
    deb,
    fake_apt,
    odd,
    path_with,
    toy,
)
from towers.data import debs, sources
from towers.data.errors import DataError


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The toy source, and nothing from which it could be had yet."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("TOWERS_DEBS", raising=False)
    monkeypatch.setattr(sources, "SYSTEM", tmp_path / "system")
    made = toy(tmp_path)
    monkeypatch.setitem(sources.SOURCES, "toy", made)
    return made


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The folder that TOWERS_DEBS names."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("TOWERS_DEBS", str(folder))
    return folder


def refusal(package: Path, target: Path) -> str:
    """Why a package is not unpacked; empty if it is."""
    try:
        debs.unpack(package, ROOT, ENDINGS, target)
    except DataError as error:
        return str(error)
    return ""


# Unpacking


@pytest.mark.parametrize("ending", COMPRESS)
def test_unpacks_what_counts_from_any_compression(tmp_path, ending):
    target = tmp_path / "target"
    debs.unpack(deb(tmp_path / "toy.deb", FILES, ending), ROOT, ENDINGS, target)
    assert contents(target) == KEPT


def test_nothing_leaves_the_target_through_names_links_or_devices(tmp_path):
    evil = [
        odd(f"./{ROOT}/../evil.txt"),
        odd(f"./{ROOT}/a/../../evil.txt"),
        odd(f"/{ROOT}/evil.txt"),
        odd(f"{tmp_path}/evil.txt"),
        odd("../evil.txt"),
        odd(f"./{ROOT}/away", tarfile.SYMTYPE, str(tmp_path)),
        odd(f"./{ROOT}/away/evil.txt"),
        odd(f"./{ROOT}/passwd.txt", tarfile.SYMTYPE, "/etc/passwd"),
        odd(f"./{ROOT}/hard.txt", tarfile.LNKTYPE, "/etc/passwd"),
        odd(f"./{ROOT}/null.txt", tarfile.CHRTYPE),
        odd(f"./{ROOT}/pipe.txt", tarfile.FIFOTYPE),
    ]
    package = deb(tmp_path / "toy.deb", FILES, odd=evil)
    debs.unpack(package, ROOT, ENDINGS, tmp_path / "target")
    assert contents(tmp_path / "target") == KEPT | {"away/evil.txt": b"odd"}
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert {path.name for path in tmp_path.iterdir()} == {"toy.deb", "target"}


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_package_cut_off_anywhere_is_refused(tmp_path, ending):
    whole = deb(tmp_path / "toy.deb", FILES, ending).read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        package = tmp_path / "cut.deb"
        package.write_bytes(whole[:length])
        complaint = refusal(package, tmp_path / str(length))
        assert complaint
        assert "\n" not in complaint


@given(place=st.integers(0, 10**6), value=st.integers(1, 255))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_gives_an_error_of_one_line_or_files_that_the_pin_refuses(
    tmp_path_factory, place, value
):
    tmp_path = tmp_path_factory.mktemp("flipped")
    package = deb(tmp_path / "toy.deb", FILES, ".zst")
    content = bytearray(package.read_bytes())
    content[place % len(content)] ^= value
    package.write_bytes(content)
    (tmp_path / "target").mkdir()
    assert "\n" not in refusal(package, tmp_path / "target")
    inside = [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")]
    assert set(inside) <= {"toy.deb", "target"}


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILE", 100), ("MAX_TOTAL", 3000)])
def test_a_package_larger_than_any_version_is_refused(tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(debs, limit, value)
    with pytest.raises(DataError, match="larger"):
        debs.unpack(deb(tmp_path / "toy.deb", FILES), ROOT, ENDINGS, tmp_path / "target")


def test_a_package_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(debs, "MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="at most 2 files"):
        debs.unpack(deb(tmp_path / "toy.deb", FILES), ROOT, ENDINGS, tmp_path / "target")


# The ways


def test_a_folder_of_packages_serves(source, shelf):
    deb(shelf / "toy-set_1.5-1_all.deb", FILES)
    assert contents(sources.fetch("toy")) == KEPT


def test_a_repacked_package_of_another_version_serves_if_its_files_are_the_same(source, shelf):
    extra = FILES | {f"{ROOT}/new.ogg": b"counts not", "usr/share/doc/new.txt": b"nor this"}
    deb(shelf / "toy-set_9.9ubuntu3_all.deb", dict(reversed(extra.items())), ".zst")
    assert contents(sources.fetch("toy")) == KEPT


@pytest.mark.parametrize(
    "change", [{"a/ball.svg": b"<svg />"}, {"more.txt": b""}, {"bear.txt": None}]
)
def test_other_files_are_refused(source, shelf, change):
    files = FILES | {f"{ROOT}/{name}": content for name, content in change.items()}
    deb(shelf / "toy-set_1.5-1_all.deb", {k: v for k, v in files.items() if v is not None})
    with pytest.raises(DataError, match="other files than the pinned"):
        sources.fetch("toy")
    assert not sources.status()[-1].ok


def test_a_damaged_package_does_not_hide_a_good_one(source, shelf):
    good = deb(shelf / "toy-set_1.4_all.deb", FILES)
    (shelf / "toy-set_1.5_all.deb").write_bytes(good.read_bytes()[:300])
    assert contents(sources.fetch("toy")) == KEPT


def test_installed_files_serve_only_if_they_are_the_pinned_ones(source, tmp_path, shelf):
    folder = tmp_path / "system" / ROOT
    for name, content in (KEPT | {"bear.txt": b"older"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="installed: holds other files"):
        sources.fetch("toy")
    (folder / "bear.txt").write_bytes(KEPT["bear.txt"])
    (folder / "link.txt").symlink_to("/etc/passwd")
    home = sources.fetch("toy")
    assert contents(home) == KEPT
    assert home.is_relative_to(tmp_path / "home")


def test_apt_get_downloads_without_root(source, tmp_path, monkeypatch):
    package = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    calls = fake_apt(tmp_path / "bin", f"cp {package} .")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    assert contents(sources.fetch("toy")) == KEPT
    assert "update" not in calls.read_text()


def test_lists_of_its_own_help_a_machine_without_lists(source, tmp_path, monkeypatch):
    package = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    own = (
        f'case "$*" in *lists*) cp {package} .;; *) echo "E: Unable to locate" >&2; exit 100;; esac'
    )
    calls = fake_apt(tmp_path / "bin", own)
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    assert contents(sources.fetch("toy")) == KEPT
    assert f"lists={tmp_path}/home/apt/machine/lists" in calls.read_text()


@pytest.mark.parametrize("mirror", ["", "http://mirror.example/debian"])
def test_debian_s_archive_helps_where_the_machine_has_other_versions(
    source, tmp_path, monkeypatch, mirror
):
    new = deb(tmp_path / "toy-set_2.0_all.deb", FILES | {f"{ROOT}/bear.txt": b"A newer bear."})
    old = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    asked = tmp_path / "asked"
    note = f'case $a in *sourcelist=*) cat "${{a#*sourcelist=}}" > {asked};; esac'
    own = f'for a in "$@"; do {note}; done; '
    own += f'case "$*" in *sourcelist*) cp {old} .;; *) cp {new} .;; esac'
    fake_apt(tmp_path / "bin", own)
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    monkeypatch.setenv("TOWERS_DEBIAN_MIRROR", mirror)
    assert contents(sources.fetch("toy")) == KEPT
    assert f"{mirror or 'http://deb.debian.org/debian'} bookworm main" in asked.read_text()


@pytest.mark.parametrize(
    "accident",
    [
        "head -c 300 {package} > toy-set_1.5_all.deb; exit 0",
        "head -c 300 {package} > toy-set_1.5_all.deb; exit 100",
        "head -c 300 {package} > toy-set_1.5_all.deb; kill -9 $$",
        "echo 'E: no network' >&2; exit 100",
        "true",
    ],
)
def test_a_download_that_fails_half_way_is_never_used(source, tmp_path, monkeypatch, accident):
    package = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    fake_apt(tmp_path / "bin", accident.format(package=package))
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    with pytest.raises(DataError) as caught:
        sources.fetch("toy")
    message = str(caught.value)
    assert "\n" not in message
    for told in ("toy-set", "1.5", "CC0", "TOWERS_DEBS", "apt-get"):
        assert told in message
    left = {path.name for path in (tmp_path / "home" / "sources").iterdir()}
    assert not {name for name in left if not name.endswith(".lock")}
    monkeypatch.setenv("TOWERS_DEBS", str(tmp_path))
    assert contents(sources.fetch("toy")) == KEPT


def test_an_apt_get_that_hangs_is_given_up(source, tmp_path, monkeypatch):
    fake_apt(tmp_path / "bin", "exec sleep 60")
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin"))
    monkeypatch.setattr(debs, "PATIENCE", 0.2)
    started = time.monotonic()
    with pytest.raises(DataError, match="took more than"):
        sources.fetch("toy")
    assert time.monotonic() - started < 20


def test_an_unknown_source_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"among clipart, .*; got 'clippart'"):
        sources.fetch("clippart")


# What is trusted


def test_a_warm_start_reads_no_file(source, shelf, monkeypatch):
    deb(shelf / "toy-set_1.5-1_all.deb", FILES)
    home = sources.fetch("toy")
    monkeypatch.setattr(sources, "sha256", lambda content: pytest.fail("a file was hashed"))
    assert sources.fetch("toy") == home


@pytest.mark.parametrize("harm", ["cut", "changed", "removed", "added", "marker lost"])
def test_a_copy_that_was_harmed_is_noticed_and_got_again(source, shelf, harm, tmp_path):
    deb(shelf / "toy-set_1.5-1_all.deb", FILES)
    home = sources.fetch("toy")
    bear = home / "bear.txt"
    if harm == "cut":
        bear.write_bytes(KEPT["bear.txt"][:10])
    elif harm == "changed":
        bear.write_bytes(KEPT["bear.txt"].replace(b"bear", b"bean"))
    elif harm == "removed":
        bear.unlink()
    elif harm == "added":
        (home / "more.txt").write_text("more")
    else:
        (tmp_path / "home/sources/toy.verified").unlink()
    assert contents(sources.fetch("toy")) == KEPT


def test_verify_notices_a_change_that_keeps_size_and_time(source, shelf):
    deb(shelf / "toy-set_1.5-1_all.deb", FILES)
    bear = sources.fetch("toy") / "bear.txt"
    times = bear.stat().st_atime_ns, bear.stat().st_mtime_ns
    bear.write_bytes(KEPT["bear.txt"].replace(b"bear", b"bean"))
    os.utime(bear, ns=times)
    assert {row.name: row.ok for row in sources.status()}["toy"]
    assert not {row.name: row.ok for row in sources.status(verify=True)}["toy"]
    assert contents(sources.fetch("toy", verify=True)) == KEPT


# Python's packages


@pytest.fixture
def wheel(tmp_path, monkeypatch, source):
    """A toy module on the path, as a source."""
    package = tmp_path / "site" / "toymodule"
    (package / "a").mkdir(parents=True)
    for name, content in KEPT.items():
        (package / name).write_bytes(content)
    (tmp_path / "site" / "toymodule" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    made = toy(tmp_path, kind="wheel", root="toymodule")
    monkeypatch.setitem(sources.SOURCES, "toy", made)
    return package


def test_a_python_package_is_used_where_it_lies_and_never_imported(wheel):
    assert sources.fetch("toy") == wheel


def test_a_python_package_with_other_files_is_refused_with_what_to_run(wheel):
    (wheel / "bear.txt").write_text("other")
    with pytest.raises(DataError, match=r"toy-set 1\.5 \(CC0\).*pip install toy-set==1\.5"):
        sources.fetch("toy")


def test_a_python_package_that_is_missing_is_told_with_what_to_run(source, tmp_path, monkeypatch):
    made = toy(tmp_path, kind="wheel", root="nosuchmodule")
    monkeypatch.setitem(sources.SOURCES, "toy", made)
    with pytest.raises(DataError, match=r"got none; run: pip install toy-set==1\.5"):
        sources.fetch("toy")
    row = next(row for row in sources.status() if row.name == "toy")
    assert (row.ok, row.found, row.where) == (False, None, None)
    assert "pip install" in row.advice


def test_status_tells_what_is_there_without_getting_anything(source, shelf):
    deb(shelf / "toy-set_1.5-1_all.deb", FILES)
    before = next(row for row in sources.status() if row.name == "toy")
    assert (before.ok, before.found, before.advice) == (False, None, "run: towers data get toy")
    home = sources.fetch("toy")
    after = next(row for row in sources.status() if row.name == "toy")
    assert (after.ok, after.found, after.where, after.advice) == (True, "1.5", home, "")


def test_every_installed_python_source_has_its_pinned_files():
    wheels = [source.name for source in sources.SOURCES.values() if source.kind == "wheel"]
    assert len(wheels) >= 4
    for name in wheels:
        assert sources.fetch(name).is_dir()


# Several processes, and kill -9

FETCH = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.data.made_up_debs import toy
from towers.data import sources
sources.SYSTEM = Path({system!r})
sources.SOURCES["toy"] = toy(Path({model!r}))
print(sources.fetch("toy"), flush=True)
"""


def fetching(tmp_path: Path, home: Path) -> subprocess.Popen:
    """Another process that fetches the toy source with the fake apt-get."""
    model = tmp_path / f"model-{time.monotonic_ns()}"
    model.mkdir()
    code = FETCH.format(
        tests=str(Path(__file__).parents[2]), system=str(tmp_path / "system"), model=str(model)
    )
    environment = {
        **os.environ,
        "TOWERS_HOME": str(home),
        "PATH": path_with(tmp_path / "bin"),
        "TOWERS_DEBS": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_several_processes_download_once_and_all_get_the_files(tmp_path):
    package = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    calls = fake_apt(tmp_path / "bin", f"sleep 0.3; cp {package} .")
    running = [fetching(tmp_path, tmp_path / "home") for _ in range(3)]
    folders = {process.communicate()[0].strip() for process in running}
    assert len(folders) == 1
    assert contents(Path(folders.pop())) == KEPT
    downloads = [line for line in calls.read_text().splitlines() if "--print-uris" not in line]
    assert len(downloads) == 1


@pytest.mark.slow
def test_kill_at_any_moment_leaves_nothing_half_used(tmp_path):
    """One run is timed; then others are killed at moments spread over its whole length."""
    package = deb(tmp_path / "toy-set_1.5_all.deb", FILES)
    slow = f"head -c 400 {package} > toy-set_1.5_all.deb; sleep 0.15; cp {package} ."
    fake_apt(tmp_path / "bin", slow)
    started = time.monotonic()
    assert fetching(tmp_path, tmp_path / "first").communicate()[0]
    length = time.monotonic() - started
    home = tmp_path / "home"
    for moment in range(6):
        process = fetching(tmp_path, home)
        time.sleep(length * (0.5 + 0.08 * moment))
        process.kill()
        process.communicate()
        for folder in (home / "sources").glob("toy-*/"):
            assert contents(folder) == KEPT
            shutil.rmtree(folder)
    found = Path(fetching(tmp_path, home).communicate()[0].strip())
    assert contents(found) == KEPT
    left = [path for path in (home / "sources").glob(".toy.*") if path.is_dir()]
    assert not left  # a kill may leave the few bytes of a mark that was not yet in place
