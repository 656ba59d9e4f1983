"""`quickstudy bench`: sampler, maml, protonet and adapt."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.hub.commands.options import Json, Threads

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True)

Ways = Annotated[int, typer.Option(help="Classes in a task.")]
Shots = Annotated[int, typer.Option(help="Support images of a class.")]
Queries = Annotated[int, typer.Option(help="Query images of a class.")]
Width = Annotated[int, typer.Option(help="Filters in each block of the net.")]
Repeats = Annotated[int, typer.Option(metavar="N", help="How often each is timed.")]


@app.callback()
def bench() -> None:
    """Measure how fast things are on this machine; no data is needed.

    Other work on the machine slows it down while it measures.

    Examples:
      quickstudy bench sampler
      quickstudy bench sampler --json
      quickstudy bench maml --peers higher,torchopt
      quickstudy bench protonet --threads 2
      quickstudy bench adapt --learner protonet --learner maml
    """
    # The profiler's remarks on memory that was there before; read when torch is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


@app.command()
def maml(
    peers: Annotated[
        str, typer.Option(metavar="A,B", help="Other libraries: higher, torchopt. Default: none.")
    ] = "",
    inner_steps: Annotated[int, typer.Option(metavar="N", help="Of the inner loop.")] = 1,
    inner_rate: Annotated[float, typer.Option(help="Of the inner loop.")] = 0.05,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float64", help="The latter for many inner steps.")
    ] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="A row with compiled inner steps too.")
    ] = False,
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 15,
    width: Width = 64,
    repeats: Repeats = 15,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time MAML's second-order gradient on one task, and its memory, beside other libraries.

    Same net, weights, task and threads; gradients are checked first. The net is
    Conv4 with pooling on made-up images of 28x28. Each peer has two rows: with its
    net as its examples ship it, and laid out in memory as ours is.

    Examples:
      quickstudy bench maml --peers higher,torchopt
      quickstudy bench maml --peers higher --inner-steps 5 --threads 2 --json
      quickstudy bench maml --compiled --inner-steps 5
      quickstudy bench maml --inner-steps 50 --dtype float64
    """
    from quickstudy.hub import screen
    from quickstudy.hub.bench_maml import bench_maml

    found = bench_maml(
        peers=peers, inner_steps=inner_steps, inner_rate=inner_rate, compiled=compiled, dtype=dtype,
        ways=ways, shots=shots, queries=queries, width=width, repeats=repeats, threads=threads,
    )  # fmt: skip
    if json:
        screen.print_json(found)
        return
    console = screen.out()
    console.print(
        f"second-order MAML, {inner_steps} inner steps, {ways}-way {shots}-shot, {queries} queries "
        f"a class, {found['threads']} threads; {repeats} repeats"
    )
    _show_rows(console, found)
    if found["compile_s"] is not None:
        console.print(f"  compiling took {found['compile_s']:.0f} s")
    if found["speedup_over_fastest_peer"] is not None:
        console.print(f"  {found['speedup_over_fastest_peer']:.2f}x the fastest peer as shipped")


def _show_rows(console: "Console", found: dict[str, Any]) -> None:
    for row in found["rows"]:
        low, high = row["spread_ms"]
        console.print(
            f"  {row['name']:<24} {row['ms_per_task']:>8.1f} ms a task ({low:.1f}-{high:.1f})  "
            f"{row['peak_mb']:>7.1f} MB  gradient within {row['gradient_error']:.0e}",
            markup=False,
        )


