"""`quickstudy keys`: who may use the service, and for what."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from quickstudy.errors import RunError
from quickstudy.hub.commands.options import Json, Store

if TYPE_CHECKING:
    from quickstudy.hub.store.keys import KeyRing

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys to the service.")


UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def lifetime(told: str) -> timedelta:
    """How long a key opens something, as the command line has it.

    Raises:
        RunError: it is none.

    Examples:
        >>> lifetime("30d").days
        30
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", told)
    if not found:
        raise RunError(f"--expires must be a number of hours, days or weeks, 30d say, got {told!r}")
    return int(found[1]) * UNITS[found[2]]


@contextmanager
def _ring(store: str | None) -> "Iterator[KeyRing]":
    from quickstudy.hub.store.keys import KeyRing

    with closing(KeyRing(store)) as ring:
        yield ring


@app.command()
def create(
    name: Annotated[str, typer.Option(metavar="NAME", help="Who or what holds the key.")],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="read|adapt|admin",
            help="What it opens; again for more. read: models, runs, and what models answer. "
            "adapt: adapting, and the states that it made. admin: all of that, keys, and "
            "everybody's states.",
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option(metavar="12h|30d|4w", help="After how long it opens nothing any more."),
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown once, on stdout; the store holds a digest of it only.

    Examples:
      quickstudy keys create --name laptop --scope read --scope adapt
      quickstudy keys create --name ci --scope read --expires 30d > key.txt
    """
    from quickstudy.hub import screen
    from quickstudy.hub.store.keys import utc_now

    end = None if expires is None else utc_now() + lifetime(expires)
    with _ring(store) as ring:
        key, secret = ring.create(name, scope, end)
    told = key.told(utc_now())
    if json:
        screen.print_json({**told, "key": secret})
        return
    until = f", until {screen.moment(told['expires'])}" if told["expires"] else ""
    remarks = screen.err()
    remarks.print(f"made {key.name} ({key.id}): {', '.join(key.scopes)}{until}", markup=False)
    remarks.print("this is the only time that the key is shown:")
    screen.out().print(secret, markup=False)


@app.command("list")
def list_(store: Store = None, json: Json = False) -> None:
    """List the keys, revoked ones too, the newest first.

    Examples:
      quickstudy keys list
      quickstudy keys list --json
    """
    from rich.markup import escape

    from quickstudy.hub import screen
    from quickstudy.hub.store.keys import utc_now

    with _ring(store) as ring:
        rows = [key.told(utc_now()) for key in ring.all()]
    if json:
        screen.print_json(rows)
        return
    if not rows:
        screen.out().print("no keys yet; make one: quickstudy keys create --name NAME --scope read")
        return
    moments = ("created", "last_used", "expires")
    columns = ("id", "name", "scopes", "created", "last used", "expires", "state")
    table = screen.table(*columns, whole=["id"])
    for row in rows:
        scopes, when = ", ".join(row["scopes"]), [screen.moment(row[name]) for name in moments]
        table.add_row(row["id"], escape(row["name"]), scopes, *when, row["state"])
    screen.out().print(table, soft_wrap=False)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="NAME|ID", help="As `keys list` shows it.")],
    store: Store = None,
    json: Json = False,
) -> None:
    """Let a key open nothing from now on. There is no way back; make another.

    Examples:
      quickstudy keys revoke laptop
    """
    from quickstudy.hub import screen
    from quickstudy.hub.store.keys import utc_now

    with _ring(store) as ring:
        told = ring.revoke(key).told(utc_now())
    if json:
        screen.print_json(told)
    else:
        when = screen.moment(told["revoked"])
        screen.out().print(f"{told['name']} ({told['id']}) is revoked since {when}", markup=False)
