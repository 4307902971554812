"""The library behind the book: batch normalization, its gradient, and tests of what is said of it.

Import the module you need (`from bnlib import reference`); this package re-exports nothing, so
that the import graph says exactly what a notebook depends on.
"""
