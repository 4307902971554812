"""What a run is asked for, the sections in page order, and the run that is stored."""

import json

import pytest

from bnlib import stored as tables
from bnlib.chapters import covariate_shift as chapter
from bnlib.chapters.covariate_shift import stored
from bnlib.landscape import UNITS
from bnlib.results import Claim, Record, Section


@pytest.mark.parametrize("name", ["steps", "landscape_steps"])
def test_a_walk_is_measured_at_least_once_after_its_start(name):
    with pytest.raises(ValueError, match=f"'{name}': .* more than the 11 between measurements"):
        chapter.Settings(every=11, **{name: 11})
    assert chapter.Settings(every=11, steps=12, landscape_steps=12).steps == 12


def test_the_landscape_is_looked_at_along_raw_steps_or_predicted_decreases():
    looked = chapter.Settings(raw_steps=[0.1, 0.2], matched_steps=[0.5, 1.0]).looked_along
    assert looked == {"raw": [0.1, 0.2], "matched": [0.5, 1.0], "layer-normalized": [0.5, 1.0]}
    assert tuple(looked) == UNITS


def test_the_stored_run_has_all_verdicts_of_the_page():
    table = tables.table(chapter.STORED, chapter.DIGEST)
    claims = [Claim(name, "partly", "Here.") for name in table["claims"]]
    rows = chapter.other_data(chapter.Settings(), [Section(claims=tuple(claims))]).table
    assert rows["stored (mnist1d)"].to_dict() == {
        k: v["verdict"] for k, v in table["claims"].items()
    }


def test_a_stored_run_keeps_parameters_verdicts_and_short_numbers(tmp_path, monkeypatch):
    sections = {
        "noise": Section(
            records=(Record("gain", 1.23456789, low=1.0, high=2.0), Record("cells", 12)),
            claims=(Claim("noise-harmless", "partly", "One sentence."),),
        )
    }
    monkeypatch.setattr(chapter, "run", lambda given: sections)
    given = chapter.Settings(dataset="mnist1d")
    table = stored.keep(tmp_path / "table.json", given)
    text = (tmp_path / "table.json").read_text()
    assert json.loads(text) == table
    assert table["parameters"] == vars(given)
    assert table["records"] == {"gain": 1.2346, "cells": 12}
    assert set(table["versions"]) == {*tables.PACKAGES, "python"}
    published = chapter.STORED.read_text().splitlines()
    heads = [line.partition(":")[0] for line in published if line.startswith('"')]
    assert [line.partition(":")[0] for line in text.splitlines() if line.startswith('"')] == heads
    assert ' "gain": 1.2346,' in text.splitlines()
