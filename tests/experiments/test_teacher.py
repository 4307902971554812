"""Teachers and students: larger batches and longer training lead nearer to the identity."""

import numpy as np
import torch

from bnlib.experiments import teacher


def test_a_student_that_starts_as_its_teacher_comes_nearer_with_larger_batches():
    school = teacher.teachers(2, [0, 1], rows=512)
    assert not torch.equal(school.weight[0], school.weight[1])
    few, many = (teacher.study(school, "γ, β", m=m, steps=200) for m in (4, 64))
    assert few.d.shape == (2, 16)
    assert np.median(many.d) < np.median(few.d)
    assert (many.mse < few.mse).all()


def test_the_comparison_has_every_arm_at_every_size_and_one_longer_run():
    table = teacher.comparison(0, 2, [4, 64], 20)
    assert list(table.columns) == teacher.COLUMNS
    arms = [(arm, m, 20) for arm in teacher.ARMS for m in (4, 64)]
    assert list(table[["trained", "m", "steps"]].itertuples(index=False, name=None)) == [
        *arms,
        ("γ, β", 64, 80),
    ]
    assert (table["low"] <= table["median d"]).all()
    assert (table["median d"] <= table["high"]).all()
    assert table["relative MSE"].iloc[-1] < table["relative MSE"].iloc[1]
