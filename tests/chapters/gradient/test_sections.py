"""Sections of the chapter: the one random generator of the page."""

import numpy as np

from bnlib.chapters import gradient as chapter


def test_a_section_run_twice_draws_the_same_and_hands_on_another_state():
    start = np.random.default_rng(3)
    first, second = chapter.relatives(rng=start), chapter.relatives(rng=start)
    assert first.claims == second.claims
    assert first.values.bit_generator.state == second.values.bit_generator.state
    assert first.values.bit_generator.state != start.bit_generator.state
    assert start.bit_generator.state == np.random.default_rng(3).bit_generator.state
