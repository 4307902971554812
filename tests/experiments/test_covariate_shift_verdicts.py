"""The decision rules of the chapter, on frames made by hand, and what is refused before a run."""

import hashlib
import json

import nbformat
import numpy as np
import pandas as pd
import pytest

from bnlib.experiments.covariate_shift import settings, smoothness, stored, verdicts
from bnlib.experiments.covariate_shift.along import RULES
from bnlib.statistics import Interval

SEEDS = 8
CELL = {"activation": "relu", "L": 6, "rule": "same rate"}


def made(bn, none, *, what="relative", seeds=SEEDS, **cell):
    """Walks of two places on which the arms differ by bn - none, with a little noise a seed."""
    rows = [
        {**CELL, **cell, "arm": arm, "seed": s, "at": place, what: value + 0.001 * s + 0.01 * place}
        for arm, value in (("bn", bn), ("none", none))
        for s in range(seeds)
        for place in (10, 20)
    ]
    return pd.DataFrame(rows)


def cell(relative, cosine, **where):
    """One cell in which BN changes relative shift and cosine by so much."""
    return made(relative, 0.0, **where).merge(made(cosine, 0.0, what="cosine", **where))


def test_differences_are_bn_minus_none_on_the_same_seed():
    rows = verdicts.differences(made(0.2, 0.5), "relative", verdicts.CELL)
    assert rows.estimate.iloc[0] == pytest.approx(-0.3)
    assert rows.sign.iloc[0] == -1
    assert rows.seeds.iloc[0] == SEEDS


def test_a_seed_that_diverged_in_one_arm_leaves_the_pair_and_a_lost_cell_is_refused():
    frame = made(0.2, 0.5)
    frame.loc[(frame.arm == "bn") & (frame.seed == 3), "relative"] = np.nan
    rows = verdicts.differences(frame, "relative", verdicts.CELL)
    assert rows.seeds.iloc[0] == SEEDS - 1
    frame.loc[(frame.arm == "none") & (frame.seed != 3), "relative"] = np.inf
    with pytest.raises(ValueError, match="want 2 seeds that stay finite, got 0"):
        verdicts.differences(frame, "relative", verdicts.CELL)


@pytest.mark.parametrize(
    ("relative", "cosine", "reading"),
    [
        (-0.3, 0.3, "reduced"),
        (0.3, -0.3, "raised"),
        (-0.3, -0.3, "open"),
        (-0.3, 0.0, "open"),
        (0.0, 0.3, "open"),
    ],
)
def test_a_cell_is_reduced_if_the_shift_falls_and_the_cosine_rises(relative, cosine, reading):
    frame = cell(relative, cosine)
    if 0.0 in (relative, cosine):  # seeds on both sides of zero
        column = "relative" if relative == 0.0 else "cosine"
        frame[column] += np.where(frame.arm == "bn", 0.1 * (-1.0) ** frame.seed, 0.0)
    assert verdicts.shift_cells(frame).reading.tolist() == [reading]


@pytest.mark.parametrize(
    ("readings", "reduces", "opposite"),
    [
        (["reduced", "reduced"], "holds", "fails"),
        (["reduced", "raised"], "partly", "partly"),
        (["reduced", "open"], "partly", "partly"),
        (["raised", "open"], "fails", "holds"),
        (["raised", "raised"], "fails", "holds"),
        (["open", "open"], "fails", "holds"),
    ],
)
def test_the_two_claims_about_shift_are_opposites(readings, reduces, opposite):
    cells = pd.DataFrame({"reading": readings})
    assert verdicts.reduces(cells) == reduces
    assert verdicts.not_reduced(cells) == opposite


@pytest.mark.parametrize(
    ("error", "slopes", "verdict"),
    [
        (1e-9, {"none": 3.0, "bn": 2.71}, "holds"),
        (2e-8, {"none": 3.0}, "fails"),
        (1e-9, {"none": 3.0, "bn": 2.0}, "fails"),
        (1e-9, {"none": 4.0}, "fails"),
    ],
)
def test_one_object_needs_the_exact_identity_and_the_third_order(error, slopes, verdict):
    assert verdicts.is_interaction(error, slopes) == verdict


def losses(none, bn, noisy, spread=0.02):
    rows = {"none": none, "bn": bn, "noisy bn": noisy, "noisy none": 9.0}
    wiggle = np.linspace(-spread, spread, SEEDS)
    frames = [
        pd.DataFrame({"arm": arm, "seed": range(SEEDS), "loss": np.exp(np.log(v) + wiggle)})
        for arm, v in rows.items()
    ]
    return pd.concat(frames, ignore_index=True)


def varied(frame, arm, spread):
    """The losses of one arm times e^{spread} and e^{-spread} in turn."""
    signs = (-1.0) ** frame.seed
    return frame.assign(loss=frame.loss * np.where(frame.arm == arm, np.exp(spread * signs), 1.0))


