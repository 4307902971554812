"""The command line: `bnlib reproduce`."""

import tempfile
from pathlib import Path
from typing import Any

import click

from bookbuild import full, store
from bookbuild import notebook as nb
from bookbuild import reproduce as rp
from bookbuild.execute import Report, Run, describe, ending_on_signals, plan


@click.command("reproduce")
@click.argument("slugs", metavar="[SLUG]...", nargs=-1)
@click.option("--jobs", type=click.IntRange(min=1), help="Notebooks at a time [default: cores].")
@click.option("--stored", is_flag=True, help="Compare executions that the book's store has.")
@click.option("--update", is_flag=True, help="Show what moved, then make it the baseline.")
@click.option("--full", "tables", is_flag=True, help="The large stored tables instead.")
def reproduce_command(
    slugs: tuple[str, ...], jobs: int | None, stored: bool, update: bool, tables: bool
) -> None:
    """Execute chapters from scratch and compare every recorded value with results/SLUG.json.

    SLUG is the bare name of a notebook; without one, all that have a baseline are compared. Each
    value has its own tolerance in the baseline. The exit status is 1 if a value moved, a verdict
    changed or a notebook failed.

    With --update each chapter runs twice, the second time with the arithmetic of an old processor:
    how far the two are apart gives the tolerances.

    With --full the tables that results/full.toml names are computed again, minutes to an hour each,
    and every value is compared; a command that was stopped goes on where it was.

    \b
    Examples:
      bnlib reproduce
      bnlib reproduce chains --update
      bnlib reproduce --stored          # after make book: executes nothing again
      bnlib reproduce capacity --full
    """
    root = Path.cwd()
    if stored and (update or tables):
        raise click.UsageError("expected --stored alone, got it with --update or --full")
    with (
        ending_on_signals("Nothing was changed."),
        tempfile.TemporaryDirectory(prefix="bnlib-reproduce-") as scratch,
    ):
        folder = Path(scratch)
        if tables:
            good = _full(root, slugs, update)
        else:
            runs = _runs(root, slugs, None if stored else folder / "now", update)
            good = _update(root, runs, jobs, folder) if update else _compare(root, runs, jobs)
    if not good:
        raise SystemExit(1)


def _runs(root: Path, slugs: tuple[str, ...], folder: Path | None, update: bool) -> list[Run]:
    known = {path: rp.read(root, path.stem) for path in nb.find(root, slugs)}
    chosen = [path for path, baseline in known.items() if baseline or slugs or update]
    missing = [path.stem for path in chosen if not known[path]]
    if not chosen or (missing and not update):
        names = " ".join(missing or [path.stem for path in known])
        raise ValueError(f"no baseline; `bnlib reproduce {names} --update` makes one")
    return [
        plan(path, (known[path] or {}).get("parameters"), root=root, folder=folder)
        for path in chosen
    ]


def _compare(root: Path, runs: list[Run], jobs: int | None) -> bool:
    measured, failed = rp.measure(runs, jobs=jobs)
    _tell(failed)
    good = not failed
    for slug, now in measured.items():
        baseline = rp.read(root, slug)
        assert baseline
        moved = rp.compare(baseline, now)
        good = good and not moved
        told = _told(slug, baseline, moved, rp.versions()) if moved else None
        count = f"{len(now['records'])} values, {len(now['claims'])} verdicts"
        click.echo(told or f"{slug}: {count} as published")
    return good


def _tell(failed: list[Report]) -> None:
    for report in failed:
        click.echo(describe(report), err=True)


def _told(slug: str, old: dict[str, Any], moved: list[rp.Moved], versions: dict[str, str]) -> str:
    """The first difference, how many more there are, and the versions of both sides."""
    more = [f"  and {len(moved) - 1} more"] if len(moved) > 1 else []
    apart = [f"  {line}" for line in rp.versions_apart(old.get("versions", {}), versions)]
    return "\n".join([f"{slug}: {moved[0]}", *more, *apart])


def _update(root: Path, runs: list[Run], jobs: int | None, folder: Path) -> bool:
    measured, failed = rp.measure(runs, jobs=jobs)
    again = [run._replace(folder=folder / "elsewhere") for run in runs if run.slug in measured]
    elsewhere, failed_there = rp.measure(again, jobs=jobs, extra=rp.OLD_PROCESSOR)
    _tell(failed + failed_there)
    for slug in elsewhere:
        old, now, there = rp.read(root, slug), measured[slug], elsewhere[slug]
        for moved in rp.compare(old, now) if old else []:
            click.echo(f"{slug}: {moved}")
        for moved in rp.compare(rp.baseline(now, there), there):
            click.echo(f"{slug}: {moved.name} depends on the processor", err=True)
        path = rp.write(root, slug, rp.baseline(now, there, old))
        click.echo(f"{slug}: wrote {path.relative_to(root)}")
    return not failed + failed_there


def _full(root: Path, names: tuple[str, ...], update: bool) -> bool:
    good = True
    for table in full.tables(root, names):
        old = full.read(table.path)
        click.echo(f"{table.name}: computing it again")
        made = full.redo(root, table)
        now = full.read(made)
        moved = list(full.compare(old, now))
        good = good and (update or not moved)
        told = _told(table.name, old, moved, now.get("versions", {})) if moved else None
        click.echo(told or f"{table.name}: as published")
        if moved and update:
            store.write_atomically(table.path, made.read_text(encoding="utf-8"))
            where = table.path.relative_to(root)
            click.echo(f"{table.name}: wrote {where}; its page names the old one")
    return good
