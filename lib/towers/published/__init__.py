"""The papers' own tables as data, and the ledger of what each table and figure claims."""

from towers.published.ledger import VERDICTS, Claim, claims
from towers.published.tables import PublishedError, Table, table, tables

__all__ = ["VERDICTS", "Claim", "PublishedError", "Table", "claims", "table", "tables"]
