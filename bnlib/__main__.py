"""`bnlib`, and `python -m bnlib`: the command line."""

from bnlib.publish.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="bnlib")
