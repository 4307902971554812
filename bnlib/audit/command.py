"""`bnlib audit CHECKPOINT`. Torch is imported only when the command runs."""

import contextlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
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
@click.option("--key", default="", help="Which network, where the file holds several.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path),
              help="Write all numbers to this file.")  # fmt: skip
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path),
              help="Write a page with pictures to this file; it needs no other file.")  # fmt: skip
def audit_command(
    checkpoint: Path,
    eps: float,
    activation: str,
    pattern: str,
    key: str,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Look at the batch normalizations of a trained network.

    CHECKPOINT is a state dict (.pt, .pth, also nested in a training checkpoint), a .safetensors
    file, or the .index.json of several. Nothing in it is executed, and it is never changed. A
    pickled module is refused; other objects beside the tensors are left out.

    The exit status is 0 if nothing is broken, 1 if numbers are not finite or variances negative,
    2 if the file cannot be read, has no batch normalization, or a report cannot be written.

    \b
    Examples:
      bnlib audit model.pth
      bnlib audit model.safetensors --eps 1e-3 --activation relu6 --html audit.html
    """
    with _exit_codes():
        from bnlib.audit.report import as_html, as_json, as_text, audit

        _check(checkpoint, eps, pattern, json_path, html_path)
        report = audit(checkpoint, eps=eps, pattern=pattern, activation=activation, key=key)
        for path, write in ((json_path, as_json), (html_path, as_html)):
            if path:
                _write(path, write(report))
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        click.echo(as_text(report).encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    raise SystemExit(report.exit_code)


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Status 1 means that the audit found something: whatever else happens has another one."""
    try:
        yield
    except BrokenPipeError as error:  # who reads the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except (ValueError, OSError, MemoryError) as error:
        told = "".join(ch if ch.isprintable() else "?" for ch in str(error)) or type(error).__name__
        click.echo(f"Error: {told}", err=True)
        raise SystemExit(2) from error


def _check(checkpoint: Path, eps: float, pattern: str, *outputs: Path | None) -> None:
    """Refuse what cannot be audited, or would overwrite the checkpoint or another report."""
    if not eps < float("inf"):
        raise click.UsageError(f"--eps: expected a finite number from 0 on, got {eps}")
    reports = [path for path in outputs if path]
    for path in reports:
        if path.exists() and checkpoint.exists() and path.samefile(checkpoint):
            raise click.UsageError(
                f"expected a report beside the checkpoint, got its own name {path}"
            )
        if not path.absolute().parent.is_dir():
            raise click.UsageError(f"expected a folder for {path}, got one that does not exist")
    if len({path.resolve() for path in reports}) < len(reports):
        raise click.UsageError(f"expected two files for two reports, got {reports[0]} twice")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise click.UsageError(
            f"--layers: {pattern!r} is no regular expression: {error}"
        ) from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all: beside the target first; what is no file is written as it is."""
    target = path.resolve()
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        target.write_text(text, encoding="utf-8", errors="replace")
        return
    with tempfile.NamedTemporaryFile(
        "w", dir=target.parent, encoding="utf-8", errors="replace", delete=False
    ) as file:
        try:
            file.write(text)
            file.flush()
            kept = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
            os.chmod(file.name, kept)
            os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink()
            raise
