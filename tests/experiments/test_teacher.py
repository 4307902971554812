"""Teachers and students: larger batches and longer training lead nearer to the identity."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bnlib import training
from bnlib.experiments import teacher


def test_a_student_that_starts_as_its_teacher_comes_nearer_with_larger_batches():
    school = teacher.teachers(2, [0, 1], rows=512)
    assert not torch.equal(school.weight[0], school.weight[1])
    few, many = (teacher.study(school, "γ, β", m=m, steps=200) for m in (4, 64))
    assert few.d.shape == (2, 16)
    assert np.median(many.d) < np.median(few.d)
    assert (many.mse < few.mse).all()


def test_the_comparison_has_every_arm_at_every_size_and_one_longer_run():
    table, by_rows, by_steps = teacher.comparison(0, 2, [4, 64], 20)
    assert list(table.columns) == teacher.COLUMNS
    arms = [(arm, m, 20) for arm in teacher.ARMS for m in (4, 64)]
    assert list(table[["trained", "m", "steps"]].itertuples(index=False, name=None)) == [
        *arms,
        ("γ, β", 64, 80),
    ]
    assert (table["low"] <= table["median d"]).all()
    assert (table["median d"] <= table["high"]).all()
    assert table["relative MSE"].iloc[-1] < table["relative MSE"].iloc[1]
    few, many, longer = (
        np.median(teacher.study(teacher.teachers(2, [0, 12]), "γ, β", m=m, steps=steps).d, axis=1)
        for m, steps in ((4, 20), (64, 20), (64, 80))
    )
    assert by_rows.estimate == pytest.approx(np.sqrt(np.prod(many / few)))
    assert by_steps.estimate == pytest.approx(np.sqrt(np.prod(longer / many)))


def test_d_is_0_at_the_constants_of_the_identity_and_else_the_distance_from_them(monkeypatch):
    off = [0.0, 0.0]

    def put(net, x, y, **recipe):
        """Instead of training: off by 30 % of gamma and 0.4 tau of beta."""
        stats = net.recalibrate(x)[1]
        tau = (stats.var + net.spec.eps).sqrt()
        net.params["gamma1"] = (1 + off[0]) * tau
        net.params["beta1"] = stats.mean + school.bias + off[1] * tau
        return SimpleNamespace(loss=np.ones((5, 2)))

    monkeypatch.setattr(teacher.training, "train", put)
    school = teacher.teachers(2, [0, 1], rows=512)
    for off[:], d in (((0, 0), 0), ((0.3, -0.4), 0.5)):
        student = teacher.study(school, "γ, β", m=8, steps=5)
        np.testing.assert_allclose(student.d, d, atol=1e-12)
        assert (student.mse.max() < 1e-24) == (d == 0)


@pytest.mark.parametrize("recipe", [{"lr": 1e-12}, {"batch": 8, "steps": 100}])
def test_students_that_do_not_learn_or_do_not_heed_batch_and_length_show_no_trend(
    monkeypatch, recipe
):
    train = training.train
    monkeypatch.setattr(
        teacher.training, "train", lambda net, x, y, **how: train(net, x, y, **{**how, **recipe})
    )
    _, by_rows, by_steps = teacher.comparison(0, 4, [4, 64], 50)
    assert by_rows.high > 0.95
    assert by_steps.high > 0.95
