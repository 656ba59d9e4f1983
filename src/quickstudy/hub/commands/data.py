"""`quickstudy data list | show | prepare`."""

from typing import Annotated

import typer

from quickstudy.hub.commands.options import Json

app = typer.Typer(no_args_is_help=True, help="What tasks are drawn from.")
Name = Annotated[
    str, typer.Argument(metavar="DATA", help="A name that `data list` shows, or a folder.")
]


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
        told = [{**row._asdict(), "path": row.path and str(row.path)} for row in collections]
        screen.print_json([*told, *({"name": n, "what": w} for n, w in FORMULAS.items())])
        return
    console = screen.out()
    for row in collections:
        held = f"here: {row.path}" if row.path else "not here yet"
        console.print(f"{row.name:<10} {row.what} ({held})", markup=False)
    for name, what in FORMULAS.items():
        console.print(f"{name:<10} {what} (made on the fly)", markup=False)
    console.print(f"{'FOLDER/':<10} your own images: FOLDER/class/any.png", markup=False)


@app.command()
def show(data: Name, json: Json = False) -> None:
    """Say what data holds: classes and images by split.

    Examples:
      quickstudy data show glyphs
      quickstudy data show photos/ --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.sources import SPLITS, open_source

    facts = open_source(data).facts()
    if json:
        screen.print_json(facts)
        return
    console = screen.out()
    for name, value in facts.items():
        if name in SPLITS and isinstance(value, dict):
            few, many = value["images_a_class"]
            each = f"{few}" if few == many else f"{few} to {many}"
            of = f": {', '.join(value['groups'])}" if value["groups"] else ""
            said = f"{value['classes']} classes, {value['images']} images, {each} a class{of}"
            console.print(f"{name:<14} {said}", markup=False)
        elif value is not None:
            console.print(f"{name.replace('_', ' '):<14} {value}", markup=False)


@app.command()
def prepare(data: Name) -> None:
    """Make data ready: render the glyphs into the cache, or check what is there.

    Examples:
      quickstudy data prepare glyphs
    """
    from quickstudy.data.sources import list_sources
    from quickstudy.hub import screen
    from quickstudy.hub.sources import open_source

    source = open_source(data)
    source.facts()
    paths = [row.path for row in list_sources() if row.name == source.name and row.path]
    where = f": {paths[0]}" if paths else ""
    screen.out().print(f"{source.name} is ready{where}", markup=False)
