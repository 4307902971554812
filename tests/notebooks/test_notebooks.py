"""Every chapter, whatever it is about: form and figures, and a small run whose verdicts hold."""

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from fingerprints import chapter, drawn, moved, of_figure, of_sections, smoke

from bnlib.parameters import check
from bnlib.results import collect, read_outputs
from bookbuild import execute as ex
from bookbuild import notebook as nb
from bookbuild import store, worker

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_PAGE, LONGEST_OPEN_CELL = 140, 12  # lines of code
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _code_lines(source):
    return [line.strip() for line in source.splitlines() if line.strip()]


def _expected(slug):
    """The verdict of each claim that the register has for a chapter."""
    claims = tomllib.loads((ROOT / "book" / "claims.toml").read_text()).get("claim", [])
    return {claim["id"]: claim["expected"] for claim in claims if claim["chapter"] == slug}


def _listed(value):
    """Every file that a table of contents names."""
    if isinstance(value, dict):
        return {value[k] for k in ("file", "root") if k in value} | _listed(list(value.values()))
    return set().union(*map(_listed, value)) if isinstance(value, list) else set()


@every_notebook
def test_it_is_in_the_table_of_contents(path):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert f"notebooks/{path.stem}" in {name.removesuffix(".ipynb") for name in _listed(toc)}


@every_notebook
def test_it_is_stripped_valid_and_runs_on_python3(path):
    book = nb.read(path)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    for cell in nb.code_cells(book):
        assert cell.outputs == []
        assert cell.execution_count is None


@every_notebook
def test_its_parameters_are_literals_with_a_comment_and_its_smoke_values_are_allowed(path):
    declared = nb.parameters(nb.read(path))
    assert declared, "want a cell tagged 'parameters'"
    assert all(parameter.comment for parameter in declared.values())
    check(declared, smoke(path.stem))


@every_notebook
def test_a_small_run_gives_every_expected_verdict_finite_values_and_whole_figures(path):
    before = torch.get_default_dtype(), torch.get_num_threads()
    sections = _run(path)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before
    records, claims = collect(sections.values())
    assert {name: claim["verdict"] for name, claim in claims.items()} == _expected(path.stem)
    assert set(records) == _published_keys(path, default=set(records))
    assert records
    for key, record in records.items():
        assert _finite([record["value"], record["low"], record["high"]]), key
    found, lacking = of_sections(sections), []
    for name, figure in drawn(sections):
        found[name] = of_figure(figure)
        lacking += [f"{name}: no {what}" for what in _lacking(figure)]
    assert lacking == []
    assert moved(path.stem, found) == [], "meant? python tests/support/fingerprints.py"


@every_notebook
def test_its_parameters_are_the_settings_of_its_chapter(path):
    declared = nb.parameters(nb.read(path))
    settings = chapter(path.stem).Settings.declared()
    on_the_page = [parameter._replace(comment="") for parameter in declared.values()]
    assert on_the_page == [parameter._replace(rule=None) for parameter in settings.values()]


@every_notebook
def test_its_code_is_short_and_hands_nothing_over_by_itself(path):
    cells = [(nb.tags(cell), _code_lines(cell.source)) for cell in nb.code_cells(nb.read(path))]
    assert sum(len(lines) for _, lines in cells) <= LONGEST_PAGE
    for tags, lines in cells:
        assert not any(re.match(r"(record|claim)\(", line) for line in lines)
        if not {"hide-input", "parameters"} & set(tags):
            assert len(lines) <= LONGEST_OPEN_CELL, lines[0]


def _run(path):
    """The sections of a small run without a kernel."""
    package = chapter(path.stem)
    return package.run(package.Settings(**smoke(path.stem)))


def _lacking(figure):
    """What a reader misses who wants to know what is seen; axes on one place are one panel."""
    shared, panels = figure.get_supxlabel() + figure.get_supylabel(), {}
    for ax in figure.axes:
        if ax.axison:
            panels.setdefault(ax.get_position().bounds, []).append(ax)
    if panels and not figure.get_suptitle() and not any(map(_title, figure.axes)):
        yield "title"
    named = figure.get_supxlabel() + "".join(ax.get_xlabel() for ax in figure.axes)
    numbered = any(ax.lines and _in_numbers(ax.get_xticklabels()) for ax in figure.axes)
    if numbered and not named and "$x$" not in figure.get_suptitle():  # a title may name it
        yield "name of an x axis"
    for number, axes in enumerate(panels.values()):
        names = [_title(ax) + ax.get_xlabel() + ax.get_ylabel() for ax in axes]
        if not any([shared, *names]):
            yield f"name of panel {number}"
        if not any(ax.has_data() for ax in axes):
            yield f"data in panel {number}"
        shown = [line for ax in axes for line in ax.lines if len(line.get_xdata())]
        if not all(np.isfinite(line.get_xydata()).all(axis=1).any() for line in shown):
            yield f"finite number on a line of panel {number}"


def _in_numbers(ticks):
    return any(re.fullmatch(r"[-−\d.]+|\$.*\d.*\$", tick.get_text()) for tick in ticks)


def _title(ax):
    return "".join(map(ax.get_title, ("left", "center", "right")))


@pytest.mark.slow
@every_notebook
def test_an_executed_notebook_gives_what_its_chapter_gives_and_by_hand_the_same_bytes(
    path, tmp_path
):
    """Once by our runner, once by plain papermill from another folder: they share only the text."""
    run = _small(path)
    run.path.unlink(missing_ok=True)
    executed = _executed(run)
    records, claims = collect(_run(path).values())
    assert (records, claims) == read_outputs(executed)
    order = [list(part) for part in read_outputs(executed)]
    assert [list(part) for part in (records, claims)] == order
    assert _outputs(_by_hand(path, tmp_path)) == _outputs(executed)


def _small(path):
    """The run of a chapter with its small parameters, in a store that outlives a test."""
    return ex.plan(path, smoke(path.stem), root=ROOT, folder=ROOT / "_build/smoke")


def _executed(run):
    (report,) = ex.execute([run], jobs=1)
    assert report.ok, ex.describe(report)
    return store.get(run.folder, run.slug, run.key)


def _by_hand(path, folder):
    """What a person gets who names every declared parameter on papermill's command line."""
    values = {name: p.default for name, p in nb.parameters(nb.read(path)).items()}
    given = [
        word
        for name, value in (values | smoke(path.stem)).items()
        for word in ("-p", name, value if isinstance(value, str) else _as_typed(value))
    ]
    command = [Path(sys.executable).with_name("papermill"), path, "out.ipynb", *given]
    done = subprocess.run(
        [*command, "--no-progress-bar"],
        cwd=folder,
        # Another hash seed than the worker's 0: the order of a set must not reach an output.
        env=os.environ | _ONE_THREAD | {"PYTHONHASHSEED": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nb.read(folder / "out.ipynb")


def _published_keys(path, default):
    """The keys that the page's own execution recorded, where the book has been built."""
    run = ex.plan(path, root=ROOT)
    published = store.get(run.folder, run.slug, run.key)
    return set(read_outputs(published)[0]) if published else default


def _finite(value):
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _as_typed(value):
    """As a person types it: papermill reads True, but hands a list over as a string."""
    return str(value) if isinstance(value, bool) else json.dumps(value)


def _outputs(book):
    """What the code cells put out, without the counts that an injected cell shifts."""
    worker.tidy(book)
    cells = [cell for cell in nb.code_cells(book) if store.INJECTED not in nb.tags(cell)]
    for cell in cells:
        for output in cell.outputs:
            output.pop("execution_count", None)
    return [cell.outputs for cell in cells]
