"""`quickstudy recommend`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quickstudy.hub.commands.options import Json, Overwrite, RunFolder
from quickstudy.hub.commands.recommend_evaluate import evaluate
from quickstudy.hub.commands.recommend_tables import (
    About,
    History,
    Item,
    Items,
    LeaveOutBad,
    Ratings,
    Scale,
    Seed,
    StateFile,
    Time,
    User,
    Users,
    Value,
    known_of,
    read,
    read_users,
)

app = typer.Typer(no_args_is_help=True, help="Recommendations from a few interactions.")
app.command()(evaluate)


@app.command()
def shop(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the tables go.")],
    users: Annotated[int, typer.Option(help="How many.")] = 1500,
    items: Annotated[int, typer.Option(help="How many.")] = 1000,
    interactions: Annotated[int, typer.Option(help="How many, about.")] = 60_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make up a shop to try things with: interactions.csv, items.csv and users.csv.

    Examples:
      quickstudy recommend shop shop/
      quickstudy recommend train --ratings shop/interactions.csv --items shop/items.csv --out run
    """
    from quickstudy.apps import recommend
    from quickstudy.errors import RunError
    from quickstudy.hub import screen

    there = folder / "interactions.csv"
    if not overwrite and there.exists():
        raise RunError(f"there is a shop in {folder}; --overwrite replaces it")
    made = recommend.shop(seed, users=users, items=items, interactions=interactions)
    made.write(folder)
    count = len(made.interactions["item"])
    if json:
        screen.print_json(
            {"folder": str(folder), "users": users, "items": items, "interactions": count}
        )
        return
    console = screen.out()
    console.print(
        f"{count} interactions of {users} users with {items} items -> {folder}", markup=False
    )
    console.print(
        f"next: quickstudy recommend train --ratings {there} --items {folder / 'items.csv'} "
        "--out RUN",
        markup=False,
    )


