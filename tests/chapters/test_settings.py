"""What each chapter's own rules of its parameters refuse, by name and with the reason."""

import importlib

import pytest

ASCENDING = "numbers in ascending order, each once"
REFUSED = {
    "capacity": {"rates": [([0], "one in"), ([True], "float"), (["0.1"], "float")]},
    "covariate_shift": {
        "arms": [(["none", "bnn"], "did you mean 'bn'"), (["none"], "none and bn among them")],
        "activations": [(["rellu"], "did you mean 'relu'")],
        "rate_rules": [(["same rates"], "did you mean 'same rate'"), ([], "a list with entries")],
        "depths": [([1], "one in"), ([[6]], "list of int")],
        "rates": [([1.0, 0.1], ASCENDING)],
        "raw_steps": [([0.0, 0.1], "one in"), ([0.1], "at least 2"), ([0.2, 0.1], ASCENDING)],
        "matched_steps": [(["a"], "list of float")],
        "noise_depths": [([6, 8], "one of at least 10")],
        "sizes": [([[32, 1]], "one in"), ([[32]], "pairs"), ([32], "list of list")],
    },
    "gamma": {"batch_sizes": [([4, 8], "one in"), ([16, 8], ASCENDING)]},
    "interactions": {
        "others": [
            (["layernorm"], "did you mean 'layer-norm'"),
            (["layer-norm", "bn"], "none of none, frozen, bn"),
        ],
        "activations": [(["tanh"], "relu among them")],
        "depths": [([2, 3], "one of at least 4, which decides")],
        "line_depths": [([4, 4], "at least 2 different numbers")],
        "r_values": [([0.5, 0.1], ASCENDING)],
        "c_values": [(["x"], "list of float")],
    },
    "learning_rate": {
        "activations": [(["tanh"], "relu among them"), (["relu", "rleu"], "did you mean 'relu'")],
        "arms": [(["none"], "none and bn among them"), (["bn", "none", "layernorm"], "did you")],
        "depths": [([], "entries"), ([1], r"one in \[2, 64\], got 1"), ([2.5], "list of int")],
        "rates": [
            ([-1, 0], "at least 3"),
            ([0, -1, 1], ASCENDING),
            (["0", "1", "2"], "list of int"),
        ],
    },
    "misconceptions": {"seeds": [(7, "one in")]},
    "transfer": {
        "rates": [([0.1], "at least 2"), ([0.1, 0.01], ASCENDING), ([0.0, 0.1], "one in")],
        "affine_rates": [([], "a list with entries"), (["1"], "list of float")],
        "weight_rates": [([0.1, 0.1], ASCENDING)],
        "batch_sizes": [([1, 2], "one in"), ([2], "at least 2")],
        "first_rates": [([0.01, 0.05], "at least 3")],
        "labels": [([20, 201], "one in"), ([200, 20], ASCENDING)],
        "subset_rates": [([11.0], "one in")],
        "test_sizes": [([4, 16], "64 among them"), ([64, 4], ASCENDING)],
        "entropy_rates": [([-1.0], "one in")],
        "shifts": [(["nose"], "did you mean 'noise'"), (["blur", "blur"], "each name once")],
        "nets": [(["lite9"], "one in")],
    },
    "residual": {
        "arms": [(["one"], "one and zero among them"), (["one", "zero", "zeroo"], "did you mean")],
        "rates": [([-1, 0], "at least 3"), ([0, -1, 1], ASCENDING), ([-1, 0, 11], "one in")],
        "depths": [([8, 4], ASCENDING), ([1, 4], "one in"), ([4.0], "list of int")],
        "nets": [(["lite3"], ""), (["lite0", "lite0"], "once")],
        "decay": [(1.5, "one in"), ("none", "float")],
        "blocks": [(1, "one in"), (True, "int")],
    },
    "trained_networks": {"nets": [([], "a list"), (["lite0", "lite0"], "once"), (["lite3"], "")]},
}


@pytest.mark.parametrize(
    ("chapter", "name", "value", "reason"),
    [
        (chapter, name, *case)
        for chapter, parameters in REFUSED.items()
        for name, cases in parameters.items()
        for case in cases
    ],
)
def test_what_does_not_fit_is_refused_by_name(chapter, name, value, reason):
    settings = importlib.import_module(f"bnlib.chapters.{chapter}").Settings
    with pytest.raises(ValueError, match=f"^parameter '{name}': expected .*{reason}"):
        settings(**{name: value})
