"""`quickstudy demo`."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.hub.commands.options import Device, Overwrite, Threads


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The run's folder.")] = Path(
        "runs/demo"
    ),
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Fewer steps, for a first look.")
    ] = None,
    tasks: Annotated[int, typer.Option(metavar="N", help="Tasks behind each figure.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of weights and tasks.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Meta-train on printed characters, then recognise handwriting in alphabets never seen.

    Takes some minutes on two CPU cores and downloads nothing. Its own earlier
    run is replaced.

    Examples:
      quickstudy demo
      quickstudy demo --steps 200 --out runs/quick
    """
    from quickstudy.hub.demo import run_demo

    run_demo(
        out,
        steps=steps,
        tasks=tasks,
        seed=seed,
        device=device,
        threads=threads,
        overwrite=overwrite,
    )