@app.command()
def protonet(
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 15,
    width: Width = 64,
    repeats: Repeats = 15,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time a training step of ProtoNet on one task, and its memory, beside the plain one.

    Forward and backward, Euclidean. Same net, weights, task and threads; gradients
    are checked first. The net is Conv4 with pooling on made-up images of 28x28. The
    plain step is Snell et al. 2017 in torch's own layers: as usually written, and
    laid out in memory as ours is.

    Examples:
      quickstudy bench protonet
      quickstudy bench protonet --ways 20 --threads 2 --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.bench_protonet import bench_protonet

    found = bench_protonet(
        ways=ways, shots=shots, queries=queries, width=width, repeats=repeats, threads=threads
    )
    if json:
        screen.print_json(found)
        return
    console = screen.out()
    console.print(
        f"ProtoNet, {ways}-way {shots}-shot, {queries} queries a class, {found['threads']} "
        f"threads; {repeats} repeats"
    )
    _show_rows(console, found)
    console.print(f"  {found['speedup_over_fastest_peer']:.2f}x the plain step as usually written")


@app.command()
def adapt(
    learner: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="One of the learners; may be repeated. Default: some."),
    ] = None,
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Annotated[int, typer.Option(help="Images of a class to answer.")] = 15,
    width: Width = 64,
    repeats: Repeats = 15,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time adapting to one task and answering its queries, for several learners.

    Conv4 with untrained weights on made-up images of 28x28, each learner at its
    defaults and in evaluation. State is what is kept for a task.

    Examples:
      quickstudy bench adapt
      quickstudy bench adapt --learner protonet --learner maml --shots 5 --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.bench_adapt import bench_adapt

    found = bench_adapt(
        learners=learner or (), ways=ways, shots=shots, queries=queries,
        width=width, repeats=repeats, threads=threads,
    )  # fmt: skip
    if json:
        screen.print_json(found)
        return
    console = screen.out()
    console.print(
        f"{ways}-way {shots}-shot, {ways * queries} queries, {found['threads']} threads; "
        f"median of {repeats} repeats (lowest-highest)"
    )
    console.print(f"  {'':<15} {'ms to adapt':>22} {'ms to answer':>22} {'state, kB':>10}")
    for row in found["rows"]:
        took = []
        for what in ("adapt", "predict"):
            low, high = row[f"{what}_spread_ms"]
            took.append(f"{row[f'{what}_ms']:.1f} ({low:.1f}-{high:.1f})")
        console.print(
            f"  {row['name']:<15} {took[0]:>22} {took[1]:>22} {row['state_kb']:>10,.1f}",
            markup=False,
        )


@app.command()
def sampler(
    batch: Annotated[
        int, typer.Option(metavar="N", help="Tasks sampled at once, and in a training step.")
    ] = 4,
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 15,
    repeats: Repeats = 15,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Time the sampling of tasks on one core, alone and as a share of a ProtoNet training step.

    The images are noise in the shape of Omniglot's meta-train: 1,028 classes of
    20 images, 28x28. The step (sample, forward, backward, Adam) uses all
    threads, or --threads.

    Examples:
      quickstudy bench sampler
      quickstudy bench sampler --batch 1 --threads 1 --json
    """
    from quickstudy.hub import screen
    from quickstudy.hub.benching import bench_sampler

    found = bench_sampler(
        batch=batch,
        ways=ways,
        shots=shots,
        queries=queries,
        repeats=repeats,
        threads=threads,
    )
    if json:
        screen.print_json(found)
        return
    console = screen.out()
    slow, fast = found["spread"]["tasks_per_second"]
    low, high = found["spread"]["share_of_protonet_step"]
    others = ", ".join(f"{value:,.0f} by {size}" for size, value in found["by_batch"].items())
    console.print(
        f"{ways}-way {shots}-shot tasks of 28x28 images, {queries} queries a class, "
        f"{batch} at a time; {repeats} repeats"
    )
    rows = {
        "tasks a second": f"{found['tasks_per_second']:,.0f} on one core ({slow:,.0f}-{fast:,.0f})",
        "share of a step": f"{found['share_of_protonet_step']:.2%} ({low:.2%}-{high:.2%}) of "
        f"ProtoNet's {1000 * found['step_seconds']:.0f} ms on {found['threads']['step']} threads",
        "tasks at a time": others,
    }
    for name, value in rows.items():
        console.print(f"  {name:<16} {value}", markup=False)
