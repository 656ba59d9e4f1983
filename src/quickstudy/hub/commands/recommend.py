"""`quickstudy recommend`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Json, Overwrite, RunFolder

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Content, Log

app = typer.Typer(no_args_is_help=True, help="Recommendations from a few interactions.")

Ratings = Annotated[
    Path, typer.Option(metavar="FILE", help="Interactions: a CSV or parquet table.")
]
Items = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What is known of the items: likewise.")
]
User = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The users; looked for if not given.")
]
Item = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The items, in both tables; likewise.")
]
Value = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The ratings; likewise. None: all was liked.")
]
Time = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The times; likewise. None: order of rows.")
]
Scale = Annotated[
    str | None, typer.Option(metavar="LOW,HIGH", help="Of the ratings; what occurs if not given.")
]
LeaveOutBad = Annotated[
    bool, typer.Option("--leave-out-bad", help="Leave out rows that cannot be read, and say so.")
]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.")]
History = Annotated[
    Path, typer.Option(metavar="FILE", help="One user's interactions: a CSV or parquet table.")
]


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
    user: User = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    scale: Scale = None,
    leave_out_bad: LeaveOutBad = False,
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
    log, content = _read(ratings, items, user, item, value, time, scale, leave_out_bad)
    with screen.counting(screen.err(), "users read") as looked:
        recommender = recommend.train(log, content, seed=seed, looked=looked)
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
def evaluate(
    ratings: Ratings,
    items: Items = None,
    by: Annotated[str, typer.Option(metavar="user", help="What is new: users.")] = "user",
    shots: Annotated[
        str, typer.Option(metavar="N[,N...]", help="Interactions that a new user has.")
    ] = "1,3,5,10",
    seeds: Annotated[int, typer.Option(help="How often all users are divided into folds.")] = 1,
    time_cut: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="One cut in time instead of folds: this share of users comes before it, nothing "
            "later is known, and only users who come later are asked about.",
        ),
    ] = None,
    learner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Also this learner, meta-trained with users as tasks; repeatable."
        ),
    ] = None,
    user: User = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    scale: Scale = None,
    leave_out_bad: LeaveOutBad = False,
    json: Json = False,
) -> None:
    """New users, by ours and by every control: ranking of the whole catalogue, and ratings.

    Examples:
      quickstudy recommend evaluate --ratings ratings.csv --items items.csv --shots 1,5,10
      quickstudy recommend evaluate --ratings ratings.csv --time-cut 0.8 --json
      quickstudy recommend evaluate --ratings ratings.csv --learner R2D2 --learner ANIL
    """
    from quickstudy.apps.recommend import evaluate as judging
    from quickstudy.apps.recommend.recommender import joined
    from quickstudy.errors import DataError
    from quickstudy.hub import screen

    if by != "user":
        raise DataError(f"--by must be user, got {by!r}")
    if seeds < 1:
        raise DataError(f"--seeds must be at least 1, got {seeds}")
    sizes = _sizes(shots)
    log, content = joined(*_read(ratings, items, user, item, value, time, scale, leave_out_bad))
    splits = list(
        judging.by_folds(log, seeds) if time_cut is None else judging.by_time(log, time_cut, seeds)
    )
    with screen.counting(screen.err(), "folds judged") as looked:
        told: dict[str, Any] = judging.evaluate(
            splits, content, sizes, learners=learner or (), looked=looked
        )
    told = {
        "by": by,
        "protocol": "folds of users" if time_cut is None else f"time cut at {time_cut:g}",
        "seeds": seeds,
        "users": len(log.users),
        "items": len(log.items),
        "report": list(log.report),
        **told,
    }
    if json:
        screen.print_json(told)
    else:
        _show(told, sizes)


@app.command()
def top(
    run: RunFolder,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One user's interactions: a table.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="STATE", help="What `recommend adapt` wrote, instead.")
    ] = None,
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
    """
    from quickstudy.apps import recommend
    from quickstudy.errors import DataError
    from quickstudy.hub import screen

    if (history is None) == (state is None):
        raise DataError("give either --history FILE or --state STATE")
    recommender = recommend.load(run)
    if state is not None:
        known = recommender.load_state(state)
    else:
        known = recommender.adapt(history, item=item, value=value, time=time)
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
    if history is not None:
        state = recommender.adapt(history, item=item, value=value, time=time)
    asked = recommender.ask(state, k)
    if json:
        screen.print_json([{"item": row.item, "score": row.score} for row in asked])
        return
    for row in asked:
        screen.out().print(row.item, markup=False)


