"""Explorers for the book's pages, which work without a kernel, and in a notebook as well."""

from towers.widgets.live import live_text_explorer
from towers.widgets.text import TextExplorer, text_explorer

__all__ = ["TextExplorer", "live_text_explorer", "text_explorer"]
