"""Protocols, one per file: a model and data in, measurements out."""
