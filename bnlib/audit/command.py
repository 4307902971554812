"""`bnlib audit CHECKPOINT`. Torch is imported only when the command runs."""

import re
from pathlib import Path

import click


@click.command("audit")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--eps", type=click.FloatRange(min=0), default=1e-5, show_default=True,
              help="Offset under the root; a state dict does not store it.")  # fmt: skip
@click.option("--activation", type=click.Choice(["relu", "relu6", "none"]), default="relu",
              show_default=True, help="What follows the normalizations.")  # fmt: skip
@click.option("--layers", "pattern", default="", metavar="REGEX",
              help="Only layers whose name contains this regular expression.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path),
              help="Write all numbers to this file.")  # fmt: skip
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path),
              help="Write a page with pictures to this file; it needs no other file.")  # fmt: skip
def audit_command(
    checkpoint: Path,
    eps: float,
    activation: str,
    pattern: str,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Look at the batch normalizations of a trained network.

    CHECKPOINT is a state dict (.pt, .pth, also nested in a training checkpoint) or a .safetensors
    file. Nothing in it is executed, and it is never changed. A pickle that holds more than
    tensors, such as a whole module, is refused.

    The exit status is 0 if nothing is broken, 1 if numbers are not finite or variances negative,
    2 if the file cannot be read or has no batch normalization.

    \b
    Examples:
      bnlib audit model.pth
      bnlib audit model.safetensors --eps 1e-3 --activation relu6 --html audit.html
    """
    from bnlib.audit.layers import UnreadableError
    from bnlib.audit.report import as_html, as_json, as_text, audit

    _check(checkpoint, pattern, json_path, html_path)
    try:
        report = audit(checkpoint, eps=eps, pattern=pattern, activation=activation)
    except UnreadableError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from error
    click.echo(as_text(report))
    for path, write in ((json_path, as_json), (html_path, as_html)):
        if path:
            path.write_text(write(report), encoding="utf-8")
    raise SystemExit(report.exit_code)


def _check(checkpoint: Path, pattern: str, *outputs: Path | None) -> None:
    """Refuse what would overwrite the checkpoint, and a pattern that cannot be compiled."""
    for path in filter(None, outputs):
        if path.resolve() == checkpoint.resolve():
            raise click.UsageError(
                f"expected a report beside the checkpoint, got its own name {path}"
            )
    try:
        re.compile(pattern)
    except re.error as error:
        raise click.UsageError(
            f"--layers: {pattern!r} is no regular expression: {error}"
        ) from error
