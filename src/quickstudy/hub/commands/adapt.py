"""`quickstudy adapt` and `quickstudy predict`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quickstudy.hub.commands.options import Device, Json, Overwrite, RunFolder, Threads

Targets = Annotated[
    str | None,
    typer.Option(
        metavar="Y,Z,...",
        help="Columns of the table to predict, where the model was not trained on a table.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Its inputs, where the model was not trained on a table; all other numeric columns "
        "if not given.",
    ),
]
Asked = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="The table's inputs, where the model was not trained on one; those that `adapt` read "
        "if not given.",
    ),
]


def adapt(
    run: RunFolder,
    support: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|TABLE",
            help="Your examples: FOLDER/label/any.png, one or more each; or a table's rows.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the adapted state goes.")],
    targets: Targets = None,
    features: Features = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Adapt a run's model to your own classes, or your own group of a table, from a few examples.

    Examples:
      quickstudy adapt runs/a --support mine/ --out mine.state
      quickstudy adapt runs/sales --support new_store.csv --out store.state
      quickstudy adapt runs/sines --support points.csv --targets y --out wave.state
    """
    from quickstudy.hub import screen
    from quickstudy.hub.adapting import adapt_run
    from quickstudy.hub.config import make_names

    made = adapt_run(
        run,
        support,
        out,
        targets=make_names("--targets", targets) or (),
        features=make_names("--features", features),
        overwrite=overwrite,
        device=device,
        threads=threads,
    )
    if json:
        counts = dict(zip(made.labels, made.counts, strict=True)) if made.labels else None
        told = {"labels": counts, "examples": sum(made.counts), "seconds": made.seconds}
        screen.print_json({"state": str(out), **told})
        return
    console = screen.out()
    kind = "rows" if support.is_file() else "images"
    to = f"to {len(made.labels)} classes " if made.labels else ""
    console.print(
        f"adapted {to}from {sum(made.counts)} {kind} in {1000 * made.seconds:.0f} ms: {out}"
    )
    console.print(f"next: quickstudy predict {out} new{support.suffix or '.png'} --json")


def predict(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="What `adapt` wrote.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Images, or folders of them; or tables.")
    ],
    features: Asked = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run that it belongs to, where that has moved."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify images, or answer the rows of tables, with an adapted state.

    Labels are the names of the support's folders, real targets come in the
    table's own units.

    Examples:
      quickstudy predict mine.state new1.png new2.png
      quickstudy predict mine.state unsorted/ --json
      quickstudy predict store.state rows.csv --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.adapting import predict_files
    from quickstudy.hub.config import make_names

    answers = predict_files(
        state,
        files,
        model=model,
        features=make_names("--features", features),
        device=device,
        threads=threads,
    )
    if json:
        screen.print_json(answers)
        return
    if any(answer.get("transductive") for answer in answers):
        screen.err().print(
            f"note: these {len(answers)} were answered together, and each answer depends on the "
            "others (a transductive learner): ask for all you have at once"
        )
    console = screen.out()
    for answer in answers:
        where = f"{answer['file']}, row {answer['row']}" if "row" in answer else answer["file"]
        console.print(f"{where}: {_said(answer)}", markup=False)


def _said(answer: dict[str, Any]) -> str:
    if "predictions" in answer:
        told = answer["predictions"].items()
        return ", ".join(f"{n} {'-' if value is None else f'{value:.6g}'}" for n, value in told)
    return f"{answer['label']} ({100 * max(answer['probabilities'].values()):.0f} %)"
