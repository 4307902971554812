"""The command line: `bnlib reproduce`."""

from pathlib import Path
from typing import Any

import click

from bookbuild import full, store
from bookbuild import notebook as nb
from bookbuild import reproduce as rp
from bookbuild.execute import Run, describe, plan


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
    try:
        if tables:
            raise SystemExit(0 if _full(root, slugs, update) else 1)
        with rp.scratch() as folder:
            runs = _runs(root, slugs, None if stored else folder / "now", update)
            good = _update(root, runs, jobs, folder) if update else _compare(root, runs, jobs)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if not good:
        raise SystemExit(1)


def _runs(root: Path, slugs: tuple[str, ...], folder: Path | None, update: bool) -> list[Run]:
    known = nb.find(root, slugs)
    with_baseline = [path for path in known if rp.read(root, path.stem)]
    chosen = known if slugs or update else with_baseline
    missing = [path.stem for path in chosen if path not in with_baseline]
    if not chosen or (missing and not update):
        names = " ".join(missing or [path.stem for path in known])
        raise ValueError(f"no baseline; `bnlib reproduce {names} --update` makes one")
    return [plan(path, _parameters(root, path.stem), root=root, folder=folder) for path in chosen]


def _parameters(root: Path, slug: str) -> dict[str, Any]:
    return (rp.read(root, slug) or {}).get("parameters", {})


def _compare(root: Path, runs: list[Run], jobs: int | None) -> bool:
    found, failed = rp.measure(runs, jobs=jobs)
    good = not failed
    for report in failed:
        click.echo(describe(report), err=True)
    for slug, measured in found.items():
        baseline = rp.read(root, slug)
        assert baseline
        moved = rp.compare(baseline, measured)
        good = good and not moved
        count = f"{len(measured['records'])} values, {len(measured['claims'])} verdicts"
        click.echo(f"{slug}: {count} as published" if not moved else _told(slug, baseline, moved))
    return good


def _told(
    slug: str, old: dict[str, Any], moved: list[rp.Moved], now: dict[str, Any] | None = None
) -> str:
    """The first difference, how many more there are, and the versions of both sides."""
    more = [f"  and {len(moved) - 1} more"] if len(moved) > 1 else []
    versions = [old.get("versions", {}), rp.versions() if now is None else now.get("versions", {})]
    apart = [f"  {line}" for line in rp.versions_apart(*versions)]
    return "\n".join([f"{slug}: {moved[0]}", *more, *apart])


def _update(root: Path, runs: list[Run], jobs: int | None, folder: Path) -> bool:
    found, failed = rp.measure(runs, jobs=jobs)
    again = [run._replace(folder=folder / "elsewhere") for run in runs if run.slug in found]
    with rp.old_processor():
        elsewhere, failed_there = rp.measure(again, jobs=jobs)
    for report in (*failed, *failed_there):
        click.echo(describe(report), err=True)
    for slug in (slug for slug in found if slug in elsewhere):
        old = rp.read(root, slug)
        for moved in rp.compare(old, found[slug]) if old else []:
            click.echo(f"{slug}: {moved}")
        for name in rp.unstable(found[slug], elsewhere[slug]):
            click.echo(f"{slug}: {name} depends on the processor", err=True)
        path = rp.write(root, slug, rp.baseline(found[slug], elsewhere[slug], old))
        click.echo(f"{slug}: wrote {path.relative_to(root)}")
    return not failed and not failed_there


def _full(root: Path, names: tuple[str, ...], update: bool) -> bool:
    good = True
    for table in full.tables(root, names):
        path = full.stored(root, table)
        old = full.read(path)
        click.echo(f"{table.name}: computing it again")
        made = full.redo(root, table)
        now = full.read(made)
        moved = list(full.compare(old, now))
        good = good and (update or not moved)
        told = _told(table.name, old, moved, now) if moved else f"{table.name}: as published"
        click.echo(told)
        if moved and update:
            store.write_atomically(path, made.read_text(encoding="utf-8"))
            click.echo(f"{table.name}: wrote {path.relative_to(root)}; its page names the old one")
    return good
