"""The sections of the page at its smallest parameters."""

import torch

from bnlib.chapters import misconceptions as chapter
from bnlib.results import collect


def test_sections_record_in_page_order_and_leave_the_process_as_it_was():
    before = torch.get_default_dtype(), torch.get_num_threads()
    sections = chapter.run(chapter.Settings(seeds=8, steps=100, draws=2000))
    records, claims = collect(sections.values())
    assert list(records) == ["gain-digits", "gain-band", "error-64", "growth-bn-16"]
    assert claims == {}
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before
    off_law, in_evaluation = sections["once_set"].values
    assert in_evaluation < 1e-12 < off_law < 5
    assert sections["interacting_part"].values["relu", "start"].high < 0
