"""Rows, shifts, tuning and entropy of the chapter on transfer, against independent computation."""

import numpy as np
import pytest
import torch
from matplotlib.text import Annotation

from bnlib import data, training
from bnlib.chapters import transfer
from bnlib.chapters.transfer import domains, exact, figures, measure, mixtures
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.statistics import Interval

SEEDS = range(2)


@pytest.fixture(scope="module")
def source():
    return domains.source("mnist", SEEDS, steps=30)


@pytest.fixture(scope="module")
def clean():
    return domains.shifted("none", SEEDS)


def test_small_digits_keep_their_ink_and_lose_the_margin():
    box = np.zeros((1, 28, 28))
    box[0, 4:24, 4:24] = 0.5
    np.testing.assert_allclose(domains.small(box.reshape(1, -1)), 0.5)
    margin = np.ones((1, 28, 28))
    margin[0, 4:24, 4:24] = 0
    assert domains.small(margin.reshape(1, -1)).max() == 0
    dot = np.zeros((1, 28, 28))
    dot[0, 4:9, 4:9] = 1  # five pixels of twenty are two of eight
    small = domains.small(dot.reshape(1, -1)).reshape(8, 8)
    assert small[:2, :2].min() > 0.9
    assert small[3:, :].max() == small[:, 3:].max() == 0


def test_uses_of_rows_do_not_overlap_and_no_source_row_is_a_target_row(clean):
    digits = domains.target("digits", SEEDS)
    assert digits.x.shape[1] + digits.x_aside.shape[1] + digits.x_test.shape[1] == 1797
    split = domains.splits("mnist", SEEDS)[0]
    kept = {row.tobytes() for row in split.x_train.astype(np.float32)}
    tested = torch.cat([clean.x, clean.x_aside, clean.x_test], 1)[0].numpy()
    assert len(tested) == 2000
    assert sum(row.tobytes() in kept for row in tested) == 0


def test_rotation_turns_about_the_mean_and_keeps_distances():
    x = np.random.default_rng(0).normal(size=(200, 64))
    turned = domains.SHIFTS["rotation"](x, np.random.default_rng(1))
    np.testing.assert_allclose(turned.mean(0), x.mean(0), atol=1e-12)
    before, after = (np.linalg.norm(v - v.mean(0), axis=1) for v in (x, turned))
    np.testing.assert_allclose(after, before)
    assert np.abs(turned - x).max() > 1


def test_blur_is_the_mean_over_three_by_three():
    x = np.random.default_rng(0).random((2, 64))
    blurred = domains.SHIFTS["blur"](x, np.random.default_rng(1)).reshape(2, 8, 8)
    np.testing.assert_allclose(blurred[1, 3, 4], x.reshape(2, 8, 8)[1, 2:5, 3:6].mean())
    np.testing.assert_allclose(blurred[0, 0, 0], x.reshape(2, 8, 8)[0, :2, :2].sum() / 9)


def test_a_contrast_is_undone_at_eps_0_and_seen_by_other_statistics(source, clean):
    found = exact.contrast(source, clean.x_test[:, :200])
    assert found.exact < 1e-11
    assert found.eps_law < 1e-12 < found.stored_eps < 0.01
    assert found.source > 0.5
    assert found.dead == 0


def test_a_rotation_is_not_undone(source, clean):
    rows = domains.shifted("rotation", SEEDS).x_test[:, :200].double()
    net = exact.in_double(source, eps=0.0)
    own = [
        net.forward(net.params, x, stats=net.recalibrate(x)) for x in (clean.x_test.double(), rows)
    ]
    assert (own[0][:, :200] - own[1]).abs().max() > 0.5 * own[0].std()


def test_other_statistics_with_their_constants_are_the_same_function(source):
    gaps = exact.same_function(source, domains.target("digits", SEEDS).x)
    assert max(gaps.values()) < 1e-12


