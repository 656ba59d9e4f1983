"""`quickstudy evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Device, Json, RunFolder, Threads
from quickstudy.hub.commands.train import pairs

if TYPE_CHECKING:
    from rich.console import Console


def evaluate(
    run: RunFolder,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A name, a table or a folder of class folders; what it was trained on if not "
            "given. Several (given again, or A,B) are set beside the run's own meta-test."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|validation|test|all",
            help="Which classes or groups; test if not given, all of a folder or table that it was "
            "not trained on.",
        ),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Another method, to read the net of the run's learner; one that learns no more "
            "than an embedding.",
        ),
    ] = None,
    learner_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Any argument of its constructor, or without --learner of the run's own that is "
            "not about its weights (transductive=true); may be given again.",
        ),
    ] = None,
    ways: Annotated[
        int | None,
        typer.Option(help="Classes in a task; as in the run's meta-validation if not given."),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]", help="Support examples of a class, or of a table's group; likewise."
        ),
    ] = None,
    inner_steps: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Steps that adapting takes; the model's own if not given. Several are tried at "
            "the first number of shots.",
        ),
    ] = None,
    inner_rate: Annotated[
        float | None, typer.Option(help="Rate of these steps; the model's own if not given.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="Query examples of a class or group; likewise.")
    ] = None,
    unlabelled: Annotated[
        int | None,
        typer.Option(help="Support examples of a class without labels; as in training likewise."),
    ] = None,
    dirichlet: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA",
            help="Classes have unlike numbers of queries, --queries on average: their shares come "
            "from a Dirichlet distribution of this concentration, 2 in the literature.",
        ),
    ] = None,
    tasks: Annotated[int, typer.Option(help="How many tasks.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which tasks.")] = 0,
    batching: Annotated[
        str, typer.Option(metavar="auto|loop|vmap", help="How a batch of tasks runs.")
    ] = "auto",
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Draw the figures and the calibration; a picture is replaced."
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge a run on classes, or groups of a table, that it never saw, beside a control.

    Examples:
      quickstudy evaluate runs/a
      quickstudy evaluate runs/a --data omniglot --ways 20 --tasks 1000 --json
      quickstudy evaluate runs/a --data photos/ --shots 5
      quickstudy evaluate runs/a --shots 1,2,5,10 --inner-steps 0,1,2,5,10 --plot out.png
      quickstudy evaluate runs/a --inner-steps 10 --inner-rate 0.01
      quickstudy evaluate runs/a --data omniglot --data photos/
      quickstudy evaluate runs/a --learner ptmap --queries 15
      quickstudy evaluate runs/a --learner ptmap --queries 5 --dirichlet 2
    """
    from quickstudy.core import Batching
    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.evaluating import Setting
    from quickstudy.hub.source import SPLITS
    from quickstudy.hub.sweeps import sweep_run

    if split is not None and split not in SPLITS:
        raise RunError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    if plot is not None:
        _check_picture(plot)
    with screen.counting(screen.err(), "tasks") as tick:
        swept = sweep_run(
            run,
            Setting(
                ways=ways,
                queries=queries,
                tasks=tasks,
                seed=seed,
                inner_rate=inner_rate,
                unlabelled=unlabelled,
                dirichlet=dirichlet,
            ),
            shots=_numbers("--shots", shots) if shots is not None else (),
            inner_steps=(_numbers("--inner-steps", inner_steps) if inner_steps is not None else ()),
            data=_names(data or ()),
            split=split,
            learner=learner,
            learner_options=pairs(learner_option, "--learner-option"),
            device=device,
            threads=threads,
            batching=Batching(batching),  # type: ignore[arg-type]
            tick=tick,
        )
    if plot is not None:
        from quickstudy.plots.evaluation import evaluation_picture

        plot.parent.mkdir(parents=True, exist_ok=True)
        alpha = swept.rows[0]["dirichlet"]
        title = str(run) if alpha is None else f"{run}, unbalanced queries (Dirichlet {alpha:g})"
        evaluation_picture(swept.rows, plot, calibration=swept.calibration, title=title)
    if swept.passed_over:
        screen.err().print(f"no gap to the run's own data: {swept.passed_over}", markup=False)
    if any(row.get("accuracy", row.get("squared_error")) is None for row in swept.rows):
        screen.err().print("note: some tasks were not answered with finite numbers")
    if json:
        screen.print_json(swept.rows[0] if len(swept.rows) == 1 else {"rows": swept.rows})
    elif len(swept.rows) == 1:
        _show(swept.rows[0])
    else:
        _show_rows(screen.out(), swept.rows)
    if plot is not None and not json:
        screen.out().print(f"drawn: {plot}", markup=False)