@app.command()
def train(
    ratings: Ratings,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The folder it goes to.")],
    items: Items = None,
    users: Users = None,
    user: User = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    scale: Scale = None,
    leave_out_bad: LeaveOutBad = False,
    no_categories: Annotated[
        bool,
        typer.Option(
            "--no-categories",
            help="Learn nothing of new categories, and store no names and histories of users.",
        ),
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Meta-learn a recommender from many users' interactions.

    Examples:
      quickstudy recommend train --ratings ratings.csv --items items.csv --out runs/shop
      quickstudy recommend top runs/shop --history mine.csv -k 20
    """
    import time as clock

    from quickstudy.apps import recommend
    from quickstudy.apps.recommend.recommender import FILE
    from quickstudy.errors import RunError
    from quickstudy.hub import screen

    if not overwrite and (out / FILE).exists():
        raise RunError(f"there is a recommender in {out}; --overwrite replaces it")
    began = clock.perf_counter()
    log, content = read(ratings, items, user, item, value, time, scale, leave_out_bad)
    people = read_users(users, user)
    with screen.counting(screen.err(), "parts read") as looked:
        recommender = recommend.train(
            log, content, people, seed=seed, categories=not no_categories, looked=looked
        )
    recommender.save(out)
    told: dict[str, Any] = {
        "run": str(out),
        "users": len(log.users),
        "items": len(recommender.items),
        "interactions": len(log.user),
        "feedback": "implicit" if log.scale is None else "explicit",
        "scale": log.scale,
        "report": list(log.report),
        "seconds": round(clock.perf_counter() - began, 2),
    }
    if json:
        screen.print_json(told)
        return
    console = screen.out()
    console.print(
        f"{told['interactions']} interactions of {told['users']} users with {told['items']} items; "
        f"{told['feedback']} feedback; {screen.duration(told['seconds'])}",
        markup=False,
    )
    console.print(f"next: quickstudy recommend top {out} --history FILE", markup=False)


@app.command()
def top(
    run: RunFolder,
    history: History = None,
    about: About = None,
    state: StateFile = None,
    k: Annotated[int, typer.Option("-k", help="How many.")] = 20,
    seen: Annotated[bool, typer.Option("--seen", help="Items of the history too.")] = False,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    json: Json = False,
) -> None:
    """Rank the whole catalogue for one user.

    Examples:
      quickstudy recommend top runs/shop --history mine.csv -k 20
      quickstudy recommend top runs/shop --state mine.state --json
      quickstudy recommend top runs/shop --about "age=25 to 39" --about region=north
    """
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    recommender = recommend.load(run)
    known = known_of(recommender, history, about, item, value, time, state=state)
    best = recommender.top(known, k, exclude_seen=not seen)
    if json:
        screen.print_json([{"item": row.item, "score": row.score} for row in best])
        return
    console = screen.out()
    for row in best:
        console.print(f"{row.score:8.3f}  {row.item}", markup=False)


@app.command()
def ask(
    run: RunFolder,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One user's interactions; none: a new user.")
    ] = None,
    about: About = None,
    k: Annotated[int, typer.Option("-k", help="How many.")] = 1,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    json: Json = False,
) -> None:
    """Say which items to ask a user about, so that the answers say most of their taste.

    Examples:
      quickstudy recommend ask runs/shop -k 3
      quickstudy recommend ask runs/shop --history mine.csv -k 3 --json
    """
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    recommender = recommend.load(run)
    state = None
    if history is not None or about:
        state = known_of(recommender, history, about, item, value, time)
    asked = recommender.ask(state, k)
    if json:
        screen.print_json([{"item": row.item, "score": row.score} for row in asked])
        return
    for row in asked:
        screen.out().print(row.item, markup=False)


@app.command("open")
def open_category(
    run: RunFolder,
    items: Annotated[
        str,
        typer.Option(
            metavar="FILE|TAG",
            help="Its items: a table with the columns that were trained with, or a tag of the "
            "catalogue, COLUMN=VALUE.",
        ),
    ],
    ratings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Its first interactions, by anybody; none yet without it."
        ),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of the user it is ranked for: a table.")
    ] = None,
    state: StateFile = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Their name, if they are among the first who came."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many.")] = 20,
    user: User = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    leave_out_bad: LeaveOutBad = False,
    json: Json = False,
) -> None:
    """Open a new category from its first interactions, and rank its items for one user.

    Examples:
      quickstudy recommend open runs/shop --items mugs.csv --ratings first.csv --history mine.csv
      quickstudy recommend open runs/shop --items category=mug --state mine.state -k 5 --json
    """
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    recommender = recommend.load(run)
    known = known_of(recommender, history, None, item, value, time, state=state)
    tagged = "=" in items and not Path(items).exists()
    opened = recommender.adapt_category(
        ratings,
        items if tagged else Path(items),
        user=user,
        item=item,
        value=value,
        time=time,
        leave_out_bad=leave_out_bad,
    )
    if name is not None and not opened.knows(name):
        screen.err().print(f"note: nobody is called {name} here", markup=False)
    best = opened.top(known, k, user=name)
    if json:
        told = [{"item": row.item, "score": row.score} for row in best]
        screen.print_json(
            {"items": len(opened.items), "interactions": opened.interactions,
             "report": opened.report, "top": told}
        )  # fmt: skip
        return
    for line in opened.report:
        screen.err().print(f"note: {line}", markup=False)
    for row in best:
        screen.out().print(f"{row.score:8.3f}  {row.item}", markup=False)


@app.command()
def adapt(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="STATE", help="Where the user's state goes.")],
    history: History = None,
    about: About = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    json: Json = False,
) -> None:
    """Store what is known of one user.

    Examples:
      quickstudy recommend adapt runs/shop --history mine.csv --out mine.state
    """
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    recommender = recommend.load(run)
    state = known_of(recommender, history, about, item, value, time)
    recommender.save_state(state, out)
    if json:
        screen.print_json({"state": str(out), "interactions": len(state["items"])})
    else:
        screen.out().print(f"{len(state['items'])} interactions -> {out}", markup=False)
