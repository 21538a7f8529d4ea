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
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple:
        """Crosses process borders with its reason and its message."""
        return _bad_image, (self.reason, str(self))


def _bad_image(reason: str, message: str) -> BadImage:
    error = BadImage(reason)
    error.args = (message,)
    return error


def absent(error: OSError) -> bool:
    """Whether the system says that there is no file to read at a path.

    All else (a failing disk or network, too many open files) says nothing of the data and may pass:
    a run that took such a sample for a bad one would go on with other data.
    """
    return error.errno in _ABSENT
