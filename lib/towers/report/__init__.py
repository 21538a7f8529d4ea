"""The report: run what is stale, then build the book from all results."""

from towers.report.assembly import assemble
from towers.report.book import build
from towers.report.pages import (
    ledger_markdown,
    picture_markdown,
    provenance_markdown,
    status_markdown,
    verdicts_text,
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
    "verdicts_text",
]
