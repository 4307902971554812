"""Ratios against peers, measured in one run and printed; never asserted."""
