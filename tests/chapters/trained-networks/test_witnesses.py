"""Weight files of other families: their readers, the register, its rules, and the stored table."""

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from bnlib.audit.layers import Record, find_layers
from bnlib.chapters import trained_networks as chapter
from bnlib.chapters.trained_networks import decide, witnesses
from bnlib.gauge import Norm

REGISTER = witnesses.register()
PARTS = ("scale", "bias", "mean", "variance")


def graph(folded):
    """A convolution as ONNX has it: with a normalization of two channels, or folded."""
    arrays = {f"conv1_bn_{part}": np.float32([k + 1, k + 5]) for k, part in enumerate(PARTS)}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    constant = helper.make_node("Constant", [], ["conv1_bn_mean"], value=tensors.pop(2))
    norm = helper.make_node("BatchNormalization", ["x", *arrays], ["y"], epsilon=1e-5)
    nodes = [constant] if folded else [constant, norm]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], initializer=tensors))


def test_onnx_gives_the_normalizations_of_its_graph_and_none_where_they_are_folded(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(graph(folded=False), path)
    (record,), skipped = find_layers(witnesses.from_onnx(path), eps=1e-5)
    assert (record.name, skipped) == ("conv1_bn", [])
    assert np.array_equal(record.norm[:4], [[1, 5], [2, 6], [3, 7], [4, 8]])
    onnx.save(graph(folded=True), path)
    assert witnesses.from_onnx(path) == {}
    row = {"file": "ppocr-cls", "question": "stored", "layers": 0, "channels": 0}
    table = decide.witness_table([row], REGISTER["files"])
    assert table["layers"]["ppocr-cls"] == "nothing to audit: folded"


def test_keras_gives_its_weights_and_not_the_state_of_its_optimizer(tmp_path):
    path = tmp_path / "net.hdf5"
    with h5py.File(path, "w") as file:
        for k, part in enumerate(("gamma", "beta", "moving_mean", "moving_variance")):
            for group in ("model_weights", "optimizer_weights"):
                file[f"{group}/norm_1/norm_1_1/{part}:0"] = np.float32([k + 1, k + 5])
        file["optimizer_weights/iterations:0"] = np.float32(7)
    (record,), skipped = find_layers(witnesses.from_hdf5(path), eps=1e-3)
    assert (record.name, skipped) == ("norm_1.norm_1_1", [])
    assert np.array_equal(record.norm[:4], [[1, 5], [2, 6], [3, 7], [4, 8]])


def test_a_file_whose_normalization_is_not_whole_is_refused(tmp_path):
    path = tmp_path / REGISTER["files"]["crnn"]["path"]
    path.parent.mkdir(parents=True)
    torch.save({"module.1.running_var": torch.ones(2)}, path)
    with pytest.raises(
        ValueError, match=r"crnn: expected whole normalizations, got .*mean is miss"
    ):
        witnesses.read("crnn", tmp_path)


def test_an_edited_register_or_table_is_refused(monkeypatch):
    for name, reader in (
        ("register.toml", witnesses.register),
        ("witnesses.json", witnesses.table),
    ):
        monkeypatch.setitem(witnesses.DIGESTS, name, "2c4933b215f3be7c")
        with pytest.raises(ValueError, match=f"{name}: expected the file with SHA-256 2c4933b2"):
            reader()
        monkeypatch.undo()


def test_every_prediction_is_of_a_registered_file_and_every_rule_has_its_question():
    asked = {question: set(says) - {"why"} for question, says in REGISTER["predictions"].items()}
    assert set.union(*asked.values()) <= set(REGISTER["files"])
    assert set(REGISTER["rules"]) == set(decide.WITNESS)
    assert {question for question, _ in decide.WITNESS.values()} | {"gates"} == set(asked)
    least = REGISTER["bench"]["least_layers"]
    counted = {row["file"] for row in witnesses.table() if row.get("layers", 0) >= least}
    assert all(asked[question] == counted for question in ("near", "association", "slope"))


@pytest.mark.parametrize(
    ("row", "met"),
    [
        ({"question": "near", "high": 0.0499}, True),
        ({"question": "near", "high": 0.05}, False),
        ({"question": "association", "low": 0.001}, True),
        ({"question": "association", "low": 0.0}, False),
        ({"question": "slope", "low": 0.001, "high": 0.999}, True),
        ({"question": "slope", "low": 0.0, "high": 0.999}, False),
        ({"question": "slope", "low": 0.001, "high": 1.0}, False),
        ({"question": "beta", "value": 0.1}, True),
        ({"question": "beta", "value": 0.101}, False),
        ({"question": "branch", "value": 0.8}, True),
        ({"question": "branch", "value": 0.79}, False),
        ({"question": "gates", "low": 0.801, "error": 0.1}, True),
        ({"question": "gates", "low": 0.8, "error": 0.1}, False),
        ({"question": "gates", "low": 0.801, "error": 0.101}, False),
    ],
)
def test_a_file_passes_up_to_the_edge_of_its_rule(row, met):
    assert decide.passes(row) is met


@pytest.mark.parametrize(
    ("lows", "verdict"),
    [
        ({"mobilenet-v2": 1, "crepe-tiny": 1, "crepe-full": 1, "craft": 1}, "holds"),
        ({"mobilenet-v2": 1, "crepe-tiny": 1, "crepe-full": 0, "craft": 1}, "partly"),
        ({"mobilenet-v2": 0, "crepe-tiny": 1, "crepe-full": 0, "craft": 0}, "fails"),
        ({"mobilenet-v2": 1, "crepe-tiny": 1, "crepe-full": 1, "crnn": 1}, "undecided"),
    ],
)
def test_families_are_counted_and_a_family_needs_all_its_files(lows, verdict):
    rows = [
        {"file": name, "question": "association", "value": 1, "low": low, "high": 2}
        for name, low in lows.items()
    ]
    judged = decide.judged(rows, REGISTER)
    assert decide.witness("witness-gamma-sigma", judged, REGISTER).verdict == verdict
    predicted = REGISTER["predictions"]["association"]
    for row in judged:
        expected = bool(row["low"]) == predicted[row["file"]] if row["file"] != "crnn" else None
        assert row.get("hit") is expected


def record(name, gamma, beta=0.0):
    gamma = np.array([gamma, gamma])
    return Record(name, Norm(gamma, 0 * gamma + beta, 0 * gamma, 0 * gamma + 1, 0), "float32", ())


def test_a_shift_is_the_largest_of_the_projections_over_the_median_of_the_others():
    betas = {"a.conv.3": -0.2, "b.conv.3": 0.1, "c.0": 1.0, "d.0": -2.0, "e.0": 9.0}
    row = witnesses.shift([record(name, 1.0, b) for name, b in betas.items()], r"conv\.3$")
    assert (row["value"], row["largest"]) == (0.1, 0.2)


def test_branch_shares_start_anew_with_every_stage_and_count_blocks_with_a_skip():
    gammas = {"first.0": 3.0, "next.1": 1.0, "first.2": 1.0, "next.3": 1.0, "next.4": 2.0}
    row = witnesses.branch([record(*pair) for pair in gammas.items()], "first")
    assert row["scaled"] == pytest.approx([2 * 0.1, 2 * 0.5, 3 * 4 / 6])
    assert (row["value"], row["over"]) == (pytest.approx(2 / 3), 3)


def test_the_stored_rows_are_judged_as_the_register_says_and_counted_on_the_page(monkeypatch):
    rows = witnesses.table()
    bare = [{k: v for k, v in row.items() if k not in ("passes", "hit")} for row in rows]
    assert decide.judged(bare, REGISTER) == rows
    monkeypatch.setattr(witnesses, "missing", lambda: list(REGISTER["files"]))
    page = chapter.other_families()
    assert page.values.endswith(f"see `make weights`: {', '.join(REGISTER['files'])}.")
    told = {record.key: record.value for record in page.records}
    hits = sum(text.count(", hit") for text in page.table.astype(str).to_numpy().ravel())
    assert told["witness-hits"] == hits
    assert told["witness-predictions"] == hits + told["witness-misses"] == 26


@pytest.mark.parametrize("name", ["mini-xception", "ppocr-cls", "crepe-tiny"])
def test_a_witness_gives_the_stored_numbers_again_and_another_table_is_refused(name):
    if name in witnesses.missing():
        pytest.skip(f"the file of {name} is not in {witnesses.FOLDER}: `make weights` fetches it")
    rows = witnesses.table()
    witnesses.check(rows, [name])
    other = [row | {"value": row.get("value", 0) * 1.001} for row in rows]
    with pytest.raises(ValueError, match=rf"{name}, \w+, value: expected .* as stored, got"):
        witnesses.check(other, [name])
