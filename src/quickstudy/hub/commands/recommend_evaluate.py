"""`quickstudy recommend evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Json
from quickstudy.hub.commands.recommend_tables import (
    Item,
    Items,
    LeaveOutBad,
    Ratings,
    Scale,
    Time,
    User,
    Users,
    Value,
    read,
    read_users,
)

if TYPE_CHECKING:
    from quickstudy.apps.recommend import Content, Log
    from quickstudy.apps.recommend.people import People

KINDS = ("user", "category", "item")
SHOTS = {"user": "1,3,5,10", "category": "10,50,200"}
CUTS = {"user": 0.8, "category": 0.5}
"""Shares of users, or of a category's interactions, that come before the cut in time."""


def evaluate(
    ratings: Ratings,
    items: Items = None,
    users: Users = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="|".join(KINDS),
            help="What is new: users, each category in turn, or items that nobody has seen.",
        ),
    ] = "user",
    shots: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Interactions that a new user has, or that are in a new category; without it "
            "1,3,5,10, or 10,50,200 by category.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="How often users are divided into folds, or moments drawn.")
    ] = 1,
    category: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Of the items, that tells categories; looked for if not given."
        ),
    ] = None,
    time_cut: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Only behind one cut in time, after which nothing is known: this share of users, "
            "or of a category's interactions, comes before it. Without it, first without a cut, "
            "then behind one at 0.8 of users or 0.5 of a category's interactions.",
        ),
    ] = None,
    no_time_cut: Annotated[
        bool, typer.Option("--no-time-cut", help="Nothing behind a cut in time.")
    ] = False,
    learner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Also this learner, meta-trained with users as tasks; repeatable."
        ),
    ] = None,
    implicit: Annotated[
        bool,
        typer.Option("--implicit", help="Also models of the library implicit, if installed."),
    ] = False,
    user: User = None,
    item: Item = None,
    value: Value = None,
    time: Time = None,
    scale: Scale = None,
    leave_out_bad: LeaveOutBad = False,
    json: Json = False,
) -> None:
    """What is new, by ours and by every control: ranking of all candidates, and ratings.

    Examples:
      quickstudy recommend evaluate --ratings ratings.csv --items items.csv --shots 1,5,10
      quickstudy recommend evaluate --ratings ratings.csv --items items.csv --by category --json
      quickstudy recommend evaluate --ratings ratings.csv --time-cut 0.8 --learner R2D2
    """
    from quickstudy.apps.recommend.people import People
    from quickstudy.apps.recommend.training import joined
    from quickstudy.hub import screen

    sizes = _checked(by, shots, seeds, time_cut, no_time_cut, category, learner, implicit, users)
    log, content = joined(
        *read(ratings, items, user, item, value, time, scale, leave_out_bad, category)
    )
    told: dict[str, Any] = {
        "by": by,
        "seeds": seeds,
        "users": len(log.users),
        "items": len(log.items),
        "report": list(log.report),
    }
    if by == "user":
        about = read_users(users, user)
        people = None if about is None else People.of(about, log.users)
        told |= _of_users(
            log, content, people, sizes, seeds, time_cut, no_time_cut, learner or [], implicit
        )
    elif by == "category":
        told |= _of_categories(log, content, sizes, seeds, time_cut, no_time_cut, category)
    else:
        told |= _of_items(log, content, seeds)
    if json:
        screen.print_json(told)
        return
    _show(told, told, sizes)
    if told.get("time_cut"):
        _show(told, told["time_cut"], sizes)


def _checked(
    by: str,
    shots: str | None,
    seeds: int,
    time_cut: float | None,
    no_time_cut: bool,
    category: str | None,
    learner: list[str] | None,
    implicit: bool,
    users: Path | None,
) -> list[int]:
    """Support sizes, if all that was asked for goes together."""
    from quickstudy.errors import DataError

    if by not in KINDS:
        raise DataError(f"--by must be one of {', '.join(KINDS)}, got {by!r}")
    if seeds < 1:
        raise DataError(f"--seeds must be at least 1, got {seeds}")
    if time_cut is not None and not 0 < time_cut < 1:
        raise DataError(f"--time-cut must be a share between 0 and 1, got {time_cut:g}")
    if time_cut is not None and no_time_cut:
        raise DataError("give either --time-cut or --no-time-cut")
    for option, value, kind in (
        ("--category", category, "category"),
        ("--learner", learner, "user"),
        ("--implicit", implicit, "user"),
        ("--users", users, "user"),
    ):
        if value and by != kind:
            raise DataError(f"{option} goes with --by {kind}, got --by {by}")
    if by == "item":
        if shots is not None or time_cut is not None:
            raise DataError("--by item takes no --shots and no --time-cut: nothing is known there")
        return [0]
    told = SHOTS[by] if shots is None else shots
    parts = told.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise DataError(f"--shots must be numbers from 1 on, N,N,..., got {told!r}")
    return sorted({int(part) for part in parts})


