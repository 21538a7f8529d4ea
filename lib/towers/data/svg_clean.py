"""SVG from anywhere, rewritten: only drawing, nothing from outside, and always with a size.

The rewriting streams through expat without namespace checks, so that the many old files whose
prefixes are declared nowhere are read as well. What comes out holds SVG elements only. Left out
are scripts, foreign elements, metadata, and every reference that does not stay inside the file.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from towers.data.errors import BadImage

MAX_BYTES = 16 * 2**20
"""Size above which an SVG is refused, before and after its entities are replaced."""
MAX_DEPTH = 100
"""Nesting above which an SVG is refused; Open Clip Art's deepest drawing has 19 levels."""
MAX_ENTITIES = 64
MAX_ENTITY = 256
"""Longest entity, in characters. Illustrator declares its namespaces as entities of about 40."""

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

_DROPPED = {"script", "metadata", "foreignObject", "title", "desc"}
_PICTURES = re.compile(r"data:image/(png|jpe?g|gif|webp)\s*;\s*base64\s*,", re.IGNORECASE)
_LENGTH = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-z]*)\s*")
_PER_INCH = {"in": 1.0, "cm": 2.54, "mm": 25.4, "pt": 72.0, "pc": 6.0}
_EDITOR = re.compile(r"0\.(\d+)")


@dataclass(frozen=True)
class Drawing:
    """A cleaned SVG, to be shown whole or in part.

    Attributes:
        width: of the page, in user units; None where the file gives no size at all.
        height: of the page, in user units; None together with `width`.
        attributes: of the root element, as text, without its size.
        body: everything inside the root element, as text.
        text: whether letters are drawn, so that a font is needed.
        sized: whether the file gives width and height, in lengths that stand on their own.
    """

    width: float | None
    height: float | None
    attributes: str
    body: str
    text: bool
    sized: bool

    def page(self) -> tuple[float, float]:
        """Width and height; a thousand units square where the file gives none."""
        return (self.width, self.height) if self.width and self.height else (1000.0, 1000.0)

    def document(self, box: tuple[float, float, float, float], width: int, height: int) -> str:
        """SVG that shows one box (x, y, width, height in the page's units) at a size in pixels.

        Only the page is shown when the box is the page; a larger box also shows what the author
        left beside it.
        """
        page_width, page_height = self.page()
        shown = " ".join(f"{number:.9g}" for number in box)
        return (
            f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" width="{width}" height="{height}" '
            f'viewBox="{shown}" preserveAspectRatio="none"><svg width="{page_width:.9g}" '
            f'height="{page_height:.9g}" overflow="visible"{self.attributes}>{self.body}</svg>'
            "</svg>"
        )


def clean(svg: bytes) -> Drawing:
    """Read an SVG whole and keep what can be drawn from the file alone.

    Sizes follow CSS at 96 units per inch; files of Sodipodi, and of Inkscape before 0.92, follow
    those editors' 90. Percentages and missing sizes give way to the viewBox.

    Raises:
        BadImage: "too many bytes", "not svg" (no XML, or another root), "damaged" (XML that
            breaks off or is malformed), "entities" (any but short literal ones) or "too deep".
    """
    if len(svg) > MAX_BYTES:
        raise BadImage("too many bytes", f"expected at most {MAX_BYTES} bytes of SVG")
    writer = _Writer()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = writer.entity
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.characters
    try:
        parser.Parse(svg, True)
    except expat.ExpatError as error:
        reason = "damaged" if writer.root is not None else "not svg"
        raise BadImage(reason, f"expected well-formed XML, got {error}") from None
    return writer.drawing()


