"""Writes Markdown for the book from records: provenance, the claims ledger, the status page."""

import ast
import inspect
import json
import pkgutil
from collections import Counter
from collections.abc import Iterable
from os.path import relpath
from pathlib import Path

import nbformat

from towers import experiments, files, published, records
from towers.published.ledger import verdict
from towers.report import verdicts
from towers.report.chapters import failure, log_of

VERDICT_MARKS = {
    "reproduced": "●",
    "partly": "◐",
    "not reproduced": "○",
    "inconclusive": "?",
    "not run": "–",
    "illustration": " ",
}


def finishing_cells(name: str) -> list[nbformat.NotebookNode]:
    """The cells that the book appends to an executed notebook."""
    text = f"## Provenance\n\n```{{provenance}} {name}\n```"
    return [nbformat.v4.new_markdown_cell(text)]


def missing_markdown(experiment: experiments.Experiment, scale: str) -> str:
    """The page of an experiment that has no result: why, and how to run it.

    Args:
        experiment: of the page.
        scale: that is shown.

    Returns:
        Markdown, from the heading on.
    """
    name, again = experiment.name, f"`towers run {experiment.name} --scale {scale}`"
    failed = failure(name, scale)
    without = [n for n in experiment.needs if not _has_run(n, scale)]
    lines = [f"# {experiment.title}", "", "````{admonition} This chapter has no result"]
    lines += [":class: warning", ""]
    if failed:
        log = log_of(name, scale).relative_to(files.repo_root())
        lines += [f"Its run at {scale} scale failed on {failed.when} UTC:", "", "```text"]
        lines += [failed.cause.replace("`", "'"), "```", ""]
        lines += [f"Run it again with {again}, or all that is missing with `make book`: what it"]
        lines += [f"has trained is kept, and it goes on there. Its output is in `{log}`."]
    elif without:
        lines += [f"Not run yet at {scale} scale: it needs {', '.join(without)}, which has no"]
        lines += [f"result. {again} runs both."]
    else:
        reason = experiments.staleness(experiment, scale) or "its notebook cannot be read"
        words = "Not run yet" if reason == experiments.NEVER else reason.capitalize()
        lines += [f"{words} at {scale} scale: {again}."]
    return "\n".join([*lines, "````"])


def _has_run(name: str, scale: str) -> bool:
    return (records.folder(name, scale) / records.FILE).is_file()


def provenance_markdown(name: str, scale: str, page_folder: Path) -> str:
    """The provenance of a page: run, parameters, versions, and links to the files behind it.

    Args:
        name: the experiment.
        scale: the scale that is shown.
        page_folder: the folder of the page, from which links are relative.

    Returns:
        Markdown.

    Raises:
        ValueError: the experiment or its records cannot be read.
    """
    root = files.repo_root()
    result = records.folder(name, scale)
    facts, rows = records.read(result)
    experiment = experiments.get(name)
    stale = experiments.staleness(experiment, scale)
    state = "up to date with the code" if stale is None else f"stale: {stale}"
    if failed := failure(name, scale):
        state += f"; a later run failed on {failed.when} UTC"
    commit = f"`{facts.commit[:12]}`" if facts.commit else "none"
    if facts.dirty:
        commit += " with uncommitted changes"
    hardware = ", ".join(_piece(key, value) for key, value in facts.hardware.items() if value)
    memory = f"{facts.peak_memory_bytes / 2**30:.1f} GiB"

    def link(path: Path, text: str) -> str:
        return f"{{download}}`{text} <{relpath(path, page_folder)}>`"

    figures = sorted(result.glob("*.csv"))
    lines = [
        f"**{scale}** scale, {len(rows)} records, {state}. Run on {facts.started[:16]} UTC at "
        f"commit {commit}: {facts.wall_seconds:.0f} s, {memory} at peak, {hardware}.",
        "",
        f"Behind this page: {link(root / experiment.notebook.relative_to(root), 'the notebook')}, "
        f"{link(result / records.FILE, 'its records')}"
        + "".join(f", {link(path, f'data of {path.stem}')}" for path in figures)
        + ".",
        "",
        f"Rerun it: `towers run {name} --scale {scale}`.",
        "",
    ]
    used = library_references(experiment.notebook)
    if used:
        lines += ["Library functions called: " + ", ".join(used) + ".", ""]
    lines += [
        "````{dropdown} Parameters, checksums, versions",
        _facts_table("Parameter", facts.parameters),
        _facts_table("Data and weights (SHA-256)", {k: v[:16] for k, v in facts.checksums.items()}),
        _facts_table("Version", facts.versions),
        "````",
    ]
    return "\n".join(lines)


