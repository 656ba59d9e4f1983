"""`quickstudy evaluate`."""

from typing import Annotated, Any

import typer

from quickstudy.hub.commands.options import Device, Json, RunFolder, Threads


def evaluate(
    run: RunFolder,
    data: Annotated[
        str | None,
        typer.Option(
            help="A name or a folder of class folders; what it was trained on if not given."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|validation|test|all",
            help="Which classes; test if not given, all of a folder that it was not trained on.",
        ),
    ] = None,
    ways: Annotated[int, typer.Option(help="Classes in a task.")] = 5,
    shots: Annotated[int, typer.Option(help="Support examples of a class.")] = 1,
    queries: Annotated[int, typer.Option(help="Query examples of a class.")] = 5,
    tasks: Annotated[int, typer.Option(help="How many tasks.")] = 1000,
    seed: Annotated[int, typer.Option(help="Which tasks.")] = 0,
    batching: Annotated[
        str, typer.Option(metavar="auto|loop|vmap", help="How a batch of tasks runs.")
    ] = "auto",
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge a run on tasks of classes that it never saw, beside a control that learned nothing.

    Examples:
      quickstudy evaluate runs/a
      quickstudy evaluate runs/a --data omniglot --ways 20 --tasks 1000 --json
      quickstudy evaluate runs/a --data photos/ --shots 5
    """
    from quickstudy.core import Batching
    from quickstudy.errors import RunError
    from quickstudy.hub import screen
    from quickstudy.hub.evaluating import Setting, evaluate_run
    from quickstudy.hub.sources import SPLITS

    if split is not None and split not in SPLITS:
        raise RunError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    with screen.counting(screen.err(), "tasks") as tick:
        result = evaluate_run(
            run,
            Setting(ways, shots, queries, tasks, seed),
            data=data,
            split=split,
            device=device,
            threads=threads,
            batching=Batching(batching),  # type: ignore[arg-type]
            tick=tick,
        )
    if json:
        screen.print_json(result)
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from quickstudy.hub import screen

    console = screen.out()
    what = f"{result['ways']}-way {result['shots']}-shot"
    how = "transductive" if result["transductive"] else "inductive"
    console.print(
        f"{what} on {result['data']} ({result['split']}), {result['queries']} queries a class, "
        f"{result['tasks']} tasks, {how}"
    )
    console.print(f"  {result['run']:<24} {screen.percent(result)}")
    if result["control"]:
        console.print(
            f"  {result['control']['name'] + ' (control)':<24} {screen.percent(result['control'])}"
        )