def _check_picture(plot: Path) -> None:
    """Refuse a place for the picture before hours of work are done for it.

    Raises:
        RunError: it is no PNG's name, or cannot be written.
    """
    from quickstudy.errors import RunError
    from quickstudy.hub.runs import check_writable

    if plot.is_dir():
        raise RunError(f"--plot must name a file, got the folder {plot}")
    if plot.suffix.lower() != ".png":
        raise RunError(f"--plot must name a .png file, got {plot}")
    check_writable(plot)


def _numbers(flag: str, given: str) -> list[int]:
    """Whole numbers from "1,2,5", in the order given.

    Raises:
        RunError: they are something else, or one comes twice.
    """
    from quickstudy.errors import RunError

    parts = [part.strip() for part in given.split(",")]
    if not all(part.removeprefix("-").isdecimal() for part in parts):
        raise RunError(f"{flag} must be whole numbers such as 1 or 1,2,5, got {given!r}")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise RunError(f"{flag} must be different numbers, got {given!r}")
    return numbers


def _names(given: Sequence[str]) -> list[str]:
    """Names of data; those with commas are taken apart, unless that is a folder's name."""
    apart = [[name] if Path(name).exists() else name.split(",") for name in given]
    return [name.strip() for names in apart for name in names if name.strip()]


def _show(result: dict[str, Any]) -> None:
    from quickstudy.hub import screen

    console = screen.out()
    console.print(_heading(result, _size(result)), markup=False)
    if "embedding_of" in result:
        console.print(f"  {_reader(result)}", markup=False)
    console.print(f"  {result['run']:<24} {screen.percent(result)}", markup=False)
    control = result["control"]
    console.print(f"  {control['name'] + ' (control)':<24} {screen.percent(control)}")
    if "ece" in result:
        ece, other = (_ece(row) for row in (result, control))
        console.print(f"  {'calibration error (ECE)':<24} {ece} (control {other})")
    if result.get("coverage90") is not None:
        covered = f"hold {100 * result['coverage90']:.1f} % of the targets"
        console.print(f"  {'90 % intervals':<24} {covered}")
    if "rmse" in result:
        console.print(f"  squared error in {result['units']}", markup=False)
        said = ", ".join(f"{name} {error:.4g}" for name, error in result["rmse"].items())
        console.print(f"  {'root mean squared error':<24} {said}", markup=False)


def _heading(row: dict[str, Any], what: str) -> str:
    how = "transductive" if row["transductive"] else "inductive"
    each = "class" if "accuracy" in row else "task"
    alpha = row["dirichlet"]
    shares = "" if alpha is None else f" on average (Dirichlet {alpha:g})"
    return (
        f"{what} on {row['data']} ({row['split']}), {row['queries']} queries a {each}{shares}, "
        f"{row['tasks']} tasks, {how}"
    )


def _reader(row: dict[str, Any]) -> str:
    return f"{row['learner']} on the embedding of {row['embedding_of']}"


def _size(row: dict[str, Any]) -> str:
    ways = f"{row['ways']}-way " if "accuracy" in row else ""
    more = f" + {row['unlabelled']} unlabelled" if row["unlabelled"] else ""
    return f"{ways}{row['shots']}-shot{more}"


def _ece(row: dict[str, Any]) -> str:
    return "-" if row["ece"] is None else f"{100 * row['ece']:.1f} %"


def _show_rows(console: "Console", rows: Sequence[dict[str, Any]]) -> None:
    """A table with the columns in which rows differ, and the figures."""
    from rich.table import Table

    from quickstudy.hub import screen

    first = rows[0]
    classes = "accuracy" in first
    several = [key for key in ("data", "shots", "inner_steps") if len({r[key] for r in rows}) > 1]
    each = f"{first['ways']}-way" if classes else "regression"
    same = each if "shots" in several else _size(first)
    reader = f" ({_reader(first)})" if "embedding_of" in first else ""
    console.print(f"{first['run']}{reader}: {_heading(first, same)}", markup=False)
    table = Table()
    for key in several:
        table.add_column(key.replace("_", " "), justify="left" if key == "data" else "right")
    names = ["accuracy" if classes else "squared error", f"{first['control']['name']} (control)"]
    names += ["ECE"] if classes else []
    for name in [*names, *(["gap"] if "gap" in first else [])]:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [f"{row['data']} ({row['split']})" if k == "data" else str(row[k]) for k in several]
        cells += [screen.percent(row), screen.percent(row["control"])]
        cells += [_ece(row)] if classes else []
        cells += [_gap(row["gap"])] if "gap" in row else []
        table.add_row(*cells)
    console.print(table)
    if "gap" in first:
        own = f"{first['data']} ({first['split']})"
        console.print(f"gap: how much worse than {own}, the run's own", markup=False)


def _gap(gap: dict[str, Any] | None) -> str:
    from quickstudy.hub import screen

    sign = "+" if gap and next(iter(gap.values())) > 0 else ""
    return sign + screen.percent(gap)
