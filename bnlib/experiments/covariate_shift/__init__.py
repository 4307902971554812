"""Experiments of the chapter `covariate-shift`, one module an experiment."""