def _piece(key: str, value: object) -> str:
    """One fact about the hardware; memory in GiB."""
    if key.endswith("_bytes"):
        return f"{key.removesuffix('_bytes')} {value / 2**30:.0f} GiB"
    return f"{key} {value}"


def _facts_table(heading: str, facts: dict) -> str:
    """A two-column table of keys and values."""
    rows = [f"| {heading} | |", "|---|---|"]
    rows += [f"| {_cell(str(key))} | `{json.dumps(value)}` |" for key, value in facts.items()]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def library_references(notebook: Path) -> list[str]:
    """Links to the public functions of the library that a notebook's code names.

    Args:
        notebook: path of an `.ipynb`.

    Returns:
        Markdown references into the library's pages, sorted.
    """
    names: dict[str, str] = {}  # as the notebook has imported them -> in full
    targets: set[str | None] = set()
    for cell in nbformat.read(notebook, as_version=4).cells:
        nodes = [*ast.walk(ast.parse(cell.source))] if cell.cell_type == "code" else []
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("towers"):
                names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        for dotted in filter(None, map(_dotted, nodes)):
            if dotted[0] in names:
                targets.add(_documented(".".join([names[dotted[0]], *dotted[1:]])))
    targets -= {None}
    return [f"{{py:obj}}`{name.removeprefix('towers.')} <{name}>`" for name in sorted(targets)]


