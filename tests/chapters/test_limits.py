"""Each chapter at the ends of what it allows: it runs, and fails no claim that it cannot test."""

import pytest
from fingerprints import chapter, drawn

SHORT = {  # lists as short and as small as their rules allow
    "batches": {
        "rates": [1e-4], "doses": [0.0, 0.5, 1.0], "law_sizes": [2], "batch_sizes": [4],
        "parts": [2], "ghosts": [128], "splits": [0], "shares": [0.05], "group_sizes": [2],
        "queue_sizes": [2],
    },
    "capacity": {"rates": [1e-6]},
    "chains": {
        "scalar_depths": [2, 3], "r_values": [0.001], "depths": [2], "scales": [0.1], "widths": [1],
    },
    "covariate-shift": {
        "arms": ["none", "bn"], "depths": [2], "activations": ["relu"], "rates": [1e-6],
        "rate_rules": ["same rate"], "noise_depths": [10], "raw_steps": [1e-6, 2e-6],
        "matched_steps": [1e-6, 2e-6], "sizes": [[8, 8]],
    },
    "forward": {"batch_sizes": [2]},
    "gamma": {"rates": [-20], "batch_sizes": [8]},
    "gradient": {},
    "identity": {"batch_sizes": [64], "sgd_batches": [2], "ts_batches": [2]},
    "interactions": {
        "activations": ["relu"], "others": ["layer-norm"], "depths": [4], "line_depths": [2, 3],
        "r_values": [1e-6], "c_values": [1e-6],
    },
    "learning-rate": {
        "activations": ["relu"], "arms": ["none", "bn"], "depths": [2], "rates": [-40, -39, -38],
        "cells": "registered", "steps": 1, "threshold": 1.0,
    },
    "misconceptions": {},
    "transfer": {
        "rates": [1e-6, 2e-6], "affine_rates": [1e-6], "weight_rates": [1e-6],
        "batch_sizes": [2, 3], "first_rates": [1e-6, 2e-6, 3e-6], "labels": [2, 3],
        "subset_rates": [1e-6], "test_sizes": [2, 64], "shifts": ["noise"],
        "entropy_rates": [1e-6], "nets": ["lite0"],
    },
    "residual": {
        "depths": [2], "arms": ["one", "zero"], "rates": [-20, -19, -18], "nets": ["lite0"],
    },
    "trained-networks": {"nets": ["lite0"]},
}  # fmt: skip
LARGEST = {"chains": ["weight_mean", "r_matched"], "gradient": ["lr"]}  # what is no count
UNTRAINED = {"capacity-beta-restores", "capacity-batch-scale", "share-predicts", "two-moments-only"}


def at(slug, end, names):
    """The chapter run at the least it allows, but for these parameters at that end."""
    declared = chapter(slug).Settings.declared()
    least = {n: type(p.default)(p.low) for n, p in declared.items() if p.kind in ("int", "float")}
    ends = {name: getattr(declared[name], end) for name in names}
    sections = chapter(slug).run(chapter(slug).Settings(**least | SHORT[slug] | ends))
    assert all(figure for _, figure in drawn(sections))
    return {claim.id: claim.verdict for part in sections.values() for claim in part.claims}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("slug", SHORT)
def test_all_minima_run_to_the_end_and_what_was_not_trained_is_undecided(slug):
    verdicts = at(slug, "low", [])
    told = {verdicts[claim] for claim in UNTRAINED & set(verdicts)}
    assert told <= {"undecided"}


@pytest.mark.slow
@pytest.mark.parametrize(("slug", "name"), [(s, n) for s, names in LARGEST.items() for n in names])
def test_the_largest_of_what_is_no_count_runs_to_the_end(slug, name):
    assert at(slug, "high", [name])
