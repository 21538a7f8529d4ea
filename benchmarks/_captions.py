"""Real captions for the text benchmarks: those of the stamps in ten languages and ten scripts."""

import itertools

from towers import data

LANGUAGES = ("en", "de", "ru", "el", "ja", "ko", "gu", "am", "ka", "hy")


def captions(count: int) -> list[str]:
    """The first captions of the stamps, each language in turn, as often as it takes."""
    spoken = [item.captions for item in data.load("stamps")]
    texts = [said[code][0] for said in spoken for code in LANGUAGES if code in said]
    return list(itertools.islice(itertools.cycle(texts), count))
