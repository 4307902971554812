"""The command `bnlib execute`."""

from pathlib import Path

import click

from bookbuild import notebook as nb
from bookbuild.execute import describe, ending_on_signals, execute, plan
from bookbuild.grids import from_shell


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
    and found again as long as its code cells, parameters, the files that these name, library
    modules, lock file, Python and data packages are the same. The exit status is 1 if a notebook
    fails.

    \b
    Examples:
      bnlib execute
      bnlib execute forward gradient --jobs 2
      bnlib execute forward -p seeds 20
    """
    root, runs = Path.cwd(), []
    for path in nb.find(root, slugs):
        with nb.named(path):
            given = nb.parse(nb.parameters(nb.read(path)), pairs)
        runs.append(plan(path, {name: from_shell(v) for name, v in given.items()}, root=root))
    with ending_on_signals("What had finished is in the store."):
        reports = execute(runs, jobs=jobs)
    for report in reports:
        done = f"{report.facts['seconds']:.1f} s" if report.fresh and report.ok else "up to date"
        where = f"{report.run.slug}: {done}, {report.run.path.relative_to(root)}"
        click.echo(where if report.ok else describe(report), err=not report.ok)
    if not all(report.ok for report in reports):
        raise SystemExit(1)
