"""The rules of the batches chapter, on both sides of their edges."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.batches import decide
from bnlib.chapters.batches.exact import Padding

HEALTHY = {
    "companions": False, "T": 99.0, "E": 99.0, "E test": 97.0, "E R": 99.0, "E test X": 97.0,
    "left": 0.0, "a": 0.1,
}  # fmt: skip
NAMES = decide.NAMES


def seeds(values, **columns):
    """Lines of one cell, a value a seed."""
    return [columns | {"seed": k} | v for k, v in enumerate(values)]


def moving(ema=(1.0, 1.1), renorm=0.0, rates=(0.1, 0.3, 1.0), doses=(0.0, 1.0), plain=0.4):
    lines = []
    for rate in rates:
        noise = [{"log loss": v, "growth": 1.1} for v in ema]
        lines += seeds(noise, kind="ema", rate=rate, a=0.1, affine=True)
        same = [{"log loss": renorm + 0.01 * k, "growth": 1.0} for k in range(2)]
        lines += seeds(same, kind="renorm", rate=rate, a=0.1, affine=True)
        lines += seeds(same, kind="batch", rate=rate, a=0.1, affine=True)
    for a in doses:
        value = [{"log loss": 10 * a - 1 + 0.01 * k, "growth": 1.0} for k in range(2)]
        lines += seeds(value, kind="ema", rate=0.3, a=a, affine=True)
    grown = [{"log loss": 0.0, "growth": 1 + plain + 1e-6 * k} for k in range(2)]
    return pd.DataFrame(lines + seeds(grown, kind="ema", rate=0.3, a=0.1, affine=False))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (moving(), "fails"),
        (moving(ema=(-0.5, -0.4)), "holds"),
        (pd.concat([moving(), moving(ema=(-0.5, -0.4), rates=[2.0], doses=[])]), "partly"),
    ],
)
def test_moving_averages_fail_where_they_lose_at_every_rate(lines, expected):
    assert decide.moving_average(lines).verdict == expected


def test_the_dose_may_miss_one_of_its_marks():
    assert decide.moving_dose(moving()).verdict == "holds"
    higher = moving()
    higher.loc[higher.kind == "batch", "log loss"] -= 9  # standing still is then worse than batches
    assert decide.moving_dose(higher).verdict == "partly"
    higher.loc[higher.a == 1.0, "log loss"] -= 20  # and the largest dose trains best
    assert decide.moving_dose(higher).verdict == "fails"


@pytest.mark.parametrize(
    ("plain", "expected"), [(1.01, "holds"), (0.9, "partly"), (0.1, "fails"), (0.05, "fails")]
)
def test_gamma_and_beta_absorb_a_tenth_or_part(plain, expected):
    lines = moving(plain=plain)
    assert decide.affine_absorbs(lines).verdict == expected


@pytest.mark.parametrize(
    ("law", "best", "expected"),
    [(0.2, 0.1, "holds"), (0.201, 0.1, "fails"), (0.2, 0.2, "fails"), (0.2, None, "holds")],
)
def test_every_column_has_to_lie_in_its_interval_and_every_layer_in_order(law, best, expected):
    maps = pd.DataFrame({"m": [2, 4], "law": [0.1, law], "low": [0.0, 0.1], "high": [0.1, 0.2]})
    layers = pd.DataFrame({"m": [4, 8], "stored": 0.3, "line": 0.2, "best": [0.1, best]})
    claim = decide.eval_law(maps, layers if best else pd.DataFrame())
    assert claim.verdict == expected


def test_a_line_that_misses_as_much_as_evaluation_is_out_of_order():
    maps = pd.DataFrame({"m": [2], "law": [0.1], "low": [0.0], "high": [0.1]})
    layers = pd.DataFrame({"m": [4], "stored": [0.2], "line": [0.2], "best": [0.1]})
    assert decide.eval_law(maps, layers).verdict == "fails"


@pytest.mark.parametrize(
    ("least", "largest", "error", "expected"),
    [
        (0.011, 0.5, 1e-12, "fails"),
        (0.01, 0.5, 1e-12, "partly"),
        (0.011, 0.5, 1.1e-12, "partly"),
        (0.0, 1e-13, 1e-13, "holds"),
    ],
)
def test_accumulation_fails_only_where_its_opposite_is_exact(least, largest, error, expected):
    lines = pd.DataFrame({"layer": ["W1"], "least": [least], "difference": [largest]})
    errors = {"forward": 0.0, "ghosts": error, "controls": 0.0}
    assert decide.accumulation(lines, errors).verdict == expected


@pytest.mark.parametrize(
    ("accuracy", "loss", "expected"),
    [(1.0, -1.0, "holds"), (1.0, 1.0, "partly"), (0.0, -1.0, "partly"), (-1.0, 1.0, "fails")],
)
def test_ghosts_hold_with_both_and_partly_with_one(accuracy, loss, expected):
    lines = []
    for g, share in ((256, 0), (16, 1)):
        points = [90 + share * (accuracy + 0.01 * k) for k in range(4)]
        lines += seeds([{"accuracy": v, "loss": share * loss} for v in points], g=g)
    assert decide.ghosts(pd.DataFrame(lines)).verdict == expected


def machines(double=1e-12, single=1e-5, equal=True, trained=1e-10, apart=0.011):
    rows = {"rows": ["8 + 8"] * 2, "precision": ["float64", "float32"], "dx": [double, single]}
    gaps = {"table": pd.DataFrame(rows), "equal": equal, "trained": trained, "apart": apart}
    return decide.sync_exact(gaps)


def padding(*errors):
    return decide.padding_law(Padding(*errors, np.zeros((1, 4))))


def blind(alone, together):
    gradients = {"alone": np.array([0.0, alone]), "together": np.array([1.0, together])}
    return decide.separate_blind(gradients)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (decide.drift_law(1e-9, 0.05, 1e-12, 1e-12), "holds"),
        (decide.drift_law(1.1e-9, 0.05, 1e-12, 1e-12), "fails"),
        (decide.drift_law(1e-9, 0.051, 1e-12, 1e-12), "fails"),
        (decide.drift_law(1e-9, 0.05, 1.1e-12, 1e-12), "fails"),
        (decide.drift_law(1e-9, 0.05, 1e-12, 1.1e-12), "fails"),
        (machines(), "holds"),
        (machines(double=1.1e-12), "fails"),
        (machines(single=1.1e-5), "fails"),
        (machines(equal=False), "fails"),
        (machines(trained=1.1e-10), "fails"),
        (machines(apart=0.01), "undecided"),
        (decide.sync_exact(None), "undecided"),
        (padding(1e-12, 1e-12, 0.011), "holds"),
        (padding(1.1e-12, 1e-12, 0.011), "fails"),
        (padding(1e-12, 1.1e-12, 0.011), "fails"),
        (padding(1e-12, 1e-12, 0.01), "fails"),  # another share has to miss
        (blind(1e-12, 1.1e-6), "holds"),
        (blind(1.1e-12, 1.0), "fails"),
        (blind(0.0, 1e-6), "fails"),
    ],
)
def test_what_is_exact_has_an_edge_for_each_error_and_a_control_that_differs(claim, expected):
    assert claim.verdict == expected


@pytest.mark.parametrize(
    ("pure", "control", "expected"),
    [(20, 81, "holds"), (20.1, 81, "partly"), (20, 80.9, "partly"), (75, 81, "fails")],
)
def test_pure_batches_break_batch_norm_while_the_controls_stand(pure, control, expected):
    cells = {"batch norm": (90, pure), "none": (90, control), "ten pure ghosts": (None, 10)}
    lines = [
        {"arm": arm, "batches": kind, "accuracy": value}
        for arm, pair in cells.items()
        for kind, value in zip(("mixed", "pure"), pair, strict=True)
    ]
    assert decide.pure(pd.DataFrame(lines)).verdict == expected


def leaks(**changed):
    """A line an arm; an interval of 0.001 around the law of each."""
    arms = [("mean only", 2, "batch", 0.9, 0.5), ("batch norm", 2, "batch", 0.63, 0.3)]
    cures = "synchronized", "shuffled", "layer norm", "none"
    arms += [(arm, 2, "batch", 0.0156, 0.0) for arm in cures]
    arms += [("synchronized", 4, "queue", 0.4, 0.25), ("shuffled", 4, "queue", 0.3, 1 / 6)]
    lines = []
    for arm, rows, negatives, accuracy, correlation in arms:
        accuracy, correlation = changed.get(f"{arm} {negatives}", (accuracy, correlation))
        line = {"arm": arm, "rows": rows, "negatives": negatives}
        for name, value in (("accuracy", accuracy), ("correlation", correlation)):
            line |= {name: value, f"{name} low": value - 0.001, f"{name} high": value + 0.001}
        lines.append(line)
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "holds"),
        ({"mean only batch": (0.9, 0.502)}, "fails"),
        ({"batch norm batch": (0.632, 0.3)}, "fails"),
        ({"synchronized queue": (0.4, 0.252)}, "fails"),
        ({"shuffled queue": (0.4, 0.17)}, "fails"),
    ],
)
def test_the_leak_law_has_to_hold_in_every_cell(changed, expected):
    assert decide.leak_law(leaks(**changed), 0.63).verdict == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "partly"),
        ({"shuffled batch": (0.02, 0.0)}, "fails"),
        ({"batch norm batch": (0.0156, 0.0)}, "fails"),
        ({"synchronized queue": (0.0156, 0), "shuffled queue": (0.0156, 0)}, "holds"),
    ],
)
def test_a_cure_brings_chance_back_and_a_queue_decides_between_all_and_part(changed, expected):
    assert decide.leak_cured(leaks(**changed), 0.0156).verdict == expected


@pytest.mark.parametrize(
    ("gains", "law", "expected"),
    [
        ((1, 1), 1e-10, "holds"),
        ((0, 1), 1e-10, "partly"),
        ((0, 0), 1e-10, "fails"),
        ((1, 1), 1.1e-10, "undecided"),
    ],
)
def test_averages_need_recomputing_where_it_gains(gains, law, expected):
    lines = []
    for rate, gain in zip((0.1, 1.0), gains, strict=True):
        for kind, share in (("averaged", 0), ("recomputed", 1)):
            points = [{"accuracy": 90 + share * gain * (1 + 0.1 * k)} for k in range(3)]
            where = {"rate": rate, "statistics": kind, "loss": 0.0, "delta 1": rate}
            lines += seeds(points, **where)
    assert decide.averaged_weights(pd.DataFrame(lines), law).verdict == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, NAMES["healthy"]),
        ({"companions": True, "E": 10.0}, NAMES["eval() forgotten"]),
        ({"E": 97.0}, NAMES["healthy"]),
        ({"E": 96.9, "left": 0.051, "a": 0.9}, NAMES["too few steps"]),
        ({"E": 96.9, "left": 0.05, "a": 0.51}, NAMES["momentum swapped"]),
        ({"E": 96.9, "left": 0.05, "a": 0.5}, decide.STATISTICS),
        ({"E": 96.9, "E R": 96.9}, "not batch norm"),
        ({"E test": 94.0}, NAMES["healthy"]),
        ({"E test": 93.9, "E test X": 95.9}, NAMES["60 training rows"]),
        ({"E test": 93.9, "E test X": 96.0}, NAMES["test input shifted"]),
    ],
)
def test_the_tree_turns_at_its_edges(numbers, expected):
    assert decide.tree(HEALTHY | numbers) == expected


def patients(right, wrong, sick=0):
    """So many ill networks with a right and a wrong name, and healthy ones called sick."""
    ill = HEALTHY | {"companions": True, "E test": 50.0, "E test R": 97.0, "healthy": 97.0}
    lines = [ill | {"cause": "eval() forgotten, 2 rows"}] * right
    missed = ill | {"companions": False, "E test": 93.0, "E test X": 99.0}
    lines += [missed | {"cause": "60 training rows"}] * wrong
    fit = HEALTHY | {"E test R": 97.0, "healthy": 97.0, "cause": "healthy"}
    lines += [fit] * 2 + [fit | {"companions": True}] * sick
    return decide.with_names(pd.DataFrame(lines))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((9, 1), "holds"), ((9, 0, 1), "partly"), ((8, 1), "partly"), ((7, 3), "partly"),
     ((6, 3), "fails")],
)  # fmt: skip
def test_the_tree_holds_from_nine_in_ten_on_if_it_calls_no_healthy_network_sick(counts, expected):
    assert decide.tree_names(patients(*counts)).verdict == expected


@pytest.mark.parametrize(
    ("points", "spread", "expected"),
    [
        (0.52, 0.01, "holds"),
        (0.52, 0.03, "undecided"),
        (0.4, 0.01, "fails"),
        (-0.4, 0.01, "fails"),
        (0.4, 0.2, "undecided"),
        (-0.6, 0.01, "undecided"),
    ],
)
def test_padding_harms_by_more_than_half_a_point_or_by_less(points, spread, expected):
    lines = []
    for arm, lost in (("masked", 0), ("changing share", 1), ("half", 1)):
        seen = [{"accuracy": 90 - lost * (points + spread * k)} for k in (-1, 0, 1, 0)]
        lines += seeds(seen, arm=arm, statistics="running")
        lines += seeds([{"accuracy": v} for v in (10, 20, 30, 40)], arm=arm, statistics="other")
    assert decide.padding_harms(pd.DataFrame(lines)).verdict == expected


def weighing(points, loss, maps=(0.0, 0.0)):
    """Lines of two weights, convolutional, and of two maps, fully connected; four seeds."""
    lines, rows = [], []
    for weight in (0.0, 0.5, 1.0):
        noise = [{"accuracy": 90 + 0.01 * k * weight, "loss": 0.01 * k * weight} for k in range(4)]
        moved = [
            {"accuracy": v["accuracy"] + points * weight, "loss": v["loss"] + loss * weight}
            for v in noise
        ]
        lines += seeds(moved, weight=weight)
    for m in (4, 8):
        for kind, share in (("as it is", 0), ("weighing 1/m", 1)):
            seen = [
                {"accuracy": share * (maps[0] + 0.01 * (k - 1.5)), "loss": share * maps[1]}
                for k in range(4)
            ]
            rows += seeds(seen, m=m, map=kind)
            harmed = [{"accuracy": 90 - 5 * share + 0.01 * k, "loss": share} for k in range(4)]
            rows += seeds(harmed, m=4 * m, map=kind)  # shown only: the rule names 4 and 8
    return decide.eval_helps(pd.DataFrame(lines), pd.DataFrame(rows)).verdict


@pytest.mark.parametrize(
    ("points", "loss", "maps", "expected"),
    [
        (1.0, -1.0, (0.0, 0.0), "holds"),
        (1.0, -1.0, (-1.0, 0.0), "partly"),
        (1.0, -1.0, (0.0, 1.0), "partly"),
        (1.0, 1.0, (0.0, 0.0), "partly"),
        (-1.0, -1.0, (0.0, 0.0), "partly"),
        (-1.0, 1.0, (1.0, -1.0), "fails"),
    ],
)
def test_weighing_helps_with_both_where_it_harms_nowhere(points, loss, maps, expected):
    assert weighing(points, loss, maps) == expected


@pytest.mark.parametrize(
    ("local", "other", "expected"),
    [
        (0.11, (0.1, 0.2), "holds"),
        (0.11, (0.11, 0.2), "partly"),
        (0.11, (0.01, 0.09), "partly"),
        (0.1, (0.0, 0.2), "fails"),
    ],
)
def test_an_encoder_that_uses_the_leak_is_above_chance_and_the_cured_ones_are_at_it(
    local, other, expected
):
    rows = {"batch norm": (0.5, local, 0.9), "synchronized": (0.1, *other), "none": (0.1, 0.0, 0.3)}
    columns = ["estimate", "low", "high"]
    intervals = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    assert decide.leak_trained(intervals, 0.1).verdict == expected
