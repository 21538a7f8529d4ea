"""Small files in every layout, made up for tests."""

import io
import tarfile

import pytest
from PIL import Image

from towers.data import custom
from towers.data.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """A cache folder of its own for every test of a module that imports this."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path_factory.mktemp("home")))


def encoded(color, kind="PNG", size=(6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def color_of(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 % 256, 77


def fill(folder, names, text="a caption") -> None:
    """Different pictures under these names, each with a .txt if there is a text."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(color_of(number)))
        if text:
            file.with_suffix(".txt").write_text(text, encoding="utf-8")


def make_tar(path, members, kind=tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def refusal(name: str, **options) -> str:
    with pytest.raises(DataError) as caught:
        custom.load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
