"""`quickstudy serve`."""

from typing import Annotated

import typer

from quickstudy.hub.commands.options import Device, Json


def serve(
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="NAME=RUN",
            help="A run, or a stored model, and its name in addresses; or the name alone of a "
            "model in production. May be given again.",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen; beyond this machine keys are needed."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0 takes a free one.")] = 8008,
    require_keys: Annotated[
        bool,
        typer.Option(
            "--require-keys", help="Ask for keys on this machine too, behind a proxy say."
        ),
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep what is adapted in the store, so that a restart loses none."
        ),
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="body, ways, support, queries, deadline, queue, adapted, live, memory, image or "
            "pixels. May be given again.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The database. Default: $QUICKSTUDY_STORE, else a file of yours."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes that serve, at one address; several share what is adapted through the "
            "store (--keep).",
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="That run models, in each process; one a core in all if not given.",
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Serve models over HTTP, for any client to adapt to its own classes; a page to try it at /.

    Examples:
      quickstudy serve --model chars=runs/a
      quickstudy serve --model chars=runs/a --model photos=runs/b --port 8008 --keep
      quickstudy serve --model chars=runs/a --host 0.0.0.0 --limit ways=20
      quickstudy serve --model chars=runs/a --workers 4 --keep
      curl -s -F "alpha=@a.png" -F "beta=@b.png" localhost:8008/v1/models/chars/adapt
    """
    from quickstudy.hub import screen
    from quickstudy.hub.service.serving import Serving
    from quickstudy.hub.service.serving import serve as serve_one
    from quickstudy.hub.service.told import limits_told, models_told
    from quickstudy.hub.service.workers import serve_many

    def wanted() -> Serving:
        return Serving(
            models=models_told(model, store),
            host=host,
            port=port,
            limits=limits_told(limit or []),
            keys=require_keys,
            keep=keep,
            store=store,
            threads=threads,
            workers=workers,
            device=device,
        )

    serving = wanted()

    def told(address: str) -> None:
        names = list(serving.models)
        if json:
            screen.print_json({"address": address, "models": names})
            return
        console = screen.out()
        console.print(f"serving {', '.join(names)} on {address}", markup=False)
        console.print("stop with Ctrl-C", markup=False)

    if workers == 1:
        serve_one(serving, told)
    else:
        serve_many(serving, told, wanted)
