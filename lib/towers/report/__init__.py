"""The report: run what is stale, then build the book from what ran."""

from towers.report.book import assemble, build
from towers.report.pages import (
    ledger_markdown,
    picture_markdown,
    provenance_markdown,
    status_markdown,
)
from towers.report.quotes import cite, quote

__all__ = [
    "assemble",
    "build",
    "cite",
    "ledger_markdown",
    "picture_markdown",
    "provenance_markdown",
    "quote",
    "status_markdown",
]
