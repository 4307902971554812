"""The command line: `bnlib sweep`."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from bookbuild import chart, cluster, grids, store, table
from bookbuild.execute import cores
from bookbuild.remote import MismatchError
from bookbuild.sweep import Sweep
from bookbuild.watch import Watch

OUT = "_build/sweeps"
_AGAIN = "What had finished is in the store; the same command goes on from there."


@click.command("sweep")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--grid", "words", multiple=True, required=True, metavar="NAME=VALUES|FILE",
    help="Values of one parameter, or a TOML file of grids; repeatable.",
)  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler, or its file.")
@click.option("--workers", type=click.IntRange(min=1), help="Local workers [default: cores].")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help=f"Where the table goes [default: {OUT}/<notebook>-<plan>].",
)  # fmt: skip
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="End a run that takes longer [default: none for a run, 600 for a cell].",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check and print the plan; run nothing.")
@click.option(
    "--plot", "axes", nargs=2, metavar="X Y",
    help="Draw the recorded value Y over the parameter X, with intervals.",
)  # fmt: skip
def sweep_command(
    notebook: Path,
    words: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    out: Path | None,
    time_limit: float | None,
    dry_run: bool,
    axes: tuple[str, str] | None,
) -> None:
    """Execute one notebook over a grid of parameters, on Dask, into one table.

    NOTEBOOK is a path, or the bare name of a notebook in notebooks/. VALUES are 2,4,8 or 0:20 (as
    in Python, without the 20) or 0:1:0.25; a list parameter takes [2,4],[8]. The grid is the
    product over all names. Whatever the store holds is not run again; a failed run is. The exit
    status is 1 if a run failed.

    \b
    Examples:
      bnlib sweep forward --grid batch_sizes=[2,4],[8,16] --grid seed=0:20 --dry-run
      bnlib sweep forward --grid seed=0:20 --workers 4 --out tables/forward
      bnlib sweep forward --grid grids.toml --scheduler tcp://10.0.0.5:8786
    """
    if scheduler and workers:
        raise click.UsageError("expected --scheduler or --workers, got both")
    try:
        plan = grids.plan(_found(notebook), words, root=Path.cwd())
        if axes:
            chart.check(plan, *axes)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    survey = grids.survey(plan)
    folder = out or Path(OUT, survey.name)
    click.echo(_planned(plan, survey, folder))
    if dry_run:
        return
    _writable(folder)
    _writable(plan.folder)
    store.remove_leftovers(plan.model.folder, plan.slug)
    failed = _swept(plan, survey, scheduler, workers or cores(), time_limit)
    _tabled(plan, failed, folder, axes)
    if failed:
        raise SystemExit(1)


def _swept(
    plan: grids.Plan,
    survey: grids.Survey,
    scheduler: str | None,
    workers: int,
    time_limit: float | None,
) -> dict:
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(survey.runs))

        def opened() -> cluster.Cluster:
            found = stack.enter_context(cluster.connect(scheduler, workers))
            watch.say(f"dask   {found}")
            watch.start()
            return found

        try:
            return Sweep(plan, opened, watch, time_limit=time_limit).run()
        except KeyboardInterrupt:
            click.echo(f"interrupted, {watch.left} runs left. {_AGAIN}", err=True)
            raise SystemExit(130) from None
        except (cluster.SchedulerError, MismatchError) as error:
            raise click.ClickException(f"{error}. {_AGAIN}") from error
        except OSError as error:
            raise click.ClickException(f"the store: {error}. {_AGAIN}") from error


def _tabled(plan: grids.Plan, failed: dict, folder: Path, axes: tuple[str, str] | None) -> None:
    try:
        written = table.write(plan, failed, folder)
    except OSError as error:
        raise click.ClickException(f"the table: {error}. {_AGAIN}") from error
    click.echo(table.summary(written))
    click.echo(
        f"{written.runs['done']} runs done, {written.runs['failed']} failed; "
        f"{written.rows} rows in {written.parquet} and {written.csv.name}"
    )
    if axes:
        try:
            click.echo(f"drawn in {chart.draw(plan, written.parquet, *axes)}")
        except ValueError as error:
            raise click.ClickException(str(error)) from error


def _found(notebook: Path) -> Path:
    """The path as given, or the notebook of that name in notebooks/."""
    named = Path("notebooks", f"{notebook}.ipynb")
    if not notebook.is_file() and named.is_file():
        return named
    if not notebook.is_file():
        raise ValueError(f"expected a notebook, got {str(notebook)!r}, which is no file")
    return notebook


def _planned(plan: grids.Plan, survey: grids.Survey, folder: Path) -> str:
    lines = [
        f"plan   {plan.slug}: {survey.runs} runs, {survey.stored} in the store, "
        f"{survey.runs - survey.stored} to do"
    ]
    for number, grid in enumerate(plan.grids, start=1):
        if len(plan.grids) > 1:
            lines.append(f"       grid {number}: {grids.size(grid)} runs")
        width = max([len(name) for name in grid] or [0])
        lines += [f"       {name:{width}}  {grids.shown(grid[name])}" for name in grid]
    lines += [f"store  {plan.folder}", f"table  {folder / 'table.parquet'}"]
    return "\n".join(lines)


def _writable(folder: Path) -> None:
    """Find out before the first run, not after the last one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror}") from error
