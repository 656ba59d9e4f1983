"""`quickstudy train` and `quickstudy resume`."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.hub.commands.options import Device, Json, Overwrite, RunFolder, Threads

DATA, LEARNER, TASKS, OUTER, LOOKS = "Data", "Learner", "Tasks", "Outer loop", "Watching"


def _option(
    *names: str, text: str, panel: str, metavar: str | None = None
) -> typer.models.OptionInfo:
    shown: typer.models.OptionInfo = typer.Option(
        *names, help=text, rich_help_panel=panel, metavar=metavar, show_default=False
    )
    return shown


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The run's folder, made anew.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Start from a recipe's options: demo, fonts, grocery, paper-5way-1shot, "
            "paper-5way-5shot, paper-20way-1shot, paper-20way-5shot.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML with options by name, or the config.json of a run to repeat.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=VALUE",
            help="Any option, over --config's; flags come over both. May be given again.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        _option(
            text="glyphs, omniglot, grocery, blobs, sinusoids, a folder of class folders of "
            "images, or a table (.csv, .parquet). Default: glyphs.",
            panel=DATA,
        ),
    ] = None,
    system_fonts: Annotated[
        bool | None,
        _option("--system-fonts", text="Glyphs of this machine's other fonts too.", panel=DATA),
    ] = None,
    size: Annotated[
        int | None,
        _option(text="Side of a folder's images, in pixels. Default: as they come.", panel=DATA),
    ] = None,
    channels: Annotated[
        int | None,
        _option(text="1 grey, 3 colour. Default: as the folder's images are.", panel=DATA),
    ] = None,
    group: Annotated[
        str | None,
        _option(
            text="The column of a table whose values are the tasks; none where the target is the "
            "class.",
            panel=DATA,
            metavar="COLUMN",
        ),
    ] = None,
    features: Annotated[
        str | None,
        _option(
            text="The columns of a table that are inputs. Default: all other numeric ones.",
            panel=DATA,
            metavar="A,B,...",
        ),
    ] = None,
    targets: Annotated[
        str | None,
        _option(text="The columns of a table to predict.", panel=DATA, metavar="Y,Z,..."),
    ] = None,
    leave_out_small: Annotated[
        bool | None,
        _option(
            "--leave-out-small", text="Leave out groups of a table with too few rows.", panel=DATA
        ),
    ] = None,
    learner: Annotated[
        str | None,
        _option(text="As `quickstudy learners` lists them. Default: ProtoNet.", panel=LEARNER),
    ] = None,
    backbone: Annotated[
        str | None,
        _option(text="Conv4, ResNet12, MLP. Default: Conv4 for images, else MLP.", panel=LEARNER),
    ] = None,
    width: Annotated[
        int | None, _option(text="Filters in each block of the backbone.", panel=LEARNER)
    ] = None,
    down: Annotated[
        str | None,
        _option(text="How the backbone halves images: pool or stride.", panel=LEARNER),
    ] = None,
    norm: Annotated[
        str | None, _option(text="Of the backbone: batch, group or none.", panel=LEARNER)
    ] = None,
    inner_steps: Annotated[
        int | None, _option(text="Steps of the inner loop, where there is one.", panel=LEARNER)
    ] = None,
    inner_rate: Annotated[
        float | None, _option(text="Rate of the inner loop, where there is one.", panel=LEARNER)
    ] = None,
    first_order: Annotated[
        bool | None,
        _option("--first-order", text="Treat inner gradients as constants.", panel=LEARNER),
    ] = None,
    rule: Annotated[
        str | None,
        _option(
            text="How the inner loop moves: SGD, LearnedRates, StepRates. Default: SGD.",
            panel=LEARNER,
        ),
    ] = None,
    rule_option: Annotated[
        list[str] | None,
        _option(
            text="Any argument of the rule's constructor (per=tensor: a learned rate a layer).",
            panel=LEARNER,
            metavar="NAME=VALUE",
        ),
    ] = None,
    learner_option: Annotated[
        list[str] | None,
        _option(
            text="Any argument of the learner's constructor; may be given again.",
            panel=LEARNER,
            metavar="NAME=VALUE",
        ),
    ] = None,
    backbone_option: Annotated[
        list[str] | None,
        _option(
            text="Any argument of the backbone's constructor; may be given again.",
            panel=LEARNER,
            metavar="NAME=VALUE",
        ),
    ] = None,
    ways: Annotated[
        str | None,
        _option(
            text="Classes in a task, or a range such as 5-20. Default: 5.",
            panel=TASKS,
            metavar="N|LOW-HIGH",
        ),
    ] = None,
    shots: Annotated[
        str | None,
        _option(
            text="Support examples of a class, or a range. Default: 1.",
            panel=TASKS,
            metavar="N|LOW-HIGH",
        ),
    ] = None,
    queries: Annotated[
        int | None, _option(text="Query examples of a class. Default: 5.", panel=TASKS)
    ] = None,
    unlabelled: Annotated[
        int | None,
        _option(
            text="More support examples of a class, without labels; for learners that use them "
            "(SoftKMeans). Default: 0.",
            panel=TASKS,
        ),
    ] = None,
    rotations: Annotated[
        bool | None,
        _option("--rotations/--no-rotations", text="Quarter turns make new classes.", panel=TASKS),
    ] = None,
    warp: Annotated[
        str | None,
        _option(
            text="pen draws glyphs anew (their default), affine bends images, crop mirrors and "
            "moves photos (grocery's default), none leaves them be.",
            panel=TASKS,
        ),
    ] = None,
    steps: Annotated[int | None, _option(text="Outer steps. Default: 2000.", panel=OUTER)] = None,
    tasks_per_step: Annotated[
        int | None, _option(text="Tasks in an outer step. Default: 1.", panel=OUTER)
    ] = None,
    rate: Annotated[
        float | None,
        _option(text="Rate of the outer optimizer, Adam. Default: 0.001.", panel=OUTER),
    ] = None,
    schedule: Annotated[
        str | None,
        _option(text="constant, cosine or one-cycle. Default: one-cycle.", panel=OUTER),
    ] = None,
    weight_decay: Annotated[
        float | None, _option(text="Decoupled weight decay. Default: 0.", panel=OUTER)
    ] = None,
    average: Annotated[
        float | None,
        _option(text="Decay of a running mean of the weights, in 0..1. Default: 0.", panel=OUTER),
    ] = None,
    clip: Annotated[
        float | None, _option(text="Largest gradient norm. Default: 10.", panel=OUTER)
    ] = None,
    nonfinite: Annotated[
        str | None,
        _option(
            text="What a loss that is not finite does: stop or skip. Default: stop.", panel=OUTER
        ),
    ] = None,
    batching: Annotated[
        str | None,
        _option(text="How tasks run: auto, loop or vmap. Default: auto.", panel=OUTER),
    ] = None,
    seed: Annotated[
        int | None, _option(text="Of weights and tasks. Default: 0.", panel=OUTER)
    ] = None,
    evaluate_every: Annotated[
        int | None,
        _option(text="Steps between meta-validations. Default: a tenth of all.", panel=LOOKS),
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            text="Stop after so many meta-validations without a better one. Default: never.",
            panel=LOOKS,
        ),
    ] = None,
    validation_tasks: Annotated[
        int | None, _option(text="Tasks of a meta-validation. Default: 200.", panel=LOOKS)
    ] = None,
    validation_ways: Annotated[
        int | None,
        _option(text="Classes in such a task. Default: the fewest of --ways.", panel=LOOKS),
    ] = None,
    validation_shots: Annotated[
        int | None,
        _option(text="Support examples of a class. Default: the fewest of --shots.", panel=LOOKS),
    ] = None,
    validation_queries: Annotated[
        int | None,
        _option(text="Query examples of a class. Default: as --queries.", panel=LOOKS),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        _option(text="Steps between checkpoints. Default: 30 seconds.", panel=LOOKS),
    ] = None,
    keep_checkpoints: Annotated[
        int | None,
        _option(text="Checkpoints that stay beside the best. Default: 2.", panel=LOOKS),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Meta-train a learner in a new run folder.

    What is not given comes from the recipe, if one is named, else from the
    defaults below. Flags come over --set, that over --config, and that over the
    recipe. A run that was stopped goes on with `quickstudy resume`.

    Examples:
      quickstudy train --data glyphs --steps 200 --out runs/a
      quickstudy train --recipe fonts --out runs/fonts
      quickstudy train --recipe paper-5way-1shot --data omniglot --learner maml --out runs/m51
      quickstudy train --data photos/ --learner maml --out runs/photos
      quickstudy train --data sinusoids --learner maml --shots 10 --out runs/sines
      quickstudy train --data sales.csv --group store --targets sold --learner maml --out runs/s
      quickstudy train --learner-option distance=cosine --out runs/b
      quickstudy train --config runs/b/config.json --set seed=1 --out runs/c
    """
    from quickstudy.hub.commands.following import finish, follow
    from quickstudy.hub.config import TrainConfig, make_config
    from quickstudy.hub.processes import join
    from quickstudy.hub.settings import layered
    from quickstudy.hub.training import train as run

    given = {
        name: value
        for name, value in context.params.items()
        if name in TrainConfig.model_fields and name != "recipe" and value is not None
    }
    if device == "auto":
        given.pop("device")  # so that a file may say it
    given["learner_options"] = pairs(learner_option, "--learner-option")
    given["backbone_options"] = pairs(backbone_option, "--backbone-option")
    given["rule_options"] = pairs(rule_option, "--rule-option")
    given = {name: value for name, value in given.items() if value != {}}
    if recipe is not None:
        given["recipe"] = recipe
    resolved = make_config(*layered(config, set_ or [], given))
    join()
    finish(follow(lambda stop: run(resolved, out, overwrite=overwrite, stop=stop), out), json)


def pairs(given: list[str] | None, flag: str) -> dict[str, object]:
    """NAME=VALUE options as a mapping; a value is JSON, or else text.

    Raises:
        RunError: one of them has no equals sign.

    Examples:
        >>> pairs(["temperature=10", "distance=cosine"], "--learner-option")
        {'temperature': 10, 'distance': 'cosine'}
    """
    import json

    from quickstudy.errors import RunError

    found: dict[str, object] = {}
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise RunError(f"{flag} must be NAME=VALUE, got {pair!r}")
        try:
            found[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.replace("-", "_")] = value
    return found


def resume(
    run: RunFolder,
    device: Annotated[
        str | None,
        typer.Option(metavar="auto|cpu|cuda|mps", help="Where, if not where it was."),
    ] = None,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped or killed.

    On one CPU thread the weights come out byte for byte as if it had never
    stopped.

    Examples:
      quickstudy resume runs/a
    """
    from quickstudy.hub.commands.following import finish, follow
    from quickstudy.hub.processes import join
    from quickstudy.hub.training import resume as go_on

    join()
    finish(follow(lambda stop: go_on(run, device=device, stop=stop), run), json)
