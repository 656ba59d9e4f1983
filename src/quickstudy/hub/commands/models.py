"""`quickstudy models`: named models, their versions, and which of them is in production."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Json, Overwrite, Store

if TYPE_CHECKING:
    from quickstudy.hub.store.models import ModelIndex

app = typer.Typer(no_args_is_help=True, help="Name models, keep their versions, export them.")

Version = Annotated[
    int | None,
    typer.Option(metavar="N", help="Another version than the one in production."),
]


@contextmanager
def _index(store: str | None) -> "Iterator[ModelIndex]":
    from quickstudy.hub.store.models import ModelIndex

    with closing(ModelIndex(store)) as index:
        yield index


@app.command("list")
def list_(store: Store = None, json: Json = False) -> None:
    """List the names, each with the version in production.

    Examples:
      quickstudy models list
      quickstudy models list --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.versions import listed

    with _index(store) as index:
        rows = listed(index)
    if json:
        screen.print_json(rows)
    elif rows:
        _show(rows, [f"{row['version']} of {len(row['versions'])}" for row in rows])
    else:
        screen.out().print("no models yet; add one: quickstudy models promote runs/a --name chars")


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="NAME", help="As `models list` shows it.")],
    version: Version = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Show a version in full: the model, what it scored, the run it comes from; and the others.

    Examples:
      quickstudy models show chars
      quickstudy models show chars --version 1 --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.versions import described

    with _index(store) as index:
        told = described(index, model, version)
    if json:
        screen.print_json(told)
        return
    versions, training = told.pop("versions"), (told["model"] or {}).pop("training", {})
    training.pop("kept", None)  # every class by name
    screen.print_fields(told | {"training": training.pop("config", {}) | training})
    screen.out().print("versions:")
    marks = {True: " (production)", False: ""}
    _show(versions, [f"{row['version']}{marks[row['production']]}" for row in versions])


@app.command()
def promote(
    model: Annotated[
        str, typer.Argument(metavar="RUN|NAME", help="A run's or model's folder; or a name.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make the folder's model its next version.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="Of a name: the version to go back to.")
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Put a model in production: that of a folder, as a name's next version, or an earlier one.

    Examples:
      quickstudy models promote runs/a --name chars
      quickstudy models promote chars --version 1
    """
    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.versions import promoted, told

    if (name is None) == (version is None):
        raise RunError(
            "say either what a folder's model is called, promote RUN --name NAME, or which "
            "version to go back to, promote NAME --version N"
        )
    with _index(store) as index:
        if version is not None:
            row = index.go_back(model, version)
        else:
            row = promoted(index, model, str(name))
    if json:
        screen.print_json(told(row))
        return
    where = screen.near(row.folder)
    screen.out().print(f"{row.name} version {row.version} is in production: {where}", markup=False)


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(metavar="NAME|RUN", help="A name; or a run's or model's folder.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that it is copied to.")],
    version: Version = None,
    overwrite: Overwrite = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Copy a model, manifest and weights, to a folder that every command reads as it does a run's.

    Examples:
      quickstudy models export chars out/
      quickstudy models export runs/a out/ --overwrite
    """
    from quickstudy.hub import screen
    from quickstudy.hub.versions import exported

    with _index(store) as index:
        told = exported(index, model, out, version=version, overwrite=overwrite)
    if json:
        screen.print_json(told)
        return
    what = f"{told['name']} version {told['version']}" if told["name"] else model
    screen.out().print(f"exported {what} to {out}", markup=False)
    screen.out().print(f"next: quickstudy adapt {out} --support mine/ --out mine.state")


@app.command()
def rm(
    model: Annotated[str, typer.Argument(metavar="NAME", help="As `models list` shows it.")],
    version: Annotated[
        int | None, typer.Option(metavar="N", help="Only this version; all of them if not given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Forget a name, or a version of it that is not in production; the folders stay.

    Examples:
      quickstudy models rm chars --version 1
      quickstudy models rm chars --yes
    """
    import sys

    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.versions import told

    with _index(store) as index:
        if version is None and not yes:
            count = len(index.versions(model))
            what = f"{model} with all its versions ({count})"
            if not sys.stdin.isatty():
                raise RunError(f"nobody is here to ask whether {what} may go: give --yes")
            typer.confirm(f"forget {what}?", abort=True, err=True)
        rows = [told(row) for row in index.remove(model, version)]
    if json:
        screen.print_json(rows)
        return
    for row in rows:
        where = screen.near(row["folder"])
        screen.out().print(f"forgot {row['name']} version {row['version']}: {where}", markup=False)


def _show(rows: list[dict[str, Any]], versions: list[str]) -> None:
    """Versions as a table, and what is wrong with some below it."""
    from rich.markup import escape

    from quickstudy.hub import screen

    columns = ("name", "version", "learner", "data", "meta-validation", "control", "promoted")
    table = screen.table(*columns, "state", "folder", right=["meta-validation", "control"])
    for row, version in zip(rows, versions, strict=True):
        data = row["data"] or "-"
        scores = [screen.score(row[name], row["metric"]) for name in ("validation", "control")]
        cells = (row["name"], version, row["learner"], Path(data).name if "/" in data else data)
        when, folder = screen.moment(row["promoted"]), screen.near(row["folder"])
        table.add_row(*map(escape, (*cells, *scores, when, row["state"], folder)))
    screen.out().print(table, soft_wrap=False)
    for row in rows:
        if row["said"]:
            note = f"note: {row['name']} version {row['version']} is {row['state']}: {row['said']}"
            screen.err().print(note, markup=False)
