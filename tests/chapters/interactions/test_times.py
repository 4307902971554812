"""The section on times: its rule at the edges, its signs, and the networks that it measures."""

import numpy as np
import pandas as pd
import pytest
import torch

from bnlib import data, training
from bnlib.chapters.interactions import decide, times
from bnlib.networks import arms
from bnlib.networks.seed_batched import SeedBatchedMLP

TINY = times.World("digits", "relu", 8)


def signs(*columns):
    """A world a character, a time an argument: - less, + more, . open."""
    table = {f"t{i}": ["-.+".index(sign) - 1 for sign in text] for i, text in enumerate(columns)}
    kinds = ["relu", "tanh"] * (len(columns[0]) // 2)
    worlds = pd.MultiIndex.from_arrays([range(len(kinds)), kinds], names=["data", "activation"])
    return pd.DataFrame(table, index=worlds)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["----", "++++"], "holds"),
        (["--..", "++.."], "holds"),
        (["----", "+..."], "partly"),  # one time with too few decided worlds
        (["----", "----"], "fails"),  # nothing depends on the time
        (["--..", "+..."], "undecided"),  # three of eight
        (["----", "...."], "fails"),  # four of eight is enough
        (["-" * 10, "+" * 9 + "-"], "partly"),  # 19 of 20 go with their time
        (["-" * 10, "+" * 8 + "--"], "partly"),  # 18 of 20: nine tenths
        (["-" * 10, "+" * 7 + "-.."], "partly"),
        (["-" * 10, "+" * 7 + "---"], "fails"),  # 17 of 20
        (["-" * 10, "-" * 9 + "+"], "fails"),  # alike enough, but one direction at both
        (["+-+-", "+-+-"], "fails"),  # the network decides
    ],
)
def test_the_time_decides_where_its_worlds_are_alike_and_times_differ(columns, expected):
    assert decide.time_decides(signs(*columns)) == expected


def test_the_evidence_counts_what_goes_with_time_and_with_world():
    claim = decide.interaction_direction_is_time(signs("+-+-", "+-+."))
    assert "t0 2/2, t1 1/2" in claim.evidence
    assert "Of 7 decided cells of 8, 4 have the commoner direction of their time, 7" in (
        claim.evidence
    )


def cells(*columns):
    names = ["data", "activation", "width", "time"]
    places = [("digits", "relu", 8 * (1 + i), "start") for i in range(len(columns))]
    return pd.DataFrame(
        np.array(columns, dtype=float).T, columns=pd.MultiIndex.from_tuples(places, names=names)
    )


def test_a_cell_is_decided_by_its_signs_corrected_for_all_cells():
    six = [-1.0] * 6
    assert times.directions(cells(six)).to_numpy().tolist() == [[-1]]  # p = 1/32
    two = times.directions(cells(six, [1, 1, 1, -1, -1, 1]))
    assert two.to_numpy().tolist() == [[0], [0]], "p = 1/32 is too much for two cells"
    nine = [2.0, *[1.0] * 8]
    assert times.directions(cells(nine, [np.nan, *[-1.0] * 8])).to_numpy().tolist() == [[1], [-1]]
    gone = [np.nan] * 6
    assert times.directions(cells(six, gone)).loc[("digits", "relu", 16), "start"] == 0


def test_a_snapshot_is_the_network_after_that_many_steps():
    rows = data.bench_split("digits")
    x, y = torch.from_numpy(rows.x_train), torch.from_numpy(rows.y_train)
    arm = arms.build("bn", (64, 8, 10), range(2), x[:64])
    start = training.seed_losses(
        arm.logits(arm.params, x[:64].expand(2, -1, -1)), y[:64].expand(2, -1), "cross-entropy"
    )
    looks = times.Snapshots(arm, [0.8 * float(start.min()), 0.0], x[:64], y[:64])

    def trained(steps, look=None):
        net = SeedBatchedMLP(arm.spec, range(2))
        net.params = arm.params
        training.train(net, x, y, steps=steps, batch=32, lr=0.1, on_step=look)
        return net.params

    trained(30, looks)
    assert (looks.steps[1] == -1).all(), "a loss of 0 is out of reach"
    for seed, step in enumerate(looks.steps[0]):
        assert 0 < step <= 20
        for name, value in trained(int(step)).items():
            assert torch.equal(looks.params[0][name][seed], value[seed])


def test_a_run_ends_when_every_seed_is_at_every_level():
    rows = data.bench_split("digits")
    x, y = torch.from_numpy(rows.x_train), torch.from_numpy(rows.y_train)
    arm = arms.build("none", (64, 8, 10), range(2), x[:64])
    net, looks = SeedBatchedMLP(arm.spec, range(2)), times.Snapshots(arm, [1e9], x[:64], y[:64])
    with pytest.raises(times.Reached):
        training.train(net, x, y, steps=30, batch=32, lr=0.1, on_step=looks)
    assert looks.steps.tolist() == [[0, 0]]


def test_renewed_statistics_stay_during_the_measured_step():
    """At the start they are the constants of `frozen-affine`, and BN reacts where they do not."""
    seen, _ = times.batches(data.bench_split("digits"), range(3))
    made = {}
    for name in ("renewed", "frozen-affine", "bn"):
        arm = arms.build(name, (64, 8, 8, 10), range(3), seen[0])
        made[name] = times.parts(arm, arm.params, seen)
    np.testing.assert_allclose(made["renewed"]["int"], made["frozen-affine"]["int"], rtol=1e-9)
    assert (np.abs(made["renewed"]["int"] - made["bn"]["int"]) > 1e-4).all()


def test_every_time_is_measured_and_a_level_out_of_reach_has_no_value(monkeypatch):
    monkeypatch.setattr(times, "LEVELS", {"digits": (1.0, 0.0)})
    monkeypatch.setattr(times, "LONGEST", 25)
    found = dict(times.at_times(TINY, "bn", range(2)))
    assert tuple(found) == times.TIMES
    assert np.isnan(found["adam-late"]["int"]).all()
    assert np.isfinite(found["start"]["int"]).all()
    rows = [
        {**TINY._asdict(), "time": time, "arm": arm, **{k: v.tolist() for k, v in values.items()}}
        for arm in ("none", "bn")
        for time, values in found.items()
    ]
    wide = times.by_seed(rows)
    assert wide["int", "bn"].shape == (2, len(times.TIMES))
    step = wide["act", "bn"] + wide["int", "bn"] + wide["own", "bn"]
    assert step["digits", "relu", 8, "start"].tolist() == pytest.approx([1, 1])
