"""Residual blocks that start as the identity."""
