"""Sweeps: experiments run with many values of their parameters, and one table of all records.

A grid is a YAML file of experiments, each with values for some of its parameters; all combinations
are run. Snakemake spreads them over cores or a cluster (see `book/clusters.md`):

    clip/retrieval:
      seed: [0, 1, 2]
      steps: [300, 600]
"""

import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towers import files, records, strict_yaml
from towers.experiments.experiment import Experiment, find, resolve
from towers.experiments.parameters import ExperimentError

if TYPE_CHECKING:
    import pandas as pd

_PLAIN = re.compile(r"[\w.=,+-]{1,100}")


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        name: of the experiment.
        parameters: that are set; the others are the scale's.
    """

    name: str
    parameters: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """The folder of its results: `key=value,...`, or a hash where that is no file name."""
        words = ",".join(f"{key}={value}" for key, value in self.parameters.items())
        if _PLAIN.fullmatch(words) and not words.startswith("."):
            return words
        return files.sha256(json.dumps(dict(self.parameters), sort_keys=True).encode())[:16]

    @property
    def arguments(self) -> list[str]:
        """The options of `towers run` that set its parameters."""
        given = self.parameters.items()
        shown = ((key, value if isinstance(value, str) else repr(value)) for key, value in given)
        return [part for key, value in shown for part in ("-p", f"{key}={value}")]


def setting(name: str, value: Any, choices: Sequence[str] = ()) -> str:
    """Check a value of Snakemake's `--config`, which reads `7` as a number and `no` as false.

    Args:
        name: of the entry.
        value: as Snakemake gives it.
        choices: the only values that it may have; empty: any text.

    Raises:
        ExperimentError: no text, or none of the choices.
    """
    if not isinstance(value, str) or not value:
        raise ExperimentError(
            f"expected {name}= as text, got {value!r} ({type(value).__name__}); a path of such a "
            f"name is written {name}=./NAME"
        )
    if choices and value not in choices:
        raise ExperimentError(f"expected {name}= as one of {', '.join(choices)}, got {value!r}")
    return value


def folder(value: Any) -> Path:
    """The folder of a sweep that `into=` names.

    Raises:
        ExperimentError: not text, or with characters that Snakemake would not take literally.
    """
    path = files.user_path(setting("into", value))
    if re.search("[{}\n\r\ud800-\udfff]", str(path)):
        raise ExperimentError(
            "expected into= in UTF-8, without braces, which are blanks to Snakemake, and line "
            f"breaks; got {str(path)!a}; name another folder"
        )
    return path


def read(path: Path, scale: str, root: Path | None = None) -> tuple[Point, ...]:
    """The runs that a grid asks for, each checked against its experiment's parameters.

    Args:
        path: of the YAML file.
        scale: at which they will run.
        root: of the checkout.

    Returns:
        Experiments in the file's order, the last parameter changing fastest.

    Raises:
        ExperimentError: no such file, no grid, an unknown experiment or parameter, or a value that
            the parameter cannot take; one line.
    """
    try:
        text = files.user_path(path).read_text(encoding="utf-8")
        given = strict_yaml.load(text, ExperimentError)
    except OSError as error:
        raise ExperimentError(
            f"expected a grid at {path}, got {error.strerror}; check the path"
        ) from None
    if not isinstance(given, Mapping) or not given:
        raise ExperimentError(
            f"expected experiments with lists of values in {path}, got {type(given).__name__}; "
            "write `clip/retrieval:` and below it `seed: [0, 1]`"
        )
    known = find(root)
    points = []
    for name, values in given.items():
        if name not in known:
            raise ExperimentError(
                f"{path}: expected an experiment of {', '.join(known)}; got {name!r}"
            )
        points += _points(known[name], values, scale, path)
    return tuple(points)


def _points(experiment: Experiment, values: Any, scale: str, path: Path) -> list[Point]:
    fits = isinstance(values, Mapping) and values
    if not fits or not all(isinstance(several, list) and several for several in values.values()):
        raise ExperimentError(
            f"{path}: expected a list of values for each parameter of {experiment.name}, got "
            f"{values!r}; write `seed: [0, 1]`"
        )
    points = []
    for combination in itertools.product(*values.values()):
        set_here = dict(zip(values, combination, strict=True))
        accepted = resolve(experiment, scale, set_here)
        points.append(Point(experiment.name, {key: accepted[key] for key in set_here}))
    if len({point.folder for point in points}) < len(points):
        raise ExperimentError(f"{path}: expected each value of {experiment.name} once, got repeats")
    return points


def table(points: tuple[Point, ...], into: Path, scale: str) -> "pd.DataFrame":
    """The records of all runs in one table, with a column for each parameter that was set.

    Args:
        points: of the grid.
        into: folder of the sweep, which holds a results folder for each.
        scale: at which they ran.

    Raises:
        RecordsError: a run is missing or damaged.
    """
    import pandas as pd

    parts = []
    for point in points:
        result = records.folder(point.name, scale, into / point.folder)
        frame = records.frame(records.read(result)[1])
        shown = {key: value if isinstance(value, int | float | str) else json.dumps(value)
                 for key, value in point.parameters.items()}  # fmt: skip
        # a parameter such as `seed` may be a column of the records already
        parts.append(frame.assign(**{f"-p {key}": value for key, value in shown.items()}))
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":  # what the Snakefile runs last
    grid, wanted, swept, output = sys.argv[1:]
    frame = table(read(files.user_path(grid), wanted), files.user_path(swept), wanted)
    records.export(frame, files.user_path(output))