@dataclass
class _Writer:
    """Receives what expat reads, and writes what is kept."""

    root: Mapping[str, str] | None = None
    prefix: str = ""
    pieces: list[str] = field(default_factory=list)
    characters_read: int = 0
    entities: int = 0
    depth: int = 0
    skipped_from: int | None = None
    text: bool = False

    def entity(self, name, is_parameter, value, base, system, public, notation) -> None:
        self.entities += 1
        literal = value is not None and not is_parameter and not {"&", "%", "<"} & set(value)
        if not literal or len(value) > MAX_ENTITY or self.entities > MAX_ENTITIES:
            raise BadImage("entities", f"expected short literal entities, got {name!r}")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BadImage("too deep", f"expected at most {MAX_DEPTH} nested elements")
        prefix, _, local = name.rpartition(":")
        if self.root is None:
            if local != "svg":
                raise BadImage("not svg", f"expected an svg element, got {local[:40]!r}")
            self.root, self.prefix = attributes, prefix
        elif self.skipped_from is None:
            if prefix not in ("svg", self.prefix) or local in _DROPPED:
                self.skipped_from = self.depth
            else:
                self.text |= local == "text"
                self._write(f"<{local}{_written(attributes)}>")

    def end(self, name: str) -> None:
        if self.skipped_from is None and self.depth > 1:
            self._write(f"</{name.rpartition(':')[2]}>")
        if self.skipped_from == self.depth:
            self.skipped_from = None
        self.depth -= 1

    def characters(self, text: str) -> None:
        if self.skipped_from is None:
            self._write(escape(text))

    def _write(self, piece: str) -> None:
        self.characters_read += len(piece)
        if self.characters_read > MAX_BYTES:
            raise BadImage("too many bytes", f"expected at most {MAX_BYTES} bytes of SVG")
        self.pieces.append(piece)

    def drawing(self) -> Drawing:
        root = dict(self.root or {})
        size = _size(root)
        view = _view_box(root.get("viewBox"))
        if view is None:
            root.pop("viewBox", None)
        width, height = size if all(size) else view or (None, None)
        for place in ("x", "y", "width", "height", "overflow"):
            root.pop(place, None)
        body = "".join(self.pieces)
        return Drawing(width, height, _written(root), body, self.text, all(size))


def _written(attributes: Mapping[str, str]) -> str:
    """Attributes as text: SVG's own, `xml:`, and links that stay inside the file."""
    kept = []
    for name, value in attributes.items():
        prefix, _, local = name.rpartition(":")
        if name == "xmlns" or prefix not in ("", "xml", "xlink"):
            continue
        if local == "href":
            if not (value.startswith("#") or _PICTURES.match(value)):
                continue
            name = "xlink:href"
        elif prefix == "xlink":
            continue
        kept.append(f" {name}={quoteattr(value)}")
    return "".join(kept)


def _size(root: Mapping[str, str]) -> list[float | None]:
    """Width and height as the root element gives them, in user units."""
    density = _density(root)
    return [_length(root.get(side), density) for side in ("width", "height")]


def _density(root: Mapping[str, str]) -> float:
    """Units per inch that the drawing's editor meant."""
    if version := root.get("inkscape:version"):
        old = _EDITOR.match(version)
        return 90.0 if old and int(old.group(1)) < 92 else 96.0
    return 90.0 if "sodipodi:version" in root else 96.0


def _length(text: str | None, density: float) -> float | None:
    """A length in user units; None where there is none that stands on its own (or is > 0)."""
    found = _LENGTH.fullmatch(text or "")
    if not found or found.group(2) not in ("", "px", *_PER_INCH):
        return None
    number, unit = float(found.group(1)), found.group(2)
    units = number if unit in ("", "px") else number * density / _PER_INCH[unit]
    return units if 1e-6 < units < 1e9 else None


def _view_box(text: str | None) -> tuple[float, float] | None:
    """Width and height of a viewBox; None where it is missing or no box."""
    try:
        numbers = [float(part) for part in re.split(r"[\s,]+", (text or "").strip())]
    except ValueError:
        return None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return None
    return (numbers[2], numbers[3]) if min(numbers[2:]) > 1e-6 else None