@app.command()
def adapt(
    run: RunFolder,
    history: History,
    out: Annotated[Path, typer.Option(metavar="STATE", help="Where the user's state goes.")],
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
    state = recommender.adapt(history, item=item, value=value, time=time)
    recommender.save_state(state, out)
    if json:
        screen.print_json({"state": str(out), "interactions": len(state["items"])})
    else:
        screen.out().print(f"{len(state['items'])} interactions -> {out}", markup=False)


def _read(
    ratings: Path,
    items: Path | None,
    user: str | None,
    item: str | None,
    value: str | None,
    time: str | None,
    scale: str | None,
    leave_out_bad: bool,
) -> "tuple[Log, Content | None]":
    from quickstudy.apps import recommend
    from quickstudy.hub import screen

    log = recommend.interactions(
        ratings,
        user=user,
        item=item,
        value=value,
        time=time,
        scale=_scale(scale),
        leave_out_bad=leave_out_bad,
    )
    for line in log.report:
        screen.err().print(f"note: {line}", markup=False)
    return log, None if items is None else recommend.items(items, item=item)


def _scale(told: str | None) -> tuple[float, float] | None:
    from quickstudy.errors import DataError

    if told is None:
        return None
    try:
        low, high = (float(part) for part in told.split(","))
    except ValueError:
        raise DataError(f"--scale must be two numbers, LOW,HIGH, got {told!r}") from None
    return low, high


def _sizes(told: str) -> list[int]:
    from quickstudy.errors import DataError

    parts = told.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise DataError(f"--shots must be numbers from 1 on, N,N,..., got {told!r}")
    return sorted({int(part) for part in parts})


def _show(told: dict[str, Any], sizes: list[int]) -> None:
    from rich.table import Table

    from quickstudy.apps.recommend.metrics import LOWER_IS_BETTER
    from quickstudy.hub import screen

    console = screen.out()
    for metric, name in (("ndcg10", "nDCG@10"), ("recall20", "recall@20"), ("rmse", "RMSE")):
        rows = [row for row in told["rows"] if row[metric] is not None]
        if not rows:
            continue
        best = sizes[len(sizes) // 2]
        sign = 1 if metric in LOWER_IS_BETTER else -1
        order = sorted(
            {row["model"] for row in rows},
            key=lambda m: min(
                sign * r[metric] for r in rows if (r["model"], r["shots"]) == (m, best)
            ),
        )
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(f"{name} after", no_wrap=True)
        for size in sizes:
            table.add_column(str(size), justify="right")
        found = {(row["model"], row["shots"]): row for row in rows}
        for model in order:
            cells = [_cell(found.get((model, size)), metric) for size in sizes]
            table.add_row(model, *cells, style="bold" if model == "quickstudy" else None)
        console.print(table, soft_wrap=False)
        console.print()
    ours = dict.fromkeys(row["model"] for row in told["rows"] if not row["control"])
    console.print(
        f"{told['protocol']}, {told['seeds']} seed(s), {told['items']} items; ± is the 95 % "
        f"interval over users; all but {', '.join(ours)} are controls",
        markup=False,
    )


def _cell(row: dict[str, Any] | None, metric: str) -> str:
    if row is None or row[metric] is None:
        return "-"
    half = row["interval95"][metric]
    return f"{row[metric]:.3f}" + (f" ± {half:.3f}" if half is not None else "")