def _of_users(
    log: "Log",
    content: "Content",
    people: "People | None",
    sizes: list[int],
    seeds: int,
    time_cut: float | None,
    no_time_cut: bool,
    learners: list[str],
    outside: bool,
) -> dict[str, Any]:
    from quickstudy.apps.recommend import evaluate as judging
    from quickstudy.hub import screen

    def judged(splits: "list[judging.Split]", what: str) -> dict[str, Any]:
        with screen.counting(screen.err(), what) as looked:
            return judging.evaluate(
                splits,
                content,
                sizes,
                people=people,
                learners=learners,
                outside=outside,
                looked=looked,
            )

    def behind(share: float) -> dict[str, Any]:
        splits = list(judging.by_time(log, share, seeds))
        return {"protocol": f"time cut at {share:g}", **judged(splits, "cuts judged")}

    if time_cut is not None:
        return behind(time_cut)
    told = judged(list(judging.by_folds(log, seeds)), "folds judged")
    told = {"protocol": "folds of users", **told}
    return told if no_time_cut else {**told, "time_cut": _tried(behind, CUTS["user"])}


def _of_categories(
    log: "Log",
    content: "Content",
    sizes: list[int],
    seeds: int,
    time_cut: float | None,
    no_time_cut: bool,
    column: str | None,
) -> dict[str, Any]:
    from quickstudy.apps.recommend import evaluate_openings as judging
    from quickstudy.hub import screen

    groups = judging.categories(log, content, column)

    def judged(share: float | None) -> dict[str, Any]:
        protocol = "each category new in turn"
        if share is not None:
            protocol += f", opened at {share:g} of its interactions, nothing later known"
        with screen.counting(screen.err(), "openings judged") as looked:
            told = judging.evaluate_categories(
                log, content, groups, sizes, seeds, time_cut=share, looked=looked
            )
        return {"protocol": protocol, **told}

    told = judged(time_cut)
    if time_cut is not None or no_time_cut:
        return told
    return {**told, "time_cut": _tried(judged, CUTS["category"])}


def _tried(judged: Any, share: float) -> dict[str, Any] | None:
    """Figures behind a cut; None, and a note, where too little comes after it."""
    from quickstudy.errors import DataError
    from quickstudy.hub import screen

    try:
        told: dict[str, Any] = judged(share)
    except DataError as error:
        screen.err().print(f"note: nothing behind a cut in time: {error}", markup=False)
        return None
    return told


def _of_items(log: "Log", content: "Content", seeds: int) -> dict[str, Any]:
    from quickstudy.apps.recommend.evaluate_openings import NEW, evaluate_items
    from quickstudy.hub import screen

    with screen.counting(screen.err(), "draws judged") as looked:
        told = evaluate_items(log, content, seeds, looked=looked)
    return {"protocol": f"{NEW:.0%} of the items never seen, ranked among each other", **told}


def _show(about: dict[str, Any], told: dict[str, Any], sizes: list[int]) -> None:
    from rich.table import Table

    from quickstudy.apps.recommend.metrics import LOWER_IS_BETTER
    from quickstudy.hub import screen

    console = screen.out()
    unit = told.get("unit", "users")
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
    counted = max(row[unit] for row in told["rows"])
    console.print(
        f"{told['protocol']}; {about['seeds']} seed(s), {about['items']} items; ± is the 95 % "
        f"interval over {counted} {unit}; all but {', '.join(ours)} are controls",
        markup=False,
    )
    for line in told.get("left_out", []):
        console.print(f"left out: {line}", markup=False)
    console.print()


def _cell(row: dict[str, Any] | None, metric: str) -> str:
    if row is None or row[metric] is None:
        return "-"
    half = row["interval95"][metric]
    return f"{row[metric]:.3f}" + (f" ± {half:.3f}" if half is not None else "")