@pytest.mark.parametrize(
    ("noisy", "verdict", "kept"),
    [(0.12, "holds", 0.92), (0.3, "partly", 0.52), (0.9, "fails", 0.046), (2.0, "fails", -0.3)],
)
def test_noise_is_harmless_if_most_of_the_gain_stays(noisy, verdict, kept):
    found = verdicts.noise_harmless(losses(1.0, 0.1, noisy))
    assert found.testable
    assert found.gain.estimate == pytest.approx(np.log(10))
    assert found.kept.estimate == pytest.approx(kept, abs=0.01)
    assert found.verdict == verdict


@pytest.mark.parametrize("none", [0.1, 0.05])
def test_where_bn_gains_nothing_or_loses_there_is_nothing_to_keep(none):
    frame = varied(losses(none, 0.1, 0.1), "bn", 0.3 if none == 0.1 else 0.0)
    found = verdicts.noise_harmless(frame)
    assert not found.testable
    assert found.verdict == "partly"


def test_a_seed_that_diverged_does_not_count_in_the_gain():
    frame = losses(1.0, 0.1, 0.12)
    frame.loc[(frame.arm == "none") & (frame.seed < SEEDS - 2), "loss"] = np.inf
    assert verdicts.noise_harmless(frame).gain.estimate == pytest.approx(np.log(10))
    frame.loc[frame.seed == SEEDS - 1, "loss"] = np.inf
    with pytest.raises(ValueError, match="want 2 seeds on which every arm ends finite, got 1"):
        verdicts.noise_harmless(frame)


@pytest.mark.parametrize(
    ("signs", "verdict"),
    [([-1, -1, -1], "holds"), ([-1, 0, 1], "partly"), ([0, 1, 0], "fails"), ([1, 1, 1], "fails")],
)
def test_smoother_needs_all_three_measures_below_zero(signs, verdict):
    assert verdicts.smoother(pd.DataFrame({"sign": signs})) == verdict


def test_log_ratios_are_those_of_bn_over_none():
    frame = made(200.0, 400.0, what="range").assign(unit="raw")
    rows = verdicts.log_ratios(frame, ["range"], ["unit"])
    assert np.exp(rows.estimate["range", "raw"]) == pytest.approx(0.5, abs=0.01)
    assert rows.sign["range", "raw"] == -1


def test_units_are_compared_each_by_itself_and_twice_where_the_loss_can_be_matched():
    rows = [
        {"arm": arm, "unit": unit, "seed": seed, "at": at, "loss": loss * base, **measures}
        for unit, factor in (("raw", 0.5), ("matched", 1.0), ("layer-normalized", 2.0))
        for arm, own, base in (("none", 1.0, 4.0), ("bn", factor, 1.0))
        for seed in (0, 1)
        for at, loss in ((0, 2.0), (10, 1.0))
        for measures in [dict.fromkeys(smoothness.MEASURES, own * loss)]
    ]
    found = verdicts.by_unit(pd.DataFrame(rows), level=2.0)
    assert list(found) == [*smoothness.UNITS, "raw, equal loss", "matched, equal loss"]
    assert verdicts.ratio(found["raw"].loc["range"]) == "0.50 (0.50 to 0.50)"
    assert verdicts.ratio(found["layer-normalized"].loc["change"]) == "2.00 (2.00 to 2.00)"
    # At a loss of 2 BN is at its start, where its measures are twice those of its end; the other
    # arm comes nearest at its end.
    assert verdicts.ratio(found["raw, equal loss"].loc["range"]) == "1.00 (1.00 to 1.00)"


@pytest.mark.parametrize(
    ("start", "trained", "verdict"),
    [
        ((-1, -1), (-1, -1), "holds"),
        ((0, -1), (1, -1), "partly"),
        ((-1, -1), (0, 0), "partly"),
        ((0, 0), (1, 0), "fails"),
        ((1, 1), (1, 1), "fails"),
    ],
)
def test_decoupling_needs_the_off_diagonal_itself(start, trained, verdict):
    index = pd.MultiIndex.from_product(
        [["off", "share"], ["start", "trained"]], names=["measure", "state"]
    )
    signs = [start[0], trained[0], start[1], trained[1]]
    assert verdicts.uncoupled(pd.DataFrame({"sign": signs}, index=index)) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.2, 1.6, "fails"), (0.8, 1.0, "holds"), (0.9, 1.2, "partly")]
)
def test_explosion_is_cured_where_the_factor_does_not_exceed_one(low, high, verdict):
    assert verdicts.cures(Interval((low + high) / 2, low, high)) == verdict


