"""Interactive explorers for the book's pages, which need no kernel, and for notebooks."""

from towers.widgets.live import live_text_explorer
from towers.widgets.policies import PolicyExplorer, policy_explorer
from towers.widgets.text import TextExplorer, text_explorer

__all__ = [
    "PolicyExplorer",
    "TextExplorer",
    "live_text_explorer",
    "policy_explorer",
    "text_explorer",
]