def _dotted(node: ast.AST) -> list[str] | None:
    """`a.b.c` as a list of names, if the node is that."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None


def _documented(path: str) -> str | None:
    """The name under which the API pages document a function or class, or None."""
    try:
        thing = pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return None
    if inspect.isfunction(thing) or inspect.isclass(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    return None


def picture_markdown(name: str, figure: str, caption: str, page: str) -> str:
    """A figure of an executed page, for another page.

    Args:
        name: the experiment.
        figure: the figure's name in its cell's metadata.
        caption: what stands under it here.
        page: the page that shows it; links are relative to it.

    Returns:
        Markdown; empty if the experiment has not run at the shown scale.

    Raises:
        ValueError: the notebook has no such figure.
    """
    root = files.repo_root()
    cells = nbformat.read(experiments.get(name).notebook, as_version=4).cells
    shown = [c.metadata.get("mystnb", {}) for c in cells]
    wanted = [s for s in shown if s.get("figure", {}).get("name") == figure]
    if not wanted:
        raise ValueError(f"expected a figure named {figure} in {name}, there is none")
    if not (root / f"book/run/{name}/{figure}.png").is_file():
        return ""
    here = Path(page).parent
    target = relpath(f"book/run/{name}.ipynb", here)
    return (
        f"```{{figure}} {relpath(f'book/run/{name}/{figure}.png', here)}\n"
        f":alt: {wanted[0]['image']['alt']}\n\n"
        f"{_inline(caption)} From [{name}]({target}).\n```"
    )


def ledger_markdown(paper: str, scale: str, page: str) -> str:
    """The claims of one paper beside our verdicts.

    Args:
        paper: key of the paper, such as `clip`.
        scale: the scale whose records are quoted.
        page: the page that shows the table; links are relative to it.

    Returns:
        Markdown: a list table, one row per table and figure.
    """
    rows = [claim for claim in published.claims() if claim.paper == paper]
    if not rows:
        raise ValueError(f"expected claims of {paper!r} in book/claims.yaml, found none")
    decided = {row.id: verdicts.decide(row, scale) for row in rows}
    lines = [f"{_counts(given for given, _ in decided.values())}.", "", "````{list-table}"]
    lines += [":header-rows: 1", ":widths: 14 40 30 16", ""]
    lines += ["* - Item", "  - Claim", "  - Ours", "  - Verdict"]
    for row in rows:
        given, outcomes = decided[row.id]
        chapter = ""
        if row.experiment:
            target = relpath(f"book/run/{row.experiment}.ipynb", Path(page).parent)
            chapter = f"[{row.experiment}]({target}). "
        lines += [
            f"* - {row.item}, {row.section}",
            f"  - {_inline(row.claim)}",
            f"  - {chapter}{_inline(row.note)}",
            *(f"\n    {VERDICT_MARKS[_said(outcome)]} {_rule(outcome)}" for outcome in outcomes),
            f"  - {VERDICT_MARKS[given]} {given}",
        ]
    return "\n".join([*lines, "````"])


def _said(outcome: verdicts.Outcome) -> str:
    """The verdict of a single rule."""
    return verdict([outcome.holds]) if outcome.source else "not run"


def _rule(outcome: verdicts.Outcome) -> str:
    """A rule as a sentence: what it says, what was expected, what came, what could be seen."""
    rule, reach = outcome.rule, f", seen from {outcome.reach} on" if outcome.reach else ""
    return f"*{_inline(rule.says)}*: {rule.expect} expected, {outcome.value}{reach}."


def verdicts_text(paper: str, scale: str) -> str:
    """How far the book is with a paper, counted from its chapters and its rows in the ledger.

    Args:
        paper: key of the paper, such as `clip`.
        scale: whose records decide.

    Returns:
        For example "6 chapters; of 15 tables and figures 1 reproduced, 9 partly, 5 not run"; "to
        come" if the ledger holds nothing of it yet.
    """
    rows = [claim for claim in published.claims() if claim.paper == paper]
    if not rows:
        return "to come"
    chapters = sum(name.startswith(f"{paper}/") for name in experiments.names())
    several = "s" * (chapters != 1)
    counts = _counts(verdicts.decide(row, scale)[0] for row in rows)
    return f"{chapters} chapter{several}; of {len(rows)} tables and figures {counts}"


def _counts(given: Iterable[str]) -> str:
    counts = Counter(given)
    return ", ".join(f"{counts[each]} {each}" for each in VERDICT_MARKS if counts[each])


def _inline(text: str | None) -> str:
    return " ".join((text or "").split())


def status_markdown(page: str) -> str:
    """Every experiment at every scale: last run, time, commit, stale or not.

    Args:
        page: the page that shows the table; links are relative to it.

    Returns:
        Markdown: a list table.
    """
    lines = ["````{list-table}", ":header-rows: 1", ""]
    lines += ["* - Experiment", "  - Scale", "  - Last run (UTC)", "  - Time", "  - Commit"]
    lines += ["  - Records", "  - State"]
    for name, experiment in experiments.find().items():
        for scale in ("smoke", "laptop", "paper"):
            target = relpath(f"book/run/{name}.ipynb", Path(page).parent)
            stale = experiments.staleness(experiment, scale)
            lines += [f"* - [{name}]({target})", f"  - {scale}"]
            if _has_run(name, scale):
                facts, rows = records.read(records.folder(name, scale))
                dirty = " + changes" if facts.dirty else ""
                lines += [
                    f"  - {facts.started[:16].replace('T', ' ')}",
                    f"  - {facts.wall_seconds:.0f} s",
                    f"  - `{(facts.commit or 'none')[:8]}`{dirty}",
                    f"  - {len(rows)}",
                ]
            else:
                lines += ["  - –", "  - –", "  - –", "  - –"]
            failed = failure(name, scale)
            lost = f"; its last run failed on {failed.when} UTC" if failed else ""
            lines.append(f"  - {stale or 'fresh'}{lost}")
    return "\n".join([*lines, "````"])
