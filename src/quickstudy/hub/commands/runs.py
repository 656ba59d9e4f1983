"""`quickstudy runs`: what was trained on this machine, and how it went."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Json, Store

if TYPE_CHECKING:
    from quickstudy.hub.store.runs import RunIndex

app = typer.Typer(no_args_is_help=True, help="List, compare and remove what was trained.")

Names = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders, or ids.")]


@contextmanager
def _index(store: str | None) -> "Iterator[RunIndex]":
    from quickstudy.hub.store.runs import RunIndex

    with closing(RunIndex(store)) as index:
        yield index


@app.command("list")
def list_(store: Store = None, json: Json = False) -> None:
    """List the runs, the newest first.

    Examples:
      quickstudy runs list
      quickstudy runs list --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.listing import listed

    with _index(store) as index:
        rows = listed(index)
    if json:
        screen.print_json(rows)
    elif rows:
        _show(rows)
    else:
        screen.out().print("no runs yet; begin one: quickstudy train --out runs/a")


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder, or an id.")],
    store: Store = None,
    json: Json = False,
) -> None:
    """Show a run in full: options, versions, the code it was begun with, and how it went.

    Examples:
      quickstudy runs show runs/a
    """
    from quickstudy.hub import screen
    from quickstudy.hub.listing import described

    with _index(store) as index:
        told = described(index, run)
    if json:
        screen.print_json(told)
    else:
        screen.print_fields(told)


@app.command()
def compare(runs: Names, store: Store = None, json: Json = False) -> None:
    """Set runs side by side: what they were told differently, and what came of it.

    Examples:
      quickstudy runs compare runs/a runs/b
    """
    from rich.table import Table

    from quickstudy.hub import screen
    from quickstudy.hub.listing import compared

    with _index(store) as index:
        told = compared(index, runs)
    if json:
        screen.print_json(told)
        return
    console = screen.out()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for row in told["runs"]:
        table.add_column(screen.near(row["folder"]), overflow="fold")
    for name, values in told["options"].items():
        table.add_row(name, *map(screen.plain, values))
    table.add_row()
    cells = [_cells(row) for row in told["runs"]]
    for number, name in enumerate(COLUMNS):
        table.add_row(name, *(one[number] for one in cells))
    console.print(table, soft_wrap=False)


@app.command()
def rm(
    runs: Names,
    keep_folder: Annotated[
        bool, typer.Option("--keep-folder", help="Only forget them; their folders stay.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Remove runs and their folders; not one whose model is in production.

    Examples:
      quickstudy runs rm runs/a
      quickstudy runs rm runs/a --keep-folder
    """
    import sys

    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.listing import look_up, removed
    from quickstudy.hub.store.models import ModelIndex

    with _index(store) as index:
        if not (yes or keep_folder):
            folders = ", ".join(look_up(index, name).folder for name in runs)
            if not sys.stdin.isatty():
                raise RunError(f"nobody is here to ask whether {folders} may go: give --yes")
            typer.confirm(f"remove {folders}?", abort=True, err=True)
        with closing(ModelIndex(store)) as models:
            told = removed(index, models, runs, keep_folder)
    if json:
        screen.print_json(told)
        return
    for row in told:
        screen.out().print(f"{'forgot' if keep_folder else 'removed'} {row['folder']}")


@app.command()
def rebuild(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="Looked through, with all below.")
    ],
    store: Store = None,
    json: Json = False,
) -> None:
    """Read run folders into the database again; they are the truth, it is their index.

    Examples:
      quickstudy runs rebuild runs
    """
    from quickstudy.errors import RunError
    from quickstudy.hub import screen

    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"there is no folder {folder}")
    with _index(store) as index:
        found = [str(run.folder.absolute()) for run in index.rebuild(folders)]
    if json:
        screen.print_json(found)
    else:
        screen.out().print(f"{len(found)} runs are in the store now")


COLUMNS = ("learner", "data", "meta-validation", "control", "steps", "time", "state")


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    from quickstudy.hub import screen

    numbers = ("meta-validation", "control", "steps", "time")
    table = screen.table("id", *COLUMNS, "folder", right=numbers, whole=["id"])
    for row in rows:
        table.add_row(row["id"][:8], *map(escape, _cells(row)), escape(screen.near(row["folder"])))
    screen.out().print(table, soft_wrap=False)


def _cells(row: dict[str, Any]) -> list[str]:
    from quickstudy.hub import screen

    data = Path(row["data"]).name if "/" in row["data"] else row["data"]
    steps = f"{row['step']}/{row['steps']}"
    took = screen.duration(row["seconds"])
    scores = [screen.score(row[name], row["metric"]) for name in ("validation", "control")]
    return [row["learner"], data, *scores, steps, took, row["state"]]
