"""Measurement protocols of the chapters: what trains what on which data, and how it is compared."""
