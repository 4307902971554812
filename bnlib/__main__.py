"""`bnlib`, and `python -m bnlib`: the command line.

A command is imported when it is called, so that `bnlib audit` needs nothing that builds books.
"""

import os
from importlib import import_module

import click

COMMANDS = {
    "audit": "bnlib.audit.command:audit_command",
    "downloads": "bookbuild.cli_downloads:downloads_command",
    "execute": "bookbuild.cli_execute:execute_command",
    "page": "bookbuild.cli_page:page_command",
    "reproduce": "bookbuild.cli_reproduce:reproduce_command",
    "sweep": "bookbuild.cli_sweep:sweep_command",
}


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            return _missing(cmd_name, error.name)

    def invoke(self, ctx: click.Context) -> object:
        """Whatever a command cannot read, write or understand is one sentence, and status 1."""
        try:
            return super().invoke(ctx)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error


def _missing(command: str, package: str | None) -> click.Command:
    needs = f"`bnlib {command}` needs the package {package}: pip install 'bnlib[book]'"

    def refuse() -> None:
        raise click.ClickException(needs)

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(command, callback=refuse, help=needs, context_settings=anything)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C", "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Work in this folder, as if it had been entered first.",
)  # fmt: skip
@click.version_option(package_name="bnlib")
def main(folder: str | None) -> None:
    """Re-execute the book's notebooks, or audit the batch normalizations of a checkpoint."""
    if folder:
        os.chdir(folder)


if __name__ == "__main__":
    main(prog_name="bnlib")
