"""The command `bnlib execute`."""

from pathlib import Path

import click

from bookbuild import notebook as nb
from bookbuild.execute import Report, describe, execute, plan


@click.command("execute")
@click.argument("slugs", metavar="[SLUG]...", nargs=-1)
@click.option("--jobs", type=click.IntRange(min=1), help="Notebooks at a time [default: cores].")
@click.option(
    "-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE",
    help="Another value for a declared parameter; repeatable.",
)  # fmt: skip
def execute_command(slugs: tuple[str, ...], jobs: int | None, pairs: list[tuple[str, str]]) -> None:
    """Execute notebooks that changed since their last execution, or all of them that did.

    SLUG is the bare name of a notebook in notebooks/. An execution is kept under _build/executed
    and found again as long as its code cells, parameters, library modules, lock file, Python and
    data packages are the same. The exit status is 1 if a notebook fails.

    \b
    Examples:
      bnlib execute
      bnlib execute forward gradient --jobs 2
      bnlib execute forward -p seeds 20
    """
    root = Path.cwd()
    try:
        runs = [
            plan(path, nb.parse(nb.parameters(nb.read(path)), pairs), root=root)
            for path in nb.find(root, slugs)
        ]
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    reports = execute(runs, jobs=jobs)
    for report in reports:
        click.echo(_line(report, root), err=not report.ok)
    if not all(report.ok for report in reports):
        raise SystemExit(1)


def _line(report: Report, root: Path) -> str:
    if not report.ok:
        return describe(report)
    path = report.run.path.relative_to(root)
    done = f"{report.facts['seconds']:.1f} s" if report.fresh else "up to date"
    return f"{report.run.slug}: {done}, {path}"
