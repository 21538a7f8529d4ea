"""From stale experiments to a built book, with a bar and the time left."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml

from towers import experiments, files, records
from towers.progress import tqdm
from towers.report.pages import finishing_cells

WAITING_SHARE = 0.97  # an experiment that runs longer than expected stays just short of done


class ReportError(RuntimeError):
    """The report could not be finished; the message is one line."""


def build(
    scale: str = "laptop", part: str | None = None, jobs: int = 2, force: bool = False
) -> Path:
    """Run every stale experiment, then build the book from all that ran.

    Args:
        scale: the scale to run and to show.
        part: only experiments of this part are run; pages of other parts show what they have.
        jobs: experiments at a time.
        force: run experiments and build the book even if nothing has changed.

    Returns:
        The book's first page.

    Raises:
        ReportError: an experiment or the strict book build failed.
        ValueError: there is no such part.
    """
    root = files.repo_root()
    catalogue = experiments.find(root)
    chosen = [name for name in catalogue if part in (None, name.split("/")[0])]
    if not chosen:
        parts = sorted({name.split("/")[0] for name in catalogue})
        raise ValueError(f"expected a part among {', '.join(parts)}, got {part!r}")
    stale = [name for name in chosen if force or experiments.staleness(catalogue[name], scale)]
    if stale:
        _run_graph(root, stale, scale, part, jobs, force)
    assemble(scale, root)
    return _build_pages(root, scale, force)


def _run_graph(
    root: Path, stale: list[str], scale: str, part: str | None, jobs: int, force: bool
) -> None:
    """Hand the stale experiments to Snakemake and watch them."""
    expected = {name: _expected_seconds(name, scale) for name in stale}
    log = root / f"_build/logs/{scale}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--forceall", "--nolock", "--keep-going"]
    command += ["--rerun-incomplete", "--cores", str(jobs), "--config", f"scale={scale}"]
    command += [f"part={part or ''}", f"force={int(force)}"]
    bins = Path(sys.executable).parent
    threads = max(1, (os.cpu_count() or 1) // min(jobs, len(stale)))
    environment = os.environ | {
        "PATH": f"{bins}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(threads),
    }
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, cwd=root, stdout=sink, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _watch(process, root, scale, expected, jobs)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise ReportError(_cause(root, scale, stale, log))


def _expected_seconds(name: str, scale: str) -> float:
    """How long an experiment took last time, or a third of its limit."""
    path = files.results_home() / f"{name}/{scale}.json"
    if path.is_file():
        return max(1.0, records.read(path)[0].wall_seconds)
    return 20.0 * experiments.get(name).minutes.get(scale, 1)


def _watch(
    process: subprocess.Popen, root: Path, scale: str, expected: dict[str, float], jobs: int
) -> None:
    """Move a bar by expected seconds until the graph has finished."""
    start = time.time()
    started: dict[str, float] = {}
    shape = "{desc} |{bar}| {n:.0f}/{total:.0f} s expected{postfix}"
    with tqdm(total=sum(expected.values()), bar_format=shape, mininterval=0.5) as bar:
        while process.poll() is None:
            time.sleep(0.5)
            done = 0.0
            finished = 0
            for name, seconds in expected.items():
                if _newer(root / f"_build/ran/{scale}/{name}", start):
                    done, finished = done + seconds, finished + 1
                elif _newer(root / f"_build/logs/{scale}/{name}.log", start):
                    spent = time.time() - started.setdefault(name, time.time())
                    done += min(spent, WAITING_SHARE * seconds)
            bar.n = done
            bar.set_description_str(f"experiments {finished}/{len(expected)}", refresh=False)
            left = (bar.total - done) / min(jobs, len(expected))
            bar.set_postfix_str(f"{time.time() - start:.0f} s spent, about {left:.0f} s left")


def _newer(path: Path, moment: float) -> bool:
    return path.exists() and path.stat().st_mtime >= moment - 1


def _cause(root: Path, scale: str, stale: list[str], log: Path) -> str:
    """One line that says which experiment failed, and why."""
    for name in stale:
        own = root / f"_build/logs/{scale}/{name}.log"
        lines = own.read_text(errors="replace").splitlines() if own.is_file() else []
        errors = [line for line in lines if line.startswith("towers: error:")]
        if errors:
            return errors[-1].removeprefix("towers: error: ")
    return f"expected every experiment to finish, Snakemake stopped; its log is {log}"


def assemble(scale: str, root: Path | None = None) -> list[Path]:
    """Put the executed notebooks where the table of contents expects them.

    Each gets its closing cells (provenance, links). An experiment without a good run at this
    scale gets a page that says so. Pages that did not change keep their file times.

    Args:
        scale: the scale to show.
        root: the checkout; found if None.

    Returns:
        The pages, under `book/run/`.
    """
    root = root or files.repo_root()
    pages = []
    for name, experiment in experiments.find(root).items():
        ran = files.results_home() / f"{name}/{scale}"
        page = root / f"book/run/{name}.ipynb"
        if ran.with_suffix(".ipynb").is_file() and ran.with_suffix(".json").is_file():
            notebook = _page(ran, experiment)
            _extract_figures(notebook, page.with_suffix(""))
            notebook.cells += finishing_cells(name)
        else:
            notebook = nbformat.v4.new_notebook()
            text = f"# {experiment.title}\n\nNot run yet at {scale} scale: `towers run {name}`."
            notebook.cells = [nbformat.v4.new_markdown_cell(text)]
        for index, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{index}"
        text = nbformat.writes(notebook)
        if not page.is_file() or page.read_text() != text:
            files.atomic_write(page, text)
        pages.append(page)
    return pages


def _page(ran: Path, experiment: experiments.Experiment) -> nbformat.NotebookNode:
    """The source notebook with a run's outputs, where their code is the same.

    So an edit of a sentence or of a caption shows without another run; a run whose code differs
    is shown as it ran. Parameters other than the notebook's own are shown below those.
    """
    executed = nbformat.read(ran.with_suffix(".ipynb"), as_version=4)
    source = nbformat.read(experiment.notebook, as_version=4)
    injected = [cell for cell in executed.cells if _tagged(cell, "injected-parameters")]
    done = [cell for cell in executed.cells if cell.cell_type == "code" and cell not in injected]
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    if [cell.source for cell in done] != [cell.source for cell in code]:
        return executed
    for cell, its in zip(code, done, strict=True):
        cell.outputs, cell.execution_count = its.outputs, its.execution_count
    if records.read(ran.with_suffix(".json"))[0].parameters != experiment.parameters():
        place = next(n for n, cell in enumerate(source.cells) if _tagged(cell, "parameters"))
        source.cells[place + 1 : place + 1] = injected
    return source


def _tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())


def _extract_figures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Save each named figure as a file, so that other pages can show it."""
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        pictures = [o["data"] for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
        if name and pictures:
            content = base64.b64decode(pictures[-1]["image/png"])
            path = folder / f"{name}.png"
            if not path.is_file() or path.read_bytes() != content:
                files.atomic_write(path, content)


def _build_pages(root: Path, scale: str, force: bool) -> Path:
    """Run the strict Jupyter Book build, unless nothing that it reads has changed."""
    first = root / "_build/html/index.html"
    stamp = root / "_build/html.digest"
    digest = _book_digest(root, scale)
    if not force and first.is_file() and stamp.is_file() and stamp.read_text() == digest:
        return first
    stamp.unlink(missing_ok=True)
    _check_contents(root)
    log = root / "_build/logs/book.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "_build/html", ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(root), "--all"]
    command += ["-W", "-n", "--keep-going"]
    environment = os.environ | {"TOWERS_SCALE": scale, "TOWERS_ROOT": str(root)}
    print("building the book ...", file=sys.stderr)
    with log.open("w") as sink:
        code = subprocess.run(
            command, cwd=root, stdout=sink, stderr=subprocess.STDOUT, env=environment
        ).returncode
    lines = log.read_text(errors="replace").splitlines()
    warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
    if code or not first.is_file():
        worst = warnings[0] if warnings else (lines[-1] if lines else "no output")
        raise ReportError(f"the strict book build failed: {worst} (log: {log})")
    files.atomic_write(stamp, digest)
    return first


def _check_contents(root: Path) -> None:
    """Every experiment's page must stand in the table of contents, and the other way round."""
    contents = (root / "_toc.yml").read_text()
    yaml.safe_load(contents)
    listed = {
        line.split("book/run/")[1].strip() for line in contents.splitlines() if "book/run/" in line
    }
    known = set(experiments.find(root))
    if listed != known:
        raise ReportError(
            f"expected _toc.yml to list every experiment once, it differs in "
            f"{', '.join(sorted(listed ^ known))}"
        )


def _book_digest(root: Path, scale: str) -> str:
    """A hash over everything that the built book shows."""
    digest = hashlib.sha256(scale.encode())
    sources = [root / "_config.yml", root / "_toc.yml"]
    for folder in (root / "book", root / "lib/towers", files.results_home(), root / "notebooks"):
        sources += sorted(path for path in folder.rglob("*") if path.is_file())
    for path in sources:
        if "__pycache__" not in path.parts and not path.name.endswith(".lock"):
            digest.update(f"{path}\0{files.sha256(path)}\n".encode())
    return digest.hexdigest()
