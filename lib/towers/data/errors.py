"""What goes wrong with data, as errors of one line each."""


class DataError(ValueError):
    """A data set or a source is missing, damaged or refused; the message is one line."""


class BadImage(DataError):
    """An image that is not read.

    Attributes:
        reason: a short stable string, the one that a `Report` counts: "missing", "not a file",
            "empty", "too many bytes", "unknown type", "too many pixels", "too many scans",
            "truncated" or "damaged".
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
