"""Files are written whole or not at all; folders too."""

import json
import os
import threading
from pathlib import Path

import pytest
from filelock import Timeout
from hypothesis import given
from hypothesis import strategies as st

from towers import files

OLD = {"records.json": "1", "notebook.ipynb": "1", "a.csv": "1", "b.csv": "1"}
NEW = {"records.json": "2", "notebook.ipynb": "2", "a.csv": "2", "c/d.csv": "2"}


def contents(folder: Path) -> dict[str, str]:
    """What a reader sees: relative path -> text of every file that is not hidden."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    }


def staged(folder: Path, members: dict[str, str]) -> Path:
    """A staging folder with the given files."""
    staging = folder / ".staging"
    for name, text in members.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text(text)
    return staging


class TestPlaces:
    def test_root_is_found_from_a_folder_inside(self, checkout, monkeypatch):
        monkeypatch.delenv("TOWERS_ROOT")
        inside = checkout / "a" / "b"
        inside.mkdir(parents=True)
        monkeypatch.chdir(inside)
        assert files.repo_root() == checkout

    def test_root_is_found_from_the_package_where_the_working_directory_is_elsewhere(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.delenv("TOWERS_ROOT", raising=False)
        monkeypatch.chdir(tmp_path)
        assert files.repo_root() in Path(files.__file__).resolve().parents

    def test_no_root_is_an_error_that_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TOWERS_ROOT", raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
        with pytest.raises(FileNotFoundError, match="run from the book's checkout or set TOWERS"):
            files.repo_root()

    def test_homes_follow_the_environment(self, checkout, tmp_path, monkeypatch):
        assert files.results_home() == checkout / "results"
        monkeypatch.setenv("TOWERS_RESULTS", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "cache"))
        assert files.results_home() == tmp_path / "elsewhere"
        assert files.cache_home() == tmp_path / "cache"

    def test_paths_below_the_working_directory_are_shown_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert files.shown(tmp_path / "a" / "b") == Path("a/b")
        assert files.shown(Path("/nowhere/b")) == Path("/nowhere/b")


class TestUserPath:
    def test_a_first_tilde_is_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert files.user_path("~/a b/c") == tmp_path / "a b" / "c"
        assert files.user_path(Path("~")) == tmp_path
        for name in ("TOWERS_HOME", "TOWERS_RESULTS", "TOWERS_ROOT"):
            monkeypatch.setenv(name, f"~/{name}")
        homes = files.cache_home(), files.results_home(), files.repo_root()
        assert [home.parent for home in homes] == [tmp_path] * 3

    def test_other_paths_stay_as_they_are(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "~nobody-of-this-name").mkdir()
        for text in ("a/~b", "/a:b", "http:/x", "a\\b", "~nobody-of-this-name", "-dash", "{x}"):
            assert str(files.user_path(text)) == text

    def test_a_home_that_nobody_knows_is_one_line(self, monkeypatch):
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python does then
        with pytest.raises(ValueError, match="expected a home folder for '~/x', found none; set H"):
            files.user_path("~/x")

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("C:\\data\\birds", "/mnt/c/data/birds"),
            ("d:/birds", "/mnt/d/birds"),
            ("\\\\server\\birds", "write the path with /"),
            ("a\\b", "write a/b"),
            ("", "write . for the working"),
        ],
    )
    def test_paths_of_windows_and_empty_ones_are_one_line_that_helps(
        self, text, advice, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a/b").mkdir(parents=True)
        with pytest.raises(ValueError, match=r"expected (a path|/)") as raised:
            files.user_path(text)
        assert advice in str(raised.value)
        assert "\n" not in str(raised.value)


class TestCache:
    def test_without_a_home_folder_it_is_one_line_and_no_folder_called_tilde(self, monkeypatch):
        monkeypatch.delenv("TOWERS_HOME", raising=False)
        monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
        with pytest.raises(RuntimeError, match="set HOME, or TOWERS_HOME to a folder"):
            files.cache_home()

    def test_what_cannot_be_kept_is_told_of_once(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(files, "_said", threading.Lock())
        (tmp_path / "file").touch()
        below = tmp_path / "file" / "cache"  # a file has no folders in it, also for root
        for name in ("a", "b", "c"):
            with files.cache_lock(below / name):
                assert files.keep(below / name, "text") is False
        said = capsys.readouterr().err
        assert said.count("\n") == said.count("warning: the cache cannot keep") == 1
        assert "TOWERS_HOME" in said

    def test_what_can_be_kept_is_kept_under_a_lock(self, tmp_path, capsys):
        with files.cache_lock(tmp_path / "a"):
            with pytest.raises(Timeout):
                files.locked(tmp_path / "a").acquire(timeout=0)
            assert files.keep(tmp_path / "a", "text")
        assert (tmp_path / "a").read_text() == "text"
        assert capsys.readouterr().err == ""

    def test_an_error_under_the_lock_is_not_taken_for_the_lock_s(self, tmp_path):
        with pytest.raises(OSError, match="mine"), files.cache_lock(tmp_path / "a"):
            raise OSError("mine")

    def test_what_is_cached_is_made_once_and_again_where_bytes_are_others(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
        made = []

        def text() -> str:
            return files.cached(
                "texts/a", lambda: made.append("a") or "text", str.encode, bytes.decode
            )

        assert [text(), text()] == ["text", "text"]
        assert len(made) == 1
        content = (tmp_path / "texts/a").read_bytes()
        for damaged in (content[:-1], b"", content[:-1] + b"x"):
            (tmp_path / "texts/a").write_bytes(damaged)
            assert text() == "text"
        assert len(made) == 4


class TestAtomicWrite:
    @given(content=st.one_of(st.binary(max_size=5000), st.text(max_size=5000)))
    def test_what_is_written_is_read(self, content, tmp_path_factory):
        path = tmp_path_factory.mktemp("whole") / "deep" / "er" / "file"
        files.atomic_write(path, content)
        expected = content.encode("utf-8") if isinstance(content, str) else content
        assert path.read_bytes() == expected
        assert os.listdir(path.parent) == ["file"]

    def test_short_writes_are_continued(self, tmp_path, monkeypatch):
        write = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:7]))
        files.atomic_write(tmp_path / "file", "x" * 100)
        assert (tmp_path / "file").read_text() == "x" * 100

    def test_the_old_file_is_whole_until_the_new_one_is(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        files.atomic_write(path, "old")
        replace, seen = os.replace, []
        monkeypatch.setattr(
            os,
            "replace",
            lambda a, b: (seen.append((path.read_text(), Path(a).read_text())), replace(a, b)),
        )
        files.atomic_write(path, "new")
        assert seen == [("old", "new")]
        assert path.read_text() == "new"

    def test_content_is_on_disk_before_the_rename_and_the_rename_after(self, tmp_path, monkeypatch):
        order = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            monkeypatch.setattr(
                os, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1]
            )
        files.atomic_write(tmp_path / "file", "new")
        assert order == ["fsync", "replace", "fsync"]

    def test_a_byte_that_is_no_utf8_is_named_as_json_names_it(self, tmp_path):
        name = os.fsdecode(b"l\xe4ufe")
        files.atomic_write(tmp_path / "file", json.dumps([name], ensure_ascii=False))
        assert (tmp_path / "file").read_text(encoding="utf-8") == '["l\\udce4ufe"]'
        assert json.loads((tmp_path / "file").read_text()) == [name]


class TestDigests:
    def test_of_bytes_and_of_a_file_agree_with_the_standard(self, tmp_path):
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # FIPS 180
        (tmp_path / "file").write_bytes(b"")
        assert files.sha256(b"") == files.sha256(tmp_path / "file") == empty


class TestPublish:
    def test_a_folder_replaces_the_earlier_one_with_all_its_files(self, tmp_path):
        other = {"smoke/records.json": "0", "laptop.failed.ipynb": "x"}
        for name, text in other.items():
            files.atomic_write(tmp_path / name, text)
        for members in (OLD, NEW, {"records.json": "3"}):
            files.publish(staged(tmp_path, members), tmp_path / "laptop")
            there = {f"laptop/{name}": text for name, text in members.items()}
            assert contents(tmp_path) == there | other
        hidden = [path.name for path in tmp_path.glob(".*") if path.is_dir()]
        assert hidden == []

    @pytest.mark.parametrize("old", [OLD, {}])
    def test_a_rename_that_fails_brings_the_old_one_back(self, tmp_path, monkeypatch, old):
        if old:
            files.publish(staged(tmp_path, old), tmp_path / "laptop")
        staging, rename = staged(tmp_path, NEW), os.rename

        def fails(source, target):
            if source == staging:
                raise OSError("no space")
            rename(source, target)

        monkeypatch.setattr(os, "rename", fails)
        with pytest.raises(OSError, match="no space"):
            files.publish(staging, tmp_path / "laptop")
        assert contents(tmp_path) == {f"laptop/{name}": text for name, text in old.items()}

    def test_what_a_killed_publication_moved_away_is_removed_by_the_next(self, tmp_path):
        files.publish(staged(tmp_path, OLD), tmp_path / "laptop")
        os.rename(tmp_path / "laptop", tmp_path / ".laptop.old")
        assert contents(tmp_path) == {}
        files.publish(staged(tmp_path, NEW), tmp_path / "laptop")
        assert contents(tmp_path / "laptop") == NEW
        assert not (tmp_path / ".laptop.old").exists()