def test_frozen_at_random_trains_like_the_plain_network_unless_gamma_and_beta_move(clean):
    gaps = exact.frozen_at_random(SEEDS, clean, eps=0.3)
    assert gaps.function < 1e-12
    assert gaps.path < 1e-10 < gaps.tuned


def test_a_rate_beside_others_gives_what_it_gives_alone(source, clean):
    rows = clean.first(40)
    pair = measure.tune(source, rows, [0.01, 0.1], measure.AFFINE, batch=8, steps=5)
    alone = measure.tune(source, rows, [0.1], measure.AFFINE, batch=8, steps=5)
    np.testing.assert_allclose(pair.loss[:, 1], alone.loss[:, 0], rtol=1e-4)
    assert pair.test.shape == (2, 2)
    assert np.abs(pair.loss[-1, 0] - pair.loss[-1, 1]).max() > 1e-3


def test_tuning_leaves_the_source_as_it_was_and_moves_what_it_names(source, clean):
    before = {name: value.clone() for name, value in source.net.params.items()}
    measure.tune(source, clean.first(40), [0.1], measure.WEIGHTS, batch=8, steps=3)
    measure.negated(source)
    assert all(torch.equal(before[name], value) for name, value in source.net.params.items())


def test_an_arm_takes_the_rate_that_is_best_aside_and_marks_an_edge():
    stable = np.array([[True, True], [True, False], [False, False]])
    aside = np.array([[1.0, 2.0], [5.0, 1.0], [2.0, 2.0]])
    arm = measure.Arm((0.1, 1.0, 10.0), aside, 10 * aside, stable, np.zeros((1, 3, 2)))
    assert arm.rate == "1"
    assert arm.accuracy.tolist() == [50.0, 10.0]
    assert arm.largest_stable.tolist() == [1, 0]
    assert arm._replace(aside=-aside).rate == "0.1*"


def test_a_sorted_stream_holds_one_class_a_batch_as_far_as_it_can():
    y = torch.tensor([[2, 0, 1, 1, 0, 2, 0]])
    order = measure.sorted_order(y, 3)
    assert y[0][order[:, 0]].tolist() == [[0, 0, 0], [1, 1, 2]]


