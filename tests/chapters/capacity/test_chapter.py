"""The stored table of the capacity chapter."""

import json
import tomllib
from itertools import product

import pytest

from bnlib import data
from bnlib.chapters import capacity
from bnlib.chapters.capacity import measure, stored


def test_the_stored_table_is_the_one_that_its_program_computes():
    table = json.loads(capacity.FULL.read_text())
    assert table["parameters"] == stored.FULL
    rows = {
        part: {tuple(r[key] for key in ("data", *stored.PARTS[part][1])) for r in table[part]}
        for part in stored.PARTS
    }
    assert {part: len(rows[part]) for part in rows} == {"ablation": 72, "subsets": 24}


def test_a_missing_table_is_an_error_and_own_data_are_not_judged_by_it(monkeypatch, tmp_path):
    rows = {name: data.load(name, 0) for name in ("mnist1d", "digits")}
    kept = capacity._kept("ablation", rows)
    assert len(kept) == 72
    assert {row["data"]: row["overlap"] for row in kept} == {"digits": 450 / 1347, "mnist1d": 0.25}
    own = {"own.npz": rows["digits"]} | rows
    assert capacity._kept("ablation", own) == capacity._kept("subsets", own) == []
    monkeypatch.setattr(capacity, "FULL", tmp_path / "full.json")
    with pytest.raises(FileNotFoundError, match=r"expected the stored full\.json"):
        capacity._kept("ablation", rows)


def test_a_stopped_table_is_continued_and_other_parameters_start_it_anew(tmp_path, monkeypatch):
    full = {"data": {"digits": 2}, "batch": 16}
    full |= {"ablation": {"seeds": 2, "width": 4, "rates": [0.1, 0.2]}}
    full |= {"subsets": {"seeds": 2, "rates": [0.1]}}
    for architecture in list(measure.ARCHITECTURES)[1:]:
        monkeypatch.delitem(measure.ARCHITECTURES, architecture)
    monkeypatch.setitem(measure.HIDDEN, "1 x 256", (4,))
    monkeypatch.delitem(measure.HIDDEN, "3 x 128")
    path = tmp_path / "t.json"
    whole = stored.redo(path, full)
    assert list(whole) == ["parameters", "versions", "ablation", "subsets"]
    assert (len(whole["ablation"]), len(whole["subsets"])) == (6, 6)
    assert json.loads(path.read_text()) == whole
    path.write_text(json.dumps(whole | {"ablation": whole["ablation"][:4]}))
    assert stored.redo(path, full) == whole
    path.write_text(json.dumps(whole | {"parameters": {}, "ablation": [{}]}))
    assert stored.redo(path, full) == whole


def test_the_table_of_wide_rates_has_the_registered_runs():
    register = tomllib.loads((capacity.HERE / "register.toml").read_text())
    table, runs = json.loads((capacity.HERE / "rates.json").read_text()), register["runs"]
    rows = {(row["data"], row["setting"], row["subset"]) for row in table["rows"]}
    assert rows == set(product(runs["data"], runs["setting"], runs["subset"]))
    assert {len(row["accuracy"]) for row in table["rows"]} == {runs["seeds"]}
    assert all(row["rate"] in runs["rates"] for row in table["rows"])


def test_a_sweep_scores_every_rate_and_runs_anew_at_the_best():
    rows, how = measure.splits("digits", range(2), batch=64), {"steps": 2, "batch": 64}
    row = ("digits", "1 x 256", "gamma, beta")
    swept = measure.sweep_subset(row, rows, range(2), rates=[1e-6, 0.5], **how)
    alone = measure.run_subset(row, rows, range(2), rates=[swept["rate"]], **how)
    assert swept["accuracy"] == alone["accuracy"]
    assert swept["scores"][[1e-6, 0.5].index(swept["rate"])] == max(swept["scores"])
    assert swept["edge"] == (swept["rate"] == 0.5)
