"""Small shards, written for a test."""

import io
import tarfile

from tests import toy_towers


def tar(path, members):
    """A tar of (name, content) pairs; a name alone is a folder."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def members(numbers, first=0):
    return [
        part
        for n in numbers
        for part in (
            (f"{first + n:05d}.png", toy_towers.picture(first + n)),
            (f"{first + n:05d}.txt", f"caption {first + n}\nother {first + n}".encode()),
        )
    ]


def three_tars(folder, counts=(5, 3, 7)):
    """Shards of so many samples, named 0 to 2."""
    for number, count in enumerate(counts):
        tar(folder / f"{number}.tar", members(range(count), 100 * number))
