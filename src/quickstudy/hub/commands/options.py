"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, runs/a say.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for machines.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute; cuda:1 for the second.")
]
Threads = Annotated[int | None, typer.Option(metavar="N", help="CPU threads; 1 is reproducible.")]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The database: a file or postgresql://... Default: $QUICKSTUDY_STORE, else a file "
        "of yours.",
    ),
]
