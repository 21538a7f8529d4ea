"""The book's own directives: everything on a page that is read from records, not typed.

Roles and directives (all of them fail the strict build when what they name is missing):

- `{record}` puts a number from a record into a sentence, `{published}` one from a paper's table.
- `{verdicts}` counts the verdicts on a paper's claims.
- `{provenance}` is the box under an executed page: who ran what, when, on which data.
- `{picture}` shows a figure of an executed page on another page.
- `{ledger}` is the table of claims of a paper; `{status}` the table of all experiments.
"""

import os
import shutil
from collections import _tuplegetter
from html import escape
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from towers import report


class RecordRole(SphinxRole):
    """``{record}`clip/retrieval; in-domain; recall; text retrieval; k=10; interval` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Replace the role by the one record that its words select."""
        try:
            text, title = self.look_up()
        except ValueError as error:
            message = self.inliner.reporter.warning(f"{self.name}: {error}", line=self.lineno)
            return [nodes.literal(self.text, self.text)], [message]
        html = f'<span class="towers-{self.name}" title="{escape(title)}">{escape(text)}</span>'
        return [nodes.raw(text, html, format="html")], []

    def look_up(self) -> tuple[str, str]:
        """The number as text, and where it comes from."""
        page = self.env.docname.partition("book/run/")[2]
        return report.quote(self.text, scale=shown_scale(), page=page)


class PublishedRole(RecordRole):
    """``{published}`clip 11; model=L/14-336px; column=ImageNet` ``."""

    def look_up(self) -> tuple[str, str]:
        """The published number as text, and its place in the paper."""
        return report.cite(self.text)


class VerdictsRole(RecordRole):
    """``{verdicts}`clip` ``."""

    def look_up(self) -> tuple[str, str]:
        """How far the book is with a paper, and where that is counted."""
        return report.verdicts_text(self.text, shown_scale()), "counted from the claims ledger"


class Generated(SphinxDirective):
    """A directive whose body is Markdown made from records."""

    required_arguments = 1

    def markdown(self, *arguments: str) -> str:
        """The Markdown to stand in the directive's place."""
        raise TypeError(f"{type(self).__name__} makes no Markdown from {arguments}")

    def run(self) -> list[nodes.Node]:
        """Parse the generated Markdown in place."""
        try:
            text = self.markdown(*self.arguments)
        except (ValueError, OSError) as error:
            return [self.state.document.reporter.warning(f"{self.name}: {error}", line=self.lineno)]
        box = nodes.container(classes=[f"towers-{self.name}"])
        self.state.nested_parse(StringList(text.split("\n"), self.name), self.content_offset, box)
        return [box]


class Provenance(Generated):
    """The box under an executed page."""

    def markdown(self, argument: str) -> str:
        """What one experiment's run rests on, with links to notebook, data and library."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        return report.provenance_markdown(argument, scale=shown_scale(), page_folder=here)


class Picture(Generated):
    """A figure of an executed page, shown on another page; the body is its caption there."""

    required_arguments = 2
    has_content = True

    def markdown(self, experiment: str, figure: str) -> str:
        """The picture, or nothing if the experiment has not run at this scale."""
        caption = " ".join(self.content)
        return report.picture_markdown(experiment, figure, caption, page=self.env.docname)


class Ledger(Generated):
    """The claims of one paper beside our verdicts."""

    def markdown(self, argument: str) -> str:
        """A list table with one row per table and figure of the paper."""
        return report.ledger_markdown(argument, scale=shown_scale(), page=self.env.docname)


class Status(Generated):
    """Every experiment: when it last ran, for how long, at which commit, stale or not."""

    required_arguments = 0

    def markdown(self) -> str:
        """A list table with one row per experiment and scale."""
        return report.status_markdown(page=self.env.docname)


def shown_scale() -> str:
    """The scale that this build shows."""
    return os.environ.get("TOWERS_SCALE", "laptop")


def vendor_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax out of its package, so that formulas need no network."""
    if error is None and app.builder.format == "html":
        spec = find_spec("sphinx-mathjax-offline")
        source = Path(spec.origin).parent / "static" / "mathjax" / "tex-svg.js"
        target = Path(app.outdir) / "_static" / "mathjax" / "tex-svg.js"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def without_thebe(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Leave out the scripts of a live kernel: unused here, and broken on the search page."""
    context["script_files"] = [
        script
        for script in context.get("script_files", ())
        if "thebe" not in f"{script} {getattr(script, 'attributes', '')}".lower()
    ]


def local_mathjax(app: Sphinx, config: object) -> None:
    """Point pages at the copied MathJax."""
    config.mathjax_path = "mathjax/tex-svg.js"


def without_aliases(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of named tuples as members: their docstrings describe them."""
    return True if isinstance(thing, _tuplegetter) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the book's roles and directives."""
    app.add_role("record", RecordRole())
    app.add_role("published", PublishedRole())
    app.add_role("verdicts", VerdictsRole())
    app.add_directive("provenance", Provenance)
    app.add_directive("picture", Picture)
    app.add_directive("ledger", Ledger)
    app.add_directive("status", Status)
    app.connect("autodoc-skip-member", without_aliases)
    app.connect("config-inited", local_mathjax, priority=900)
    app.connect("html-page-context", without_thebe, priority=999)
    app.connect("build-finished", vendor_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
