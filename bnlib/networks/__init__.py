"""Networks as plain functions of their parameters."""
