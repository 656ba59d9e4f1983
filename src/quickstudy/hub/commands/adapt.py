"""`quickstudy adapt` and `quickstudy predict`."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.hub.commands.options import Device, Json, Overwrite, RunFolder, Threads


def adapt(
    run: RunFolder,
    support: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Your examples: FOLDER/label/any.png, one or more each."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the adapted state goes.")],
    overwrite: Overwrite = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Adapt a run's model to your own classes, from a few images of each.

    Examples:
      quickstudy adapt runs/a --support mine/ --out mine.state
    """
    from quickstudy.hub import screen
    from quickstudy.hub.adapting import adapt_to_folder

    made = adapt_to_folder(run, support, out, overwrite=overwrite, device=device, threads=threads)
    if json:
        counts = dict(zip(made.labels, made.counts, strict=True))
        screen.print_json({"state": str(out), "labels": counts, "seconds": made.seconds})
        return
    console = screen.out()
    console.print(
        f"adapted to {len(made.labels)} classes from {sum(made.counts)} images "
        f"in {1000 * made.seconds:.0f} ms: {out}"
    )
    console.print(f"next: quickstudy predict {out} new.png --json")


def predict(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="What `adapt` wrote.")],
    files: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders.")],
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run that it belongs to, where that has moved."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Classify images with an adapted state; labels are the names of its folders.

    Examples:
      quickstudy predict mine.state new1.png new2.png
      quickstudy predict mine.state unsorted/ --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.adapting import predict_files

    answers = predict_files(state, files, model=model, device=device, threads=threads)
    if json:
        screen.print_json(answers)
        return
    console = screen.out()
    for answer in answers:
        sure = 100 * max(answer["probabilities"].values())
        console.print(f"{answer['file']}: {answer['label']} ({sure:.0f} %)", markup=False)
