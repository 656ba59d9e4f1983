"""`quickstudy data list | show | prepare | diversity`."""

from typing import TYPE_CHECKING, Annotated

import typer

from quickstudy.hub.commands.options import Json

if TYPE_CHECKING:
    from quickstudy.hub.source import Source

app = typer.Typer(no_args_is_help=True, help="What tasks are drawn from.")
Name = Annotated[
    str, typer.Argument(metavar="DATA", help="A name that `data list` shows, a folder, or a table.")
]

Mirror = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL|FOLDER",
        help="Take the published files from here, not from their publisher; of grocery, the "
        "checkout of its repository.",
    ),
]

Group = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Of a table: whose values are the tasks.")
]
Features = Annotated[str | None, typer.Option(metavar="A,B,...", help="Of a table: the inputs.")]
Targets = Annotated[
    str | None, typer.Option(metavar="Y,Z,...", help="Of a table: what is to be predicted.")
]


def _open(data: str, group: str | None, features: str | None, targets: str | None) -> "Source":
    """The data of that name, or the table with these columns."""
    from quickstudy.hub.config import make_names
    from quickstudy.hub.source import Wanted
    from quickstudy.hub.sources import open_source

    wanted = Wanted(
        group=group,
        features=make_names("--features", features),
        targets=make_names("--targets", targets) or (),
    )
    return open_source(data, wanted)


@app.command("list")
def list_(json: Json = False) -> None:
    """Name the data that `--data` takes.

    Examples:
      quickstudy data list
    """
    from quickstudy.data.sources import list_sources
    from quickstudy.hub import screen
    from quickstudy.hub.sources import FORMULAS

    collections = list_sources()
    if json:
        told = [
            {
                "name": row.name,
                "what": row.what,
                "origin": row.origin,
                "licence": row.licence,
                "file": row.file,
                "path": row.path and str(row.path),
                "bytes": row.size,
                "downloadable": bool(row.remotes),
                "repository": row.checkout and row.checkout.url,
                "download_bytes": row.download,
            }
            for row in collections
        ]
        screen.print_json([*told, *({"name": n, "what": w} for n, w in FORMULAS.items())])
        return
    console = screen.out()
    for row in collections:
        held = f"here: {row.path}" if row.path else "not here yet"
        if row.remotes and not row.path:
            held = f"`data prepare {row.name}` fetches {row.download / 1e6:.1f} MB"
        if row.checkout and not row.path:
            held = f"`data prepare {row.name} --from CHECKOUT` converts {row.checkout.url}"
        console.print(f"{row.name:<10} {row.what} ({held})", markup=False)
    for name, what in FORMULAS.items():
        console.print(f"{name:<10} {what} (made on the fly)", markup=False)
    console.print(f"{'FOLDER/':<10} your own images: FOLDER/class/any.png", markup=False)
    console.print(
        f"{'TABLE.csv':<10} your own table, CSV or parquet: --group, --targets", markup=False
    )


@app.command()
def show(
    data: Name,
    group: Group = None,
    features: Features = None,
    targets: Targets = None,
    json: Json = False,
) -> None:
    """Say what data holds: classes and images, or groups and rows, by split.

    Examples:
      quickstudy data show glyphs
      quickstudy data show photos/ --json
      quickstudy data show sales.csv --group store --targets sold
    """
    from quickstudy.hub import screen
    from quickstudy.hub.source import SPLITS

    facts = _open(data, group, features, targets).facts()
    if json:
        screen.print_json(facts)
        return
    console = screen.out()
    for name, value in facts.items():
        if name in SPLITS and isinstance(value, dict) and "rows" in value:
            what, _, spread = value
            few, many = value[spread]
            each = f"{few}" if few == many else f"{few} to {many}"
            one = spread.removeprefix("rows_a_")
            said = f"{value[what]} {what}, {value['rows']} rows, {each} a {one}"
            console.print(f"{name:<14} {said}", markup=False)
        elif name in SPLITS and isinstance(value, dict):
            few, many = value["images_a_class"]
            each = f"{few}" if few == many else f"{few} to {many}"
            of = f": {', '.join(value['groups'])}" if value["groups"] else ""
            said = f"{value['classes']} classes, {value['images']} images, {each} a class{of}"
            console.print(f"{name:<14} {said}", markup=False)
        elif value is not None:
            console.print(f"{name.replace('_', ' '):<14} {value}", markup=False)


