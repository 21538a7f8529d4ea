"""Whether image files are whole: checked once, remembered until the file changes."""

import json
import os
from dataclasses import astuple, dataclass
from pathlib import Path

from towers.data.errors import BadImage, absent
from towers.data.images import image_type, open_image, read_bytes
from towers.data.items import content_key
from towers.data.svg import rasterise
from towers.files import cache_home, keep, sha256

_VERSION = 2
"""Raise it when the check becomes stricter or looser: older verdicts are then forgotten."""
_PASSING = ("out of memory", "too slow", "kills the renderer")
"""Reasons that may lie in the machine as it was: the file is looked at again next time."""


@dataclass(frozen=True)
class Verdict:
    """One file's outcome: a key if its picture is whole, else the reason why it is refused."""

    key: str | None = None
    reason: str | None = None
    drawing: bool = False


class Verdicts:
    """The verdicts on the files of one set, in the cache between sessions.

    Args:
        name: of the set; one cache file per name.
    """

    def __init__(self, name: str) -> None:
        key = sha256(name.encode("utf-8", "surrogatepass"))  # a path's bytes may be no UTF-8
        self.path = cache_home() / "checks" / f"{key[:32]}.json"
        self._known = _read(self.path)
        self._now: dict[str, list] = {}

    def of(self, path: Path) -> Verdict:
        """The verdict on a file, remembered if its size and time have not changed.

        Raises:
            OSError: the disk fails.
        """
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and not absent(error):
                raise
            return Verdict(reason="missing")
        name, stamp = os.path.abspath(path), [status.st_size, status.st_mtime_ns]
        known = self._known.get(name)
        verdict = Verdict(*known[2:]) if known and known[:2] == stamp else check(path)
        if verdict.reason not in _PASSING:
            self._now[name] = [*stamp, *astuple(verdict)]
        return verdict

    def save(self) -> None:
        """Keep this session's verdicts beside the earlier ones."""
        if files := {name: row for name, row in self._now.items() if row != self._known.get(name)}:
            content = {"version": _VERSION, "files": self._known | files}
            keep(self.path, json.dumps(content, ensure_ascii=True))


def check(path: Path) -> Verdict:
    """Read and decode a file once.

    Raises:
        OSError: the disk fails.
    """
    try:
        data = read_bytes(path)
        drawing = image_type(data) is None and b"<svg" in data[:4096]
        if drawing:
            rasterise(data)
        else:  # at an eighth of its size a JPEG is still decoded to its last byte
            open_image(data, size=32)
    except BadImage as error:
        return Verdict(reason=error.reason)
    except MemoryError:
        return Verdict(reason="out of memory")
    return Verdict(content_key(data), drawing=drawing)


def _read(path: Path) -> dict[str, list]:
    """What is known; nothing where the file is absent, old or not ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["files"] if content["version"] == _VERSION else {}
        return {name: row for name, row in rows.items() if len(row) == 5}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
