"""The command line: `bnlib sweep`."""

import sys
from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from bookbuild import grids, store, sweep, table
from bookbuild.execute import cores, ending_on_signals
from bookbuild.sources import MismatchError

OUT = "_build/sweeps"
_AGAIN = "What had finished is in the store; the same command goes on from there."


@click.command("sweep")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--grid", "words", multiple=True, required=True, metavar="NAME=VALUES|FILE",
    help="Values of one parameter, or a TOML file of grids; repeatable.",
)  # fmt: skip
@click.option("--notebooks", is_flag=True, help="Execute and keep a notebook for each run.")
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler, or its file.")
@click.option("--workers", type=click.IntRange(min=1), help="Local workers [default: cores].")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help=f"Where the table goes [default: {OUT}/<notebook>-<plan>].",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check and print the plan; run nothing.")
def sweep_command(
    notebook: Path,
    words: tuple[str, ...],
    notebooks: bool,
    scheduler: str | None,
    workers: int | None,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Run one chapter, or notebook, over a grid of parameters, on Dask, into one table.

    NOTEBOOK is a path, or the bare name of a notebook in notebooks/. The page of a chapter is not
    executed: the chapter is called, which gives the same values. Any other notebook is executed.

    VALUES are 2,4,8 or 0:20 (as in Python, without the 20) or 0:1:0.25; a list parameter takes
    [2,4],[8]. The grid is the product over all names. Whatever the store holds is not run again; a
    failed run is. The exit status is 1 if a run failed.

    \b
    Examples:
      bnlib sweep forward --grid batch_sizes=[2,4],[8,16] --grid seed=0:20 --dry-run
      bnlib sweep forward --grid seed=0:20 --workers 4 --out tables/forward
      bnlib sweep forward --grid grids.toml --scheduler tcp://10.0.0.5:8786
    """
    if scheduler and workers:
        raise click.UsageError("expected --scheduler or --workers, got both")
    named = Path("notebooks", f"{notebook}.ipynb")
    path = named if named.is_file() and not notebook.is_file() else notebook
    if not path.is_file():
        raise click.ClickException(f"expected a notebook, got {str(path)!r}, which is no file")
    plan = grids.plan(path, words, root=Path.cwd(), notebooks=notebooks)
    survey = grids.survey(plan)
    folder = out or Path(OUT, survey.name)
    workers = min(workers or cores(), max(1, survey.runs - survey.stored))
    click.echo(_planned(plan, survey, folder, workers))
    if dry_run:
        return
    for results in (folder, plan.folder):
        store.prepare(results)
    connect = partial(sweep.connect, scheduler, workers)
    slow = 0.1 if sys.stderr.isatty() else 30.0  # seconds: a log needs few lines
    with ending_on_signals(_AGAIN):
        try:
            with tqdm(total=survey.runs, unit="run", mininterval=slow, smoothing=0.1) as bar:
                failed = sweep.settle(plan, connect, bar)
            rows = table.write(plan, failed, folder)
        except (sweep.SchedulerError, MismatchError, OSError) as error:
            raise click.ClickException(f"{error}. {_AGAIN}") from error
    click.echo(table.summary(rows))
    click.echo(
        f"{survey.runs - len(failed)} runs done, {len(failed)} failed; "
        f"{len(rows)} rows in {folder / table.FILES[0]} and {table.FILES[1]}"
    )
    if failed:
        raise SystemExit(1)


def _planned(plan: grids.Plan, survey: grids.Survey, folder: Path, workers: int) -> str:
    todo = survey.runs - survey.stored
    lines = [
        f"plan   {plan.notebook.stem}: {survey.runs} runs, {survey.stored} in the store, "
        f"{todo} to do"
    ]
    for number, grid in enumerate(plan.grids, start=1):
        if len(plan.grids) > 1:
            lines.append(f"       grid {number}: {grids.size(grid)} runs")
        width = max([len(name) for name in grid] or [0])
        lines += [f"       {name:{width}}  {grids.shown(grid[name])}" for name in grid]
    calls = f"{plan.chapter}.run" if plan.chapter else f"{plan.notebook.name}, a kernel a run"
    lines += [f"calls  {calls}", f"store  {plan.folder}", f"table  {folder / table.FILES[0]}"]
    if survey.seconds is None:
        lines += ["time   unknown: the store has no run of it yet"]
    else:
        hours, rest = divmod(round(todo * survey.seconds / workers), 3600)
        lines += [
            f"time   about {hours} h {rest // 60} min {rest % 60} s with {workers} at a time, at "
            f"{survey.seconds:.3g} s a run, the median of stored ones"
        ]
    return "\n".join(lines)
