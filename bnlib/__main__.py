"""`bnlib`, and `python -m bnlib`: the command line."""

from bnlib.audit.command import audit_command
from bookbuild.cli import main

main.help = "Re-execute the book's notebooks, or audit the batch normalizations of a checkpoint."
main.add_command(audit_command)

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="bnlib")