def test_quartiles_leave_out_what_is_not_finite():
    frame = pd.DataFrame({"at": [10] * 5 + [20] * 5, "x": [1, 2, 3, 4, 5, 1, 2, 3, np.nan, np.inf]})
    places, low, middle, high = verdicts.quartiles(frame, "x")
    assert places.tolist() == [10, 20]
    assert (low.tolist(), middle.tolist(), high.tolist()) == ([2, 1.5], [3, 2], [4, 2.5])


def test_the_middle_lies_in_its_interval():
    found = verdicts.middle(np.arange(9.0))
    assert found.low < found.estimate == 4.0 < found.high


GOOD = {
    "arms": ["none", "bn"],
    "depths": [6],
    "activations": ["relu"],
    "rate_rules": [RULES[0]],
    "rates": [0.1, 1],
    "noise_depths": [6, 10],
    "sizes": [[32, 16]],
}


def test_lists_may_come_as_text():
    assert settings.read(GOOD) == GOOD
    assert settings.read({k: repr(v) for k, v in GOOD.items()}) == GOOD


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("arms", ["none", "bnn"], "did you mean 'bn'"),
        ("arms", ["none", "frozen"], "none and bn among them"),
        ("arms", ["none", "bn", "bn"], "each name once"),
        ("arms", "none", "a list with entries"),
        ("activations", ["rellu"], "did you mean 'relu'"),
        ("rate_rules", ["same rates"], "did you mean 'same rate'"),
        ("rate_rules", [], "a list with entries"),
        ("depths", [1], "whole numbers from 2 on"),
        ("depths", [6.5], "whole numbers from 2 on"),
        ("depths", [True], "whole numbers from 2 on"),
        ("rates", [1.0, 0.1], "positive numbers, ascending"),
        ("rates", [0.0, 0.1], "positive numbers, ascending"),
        ("rates", [0.1, float("nan")], "positive numbers, ascending"),
        ("rates", [0.1, float("inf")], "positive numbers, ascending"),
        ("rates", ["a"], "positive numbers, ascending"),
        ("noise_depths", [6, 8], "one of at least 10"),
        ("sizes", [[32]], "pairs"),
        ("sizes", [[32, 1]], "pairs"),
    ],
)
def test_lists_that_do_not_fit_are_refused_by_name(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        settings.read(GOOD | {name: value})
    assert str(refused.value).startswith(f"{name}: want")


def test_a_walk_that_is_never_measured_is_refused():
    settings.watched(steps=(11, 10))
    with pytest.raises(ValueError, match="steps: want more than the 10 between"):
        settings.watched(steps=(10, 10))


def executed(path):
    """A notebook with two parameter cells, one record and one claim, as if it had run."""
    book = nbformat.v4.new_notebook()
    cells = {
        "parameters": 'dataset: str = "digits"  # text\nseeds: int = 10',
        "injected-parameters": '# Parameters\ndataset = "mnist1d"',
    }
    for tag, source in cells.items():
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}))
    given = [
        ("record", {"key": "gain", "value": 1.23456789, "low": None, "high": None, "unit": ""}),
        ("claim", {"id": "noise-harmless", "verdict": "partly", "evidence": "One sentence."}),
    ]
    last = nbformat.v4.new_code_cell("")
    last.outputs = [
        nbformat.v4.new_output("display_data", {f"application/vnd.bnlib.{kind}+json": payload})
        for kind, payload in given
    ]
    book.cells.append(last)
    nbformat.write(book, path)


def test_a_stored_run_keeps_verdicts_numbers_and_the_parameters_that_were_injected(
    tmp_path, monkeypatch
):
    executed(tmp_path / "run.ipynb")
    table = stored.keep(tmp_path / "run.ipynb", tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text()) == table
    assert table["parameters"] == {"dataset": "mnist1d", "seeds": 10}
    assert table["records"] == {"gain": 1.2346}
    assert set(table["versions"]) == {*stored.PACKAGES, "python"}
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="expected the file with SHA-256"):
        stored.load("table.json", "0123")
    assert stored.load("nothing.json", "0123") is None
    assert stored.beside({"noise-harmless": "holds"}, "digits", None).empty


def test_verdicts_stand_beside_those_of_the_stored_run(tmp_path, monkeypatch):
    executed(tmp_path / "run.ipynb")
    stored.keep(tmp_path / "run.ipynb", tmp_path / "table.json")
    digest = hashlib.sha256((tmp_path / "table.json").read_bytes()).hexdigest()
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    table = stored.load("table.json", digest[:16])
    rows = stored.beside({"noise-harmless": "holds"}, "digits", table)
    assert rows.loc["noise-harmless"].tolist() == ["holds", "partly", "One sentence."]
    assert list(rows) == ["this run (digits)", "stored (mnist1d)", "evidence on mnist1d"]