@app.command()
def prepare(data: Name, mirror: Mirror = None, json: Json = False) -> None:
    """Make data ready: fetch omniglot, render the glyphs, or check what is there.

    Again at no cost. What was interrupted goes on where it stopped.

    Examples:
      quickstudy data prepare omniglot
      quickstudy data prepare omniglot --from downloads/
      quickstudy data prepare grocery --from GroceryStoreDataset/
      quickstudy data prepare glyphs --json
    """
    from quickstudy.data.sources import list_sources, obtain
    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.sources import open_source

    known = {row.name: row for row in list_sources()}
    row = known.get(data.lower())
    there = row is not None and row.path is not None
    if row and row.published:
        if not there:
            with screen.transfer(screen.err(), row.name, row.download) as told:
                obtain(row.name, mirror=mirror, progress=told)
    elif mirror is not None:
        published = ", ".join(name for name, row in known.items() if row.published)
        raise RunError(f"--from is for {published}; {data} is not fetched from anywhere")
    if row and row.others:  # tables, which are no source of tasks
        name = row.name
    else:
        source = open_source(data)
        source.facts()
        name = source.name
    row = next((row for row in list_sources() if row.name == name and row.path), None)
    path = row.path if row else None
    if json:
        size = row.size if row else None
        screen.print_json({"data": name, "path": path and str(path), "bytes": size})
        return
    beside = "".join(f", {path.with_name(other)}" for other in row.others) if row and path else ""
    where = f": {path}{beside}" if path else ""
    unread = f" (it was there already: {mirror} was not looked at)" if mirror and there else ""
    screen.out().print(f"{name} is ready{where}{unread}", markup=False)


@app.command()
def diversity(
    data: Name,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|validation|test|all", help="Only this; every one if not given."
        ),
    ] = None,
    ways: Annotated[int, typer.Option(help="Classes in a task.")] = 5,
    shots: Annotated[int, typer.Option(help="Support examples of a class.")] = 1,
    queries: Annotated[int, typer.Option(help="Query examples of a class.")] = 5,
    tasks: Annotated[int, typer.Option(help="How many tasks to look at.")] = 200,
    seed: Annotated[int, typer.Option(help="Which tasks.")] = 0,
    group: Group = None,
    features: Features = None,
    targets: Targets = None,
    json: Json = False,
) -> None:
    """Say how diverse the tasks of data are, meta-train beside what is judged on.

    Examples:
      quickstudy data diversity omniglot
      quickstudy data diversity photos/ --split train --ways 3 --json
      quickstudy data diversity sales.csv --group store --targets sold
    """
    from rich.table import Table

    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.diversity import diversity_report, rows_of
    from quickstudy.hub.evaluating import Setting
    from quickstudy.hub.source import SPLITS

    if split is not None and split not in SPLITS:
        raise RunError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    source = _open(data, group, features, targets)
    report = diversity_report(source, Setting(ways, shots, queries, tasks, seed), split)
    if json:
        screen.print_json(report)
        return
    console = screen.out()
    size = f"{ways}-way {shots}-shot" if source.outputs is None else "regression"
    console.print(f"{source.name}: {tasks} {size} tasks of each split", markup=False)
    table = Table()
    table.add_column("")
    for name in report["splits"]:
        table.add_column(name, justify="right")
    for called, values in rows_of(report["splits"]):
        table.add_row(called, *values)
    console.print(table)
    for remark in report["remarks"]:
        console.print(f"note: {remark}", markup=False)
