"""What goes wrong with data, as errors of one line each."""

import errno

_ABSENT = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ENXIO, errno.ENODEV,
})  # fmt: skip


class DataError(ValueError):
    """A data set or a source is missing, damaged or refused; the message is one line."""


class BadImage(DataError):
    """An image that is not read.

    Attributes:
        reason: a short stable string, the one that a `Report` counts: "missing", "not a file",
            "empty", "too many bytes", "unknown type", "too many pixels", "too many scans",
            "truncated", "damaged" or "out of memory".
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(filter(None, self.args))


def absent(error: OSError) -> bool:
    """Whether the system says that there is no file to read at a path.

    All else (a failing disk or network, too many open files) says nothing of the data and may pass:
    a run that took such a sample for a bad one would go on with other data.
    """
    return error.errno in _ABSENT