def test_entropy_is_that_of_the_softmax_and_falls_with_scale_by_its_law():
    z = torch.randn(1, 1, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = z.softmax(-1)
    torch.testing.assert_close(measure.entropy(z), -(p * p.log()).sum(-1)[:, 0])
    c = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(measure.entropy(c * z).sum(), c)
    p = (1.3 * z).softmax(-1)
    variance = (p * z**2).sum() - (p * z).sum() ** 2
    torch.testing.assert_close(slope, -1.3 * variance)


def test_entropy_minimization_moves_gamma_and_beta_of_a_copy_and_lowers_entropy(source, clean):
    before = {name: value.clone() for name, value in source.net.params.items()}
    x, y = clean.x_test[:, :256], clean.y_test[:, :256]
    order = torch.arange(256).reshape(4, 1, 64).expand(4, 2, 64)
    found = measure.minimize_entropy(source, x, y, order, rate=0.1, every=2)
    assert found.accuracy.shape == (3, 2)
    assert (np.diff(found.entropy, axis=0) < 0).all()
    assert all(torch.equal(before[name], value) for name, value in source.net.params.items())


def test_companions_matter_in_training_mode_only(source, clean):
    scores = measure.companions(source, clean, [64])
    assert (scores["random"] - scores["sorted"]).min() > 10
    stored = training.accuracy(source.net, clean.x_test, clean.y_test, stats=source.stats)
    assert (100 * stored - scores["sorted"]).min() > 10


def test_the_first_losses_are_those_of_the_batches_that_training_sees(source, clean):
    looked = measure.first_losses(source, clean, 8)
    arm = measure.tune(source, clean, [1e-9], measure.AFFINE, batch=8, steps=10)
    np.testing.assert_allclose(looked["source"][:10], arm.loss[:, 0], rtol=1e-3)
    assert looked["batch"].mean() > looked["source"].mean()


def test_a_cosine_forgets_what_all_crops_and_all_classes_share():
    z = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    moved = 3 * z + torch.randn(9) + torch.randn(5, 1)
    assert exact.cosine(z, moved) == pytest.approx(1, abs=1e-6)
    assert abs(exact.cosine(z, z.flip(0))) < 0.9


def test_random_masks_train_as_many_numbers_as_gamma_and_beta(source, monkeypatch):
    seen = {}

    def train(net, *_, masks, **__):
        seen.update(masks or {})
        raise InterruptedError

    monkeypatch.setattr(training, "train", train)
    rows = domains.target("digits", SEEDS)
    with pytest.raises(InterruptedError):
        measure.tune(source, rows, [0.1], measure.HIDDEN, random=512)
    counts = sum(mask[0].sum() for mask in seen.values())
    net: SeedBatchedMLP = source.net
    affine = sum(net.params[f"{kind}{i}"][0].numel() for kind in measure.AFFINE for i in (1, 2))
    assert int(counts) == affine == 512


def test_more_labels_come_from_rows_that_are_then_not_tested():
    rows = domains.target("mnist", [0])
    more = rows.first(300)
    assert (more.x.shape[1], more.x_test.shape[1]) == (300, 1500)
    assert torch.equal(more.x[:, 200:], rows.x_test[:, :100])
    assert torch.equal(more.y[:, 200:], rows.y_test[:, :100])
    assert torch.equal(more.y_test, rows.y_test[:, 100:])
    assert torch.equal(more.x_aside, rows.x_aside)
    few = rows.first(20)
    assert torch.equal(few.x, rows.x[:, :20])
    assert torch.equal(few.x_test, rows.x_test)


def test_a_source_without_gamma_and_beta_keeps_them_at_one_and_zero():
    net = domains.source("digits", [0], steps=3, trainable=("W", "b")).net
    assert all((net.params[f"gamma{i}"] == 1).all() for i in (1, 2))
    assert all((net.params[f"beta{i}"] == 0).all() for i in (1, 2))
    assert not (domains.source("digits", [0], steps=3).net.params["gamma1"] == 1).all()


def test_a_mixture_takes_its_share_of_both_statistics_and_every_weight_of_the_network():
    stored = mixtures.shipped("lite0")
    target = stored.recalibrated(data.photo_crops(2, size=64))
    half = mixtures.mixed(stored, target, 0.25)
    for name in ("_bn0.running_mean", "_blocks.3._bn1.running_var"):
        share = 0.75 * stored.weights[name] + 0.25 * target.weights[name]
        torch.testing.assert_close(half.weights[name], share)
    assert torch.equal(half.weights["_fc.weight"], stored.weights["_fc.weight"])


def test_the_middle_rate_of_entropy_minimization_decides_and_is_drawn_with_larger_ones(
    source, clean, monkeypatch
):
    def streams(*_, rate, **__):
        rise = np.array([[50.0, 50.0], [50.0 + rate, 50.1 + rate]])
        return dict.fromkeys(("mixed", "sorted", "batches of 8"), measure.Stream(rise, -rise, rise))

    drawn = {}
    monkeypatch.setattr(measure, "streams", streams)
    monkeypatch.setattr(transfer.figures, "entropy", drawn.update)
    given = transfer.Settings(shifts=["noise"], entropy_rates=[1.0, 3.0, 7.0], seeds=4)
    at = transfer.Start(source, source, clean, clean, clean)
    section = transfer.entropy(given, at)
    assert "noise +3.1" in section.claims[0].evidence
    assert list(section.tables["streams"].index.levels[0]) == [1.0, 3.0, 7.0]
    section.figures["entropy"]()
    assert {rate for rate, _ in drawn} == {3.0, 7.0}


def test_both_repairs_of_the_smallest_example_are_the_line_of_the_page():
    lines = exact.repairs((1, 1000))
    assert lines["stored"] == (0.5, -1.0)
    assert lines["counted"] == (0.25, -1.75)
    np.testing.assert_allclose(lines["1000 gradient steps"], lines["counted"], rtol=1e-12)
    assert abs(lines["1 gradient step"].slope - 0.25) > 0.1


def test_the_remedies_that_a_theorem_covers_are_named_in_their_panels():
    one = Interval(0.5, 0.4, 0.6)
    shifts = "contrast", "negative", "rotation", "permutation"
    figure = figures.recovered({(s, r): one for s in shifts for r in measure.REMEDIES})
    names = list(measure.REMEDIES)
    seen = {
        (ax.get_title(), t.get_text(), names[t.get_position()[1]])
        for ax in figure.axes
        for t in ax.texts
    }
    counting = "target statistics"
    assert seen == {
        ("contrast", "theorem\nsays 1", counting),
        ("negative", "theorem\nsays 1", "target statistics, γ of layer 1 negated"),
        ("rotation", "no\ntheorem", counting),
        ("permutation", "no\ntheorem", counting),
    }


def test_statistics_of_rows_that_are_not_tested_do_not_move_with_those_that_are(source, clean):
    few = clean.first(40)
    moved = few._replace(x_test=few.x_test + 5)
    seen = []
    for rows in (few, moved):
        cells = measure.table(source, rows, [0.1])
        seen.append({key: arm.aside for key, arm in cells.items() if key[1] == "γ, β"})
    same = {key[0] for key in seen[0] if np.array_equal(seen[0][key], seen[1][key])}
    assert same == {"source", "batch", measure.UNTESTED}
    assert not np.array_equal(seen[0]["batch", "γ, β"], seen[0][measure.UNTESTED, "γ, β"])


def test_accuracy_after_the_first_steps_is_shown_for_every_rate_and_arm(source, clean, monkeypatch):
    rates = [0.1, 0.2, 0.3]

    def first_steps(_source, _rows, m, _rates):
        ends = np.array([[m, m], [m + 10, m + 10], [m + 20, m + 20]], float)
        loss = np.ones((measure.FIRST_STEPS, 3, 2))
        arm = measure.Arm(tuple(rates), ends, ends, ends > 0, loss)
        return {"batch": arm, "source": arm._replace(test=ends + 1), "target": arm}

    monkeypatch.setattr(measure, "first_steps", first_steps)
    monkeypatch.setattr(measure, "LOOKS", 10)
    given = transfer.Settings(batch_sizes=[2, 8], first_rates=rates)
    at = transfer.Start(source, source, clean, clean, clean)
    ends = transfer.first_steps(given, at).tables["accuracy"]
    assert ends.loc[(8, 0.3), "source"].startswith("29.0 [")
    assert ends.loc[(2, 0.2), "batch"].startswith("12.0 [")
    assert ends.shape == (6, 3)


def test_the_flow_names_every_box_and_only_weights_reach_mixed_inputs():
    (ax,) = figures.numbers().axes
    words = [text.get_text() for text in ax.texts]
    assert all(box in words for *_, box in figures.FLOW.values())
    assert words.count("") == sum(len(ends) for ends in figures.MOVES.values()) == 9
    mixing = figures.FLOW["mixing"][:2]
    starts = [t.xyann for t in ax.texts if isinstance(t, Annotation) and t.xy == mixing]
    assert starts == [figures.FLOW["weights"][:2]]


def test_the_figure_of_one_line_draws_each_repair_as_its_line():
    lines = exact.repairs((1,))
    (ax,) = figures.one_line(lines).axes
    for drawn in ax.lines[: len(lines)]:
        slope, offset = lines[str(drawn.get_label())]
        np.testing.assert_allclose(drawn.get_ydata(), slope * drawn.get_xdata() + offset)
    wrong = ax.lines[-1]
    assert list(wrong.get_ydata()) == [0.5, 4.5]
