"""Towers: an executable book on contrastive vision-language learning.

The rooms, from the ground up: `files`; `records`, `data`, `losses`, `metrics`; `models`,
`experiments`, `plots`, `published`; `training`, `evaluation`; `cli`. A module imports only from
floors below its own.
"""
