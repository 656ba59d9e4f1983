"""The main job, shown: meta-train on printed characters, then recognise what was never seen."""

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from quickstudy.core import Learner, unstack
from quickstudy.data.cache import find
from quickstudy.data.episodes import Episodes
from quickstudy.data.images import image_folder, read_images
from quickstudy.data.omniglot import OMNIGLOT_FILE
from quickstudy.data.writing import write_image
from quickstudy.errors import DataError, RunError
from quickstudy.hub import screen
from quickstudy.hub.adapting import adapt, probabilities
from quickstudy.hub.catalogue import load_model
from quickstudy.hub.commands.following import follow, summary
from quickstudy.hub.config import make_config
from quickstudy.hub.devices import choose_device
from quickstudy.hub.evaluating import Setting, judge
from quickstudy.hub.image_source import Images, preprocessing_of
from quickstudy.hub.runs import REPORT, Run, open_run, write_json
from quickstudy.hub.source import Source, Wanted
from quickstudy.hub.sources import open_source
from quickstudy.hub.training import train

SETTINGS = (Setting(5, 1, 5), Setting(5, 5, 5), Setting(20, 1, 5))
RELATIVE = "Old_Church_Slavonic_(Cyrillic)"
"""The one alphabet of Omniglot's meta-test that has relatives among the printed ones."""
EXAMPLES, SUPPORT, NEW = "examples", "support", "new"
CLASSES, DRAWINGS, ENLARGED = 5, 3, 4
SEED = 3
"""Which five characters are shown."""


def run_demo(
    out: Path,
    *,
    steps: int | None = None,
    tasks: int = 1000,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
) -> None:
    """Train by the demo's recipe, then show what came of it.

    Args:
        out: the run's folder; a demo's run that is there is replaced.
        steps: instead of the recipe's.
        tasks: behind each figure of the table.
        seed: of weights and tasks.
        device: where.
        threads: of the CPU.
        overwrite: replace a run that is there, even if it is no demo's.

    Raises:
        QuickstudyError: the folder or the device cannot be used.
    """
    Setting(tasks=tasks).check()
    given = {"steps": steps, "seed": seed, "device": device, "threads": threads}
    config = make_config({k: v for k, v in given.items() if v is not None}, "demo")
    start = time.monotonic()
    replace = overwrite or _is_demo(out)
    ended = follow(lambda stop: train(config, out, overwrite=replace, stop=stop), out)
    console = screen.out()
    console.print(
        f"trained in {screen.duration(ended.report['seconds'])}; {summary(ended.report)}\n"
    )
    rows = list(measure(ended.learner, _sources(console, device), tasks))
    _print_table(console, rows, type(ended.learner).__name__, tasks)
    shown = show_adaptation(console, ended.run, ended.source)
    write_json(ended.run / REPORT, ended.report | {"results": rows, "adaptation": shown})
    console.print(
        f"\nThe model, report.json, learning_curve.png and task.png are in {out} "
        f"({screen.duration(time.monotonic() - start)} in all)."
    )
    _print_next(console, out)


def _is_demo(out: Path) -> bool:
    try:
        return open_run(out).config.recipe == "demo"
    except RunError:
        return False


def _sources(console: Console, device: str) -> Iterator[tuple[str, Source]]:
    """What the model is judged on, with what to call it."""
    wanted = Wanted(device=choose_device(device))
    yield "drawn from print: Armenian, Georgian", open_source("glyphs", wanted)
    if find(OMNIGLOT_FILE) is None:
        console.print(
            "(For the same on handwriting, `quickstudy data prepare omniglot` fetches Omniglot.)"
        )
        return
    handwriting = open_source("omniglot", wanted)
    yield "handwritten: Omniglot", handwriting
    if isinstance(handwriting, Images):
        yield "  without Old Church Slavonic", handwriting.without(RELATIVE)


def measure(
    learner: Learner, sources: Iterator[tuple[str, Source]], tasks: int
) -> Iterator[dict[str, Any]]:
    """The learner and the control on meta-test tasks of each source and setting, as JSON."""
    for label, source in sources:
        for setting in SETTINGS:
            drawn = source.tasks("test", *setting.sizes)
            with screen.counting(screen.err(), f"judging, {label.strip()}") as tick:
                result = judge(learner, drawn, setting._replace(tasks=tasks), tick=tick)
            yield {"data": source.name, "split": "test", "label": label.strip(), **result}


def _print_table(console: Console, rows: list[dict[str, Any]], name: str, tasks: int) -> None:
    settings = [f"{s.ways}-way {s.shots}-shot" for s in SETTINGS]
    table = Table(title="Accuracy in writing systems never trained on", title_justify="left")
    table.add_column("data")
    for column in settings:
        table.add_column(column, justify="right")
    for label in dict.fromkeys(row["label"] for row in rows):
        mine = [row for row in rows if row["label"] == label]
        table.add_row(f"{label}: {name}", *(screen.percent(row) for row in mine), style="bold")
        control = mine[0]["control"]["name"]
        table.add_row(
            f"  {control}, nothing learned", *(screen.percent(r["control"]) for r in mine)
        )
    console.print(table)
    how = "transductive" if rows[0]["transductive"] else "inductive"
    console.print(f"{tasks} tasks, {SETTINGS[0].queries} queries a class, {how}, 95 % intervals")


def show_adaptation(console: Console, run: Run, source: Source) -> dict[str, Any]:
    """Write five characters to image files, adapt to one of each, and name new drawings.

    Everything goes the way a user's own files go: from the stored model, through images on disk.

    Returns:
        What the report keeps of it.
    """
    _write_examples(run / EXAMPLES, source)
    learner, model = load_model(run.folder)
    how = preprocessing_of(model.manifest.preprocessing, run.folder)
    pool = image_folder(run / EXAMPLES / SUPPORT, how, at_least=1)
    files = sorted((run / EXAMPLES / NEW).iterdir())
    images = read_images(files, how)
    probabilities(
        learner, adapt(learner, pool.images, pool.labels, pool.classes), images
    )  # warm up

    start = time.perf_counter()
    state = adapt(learner, pool.images, pool.labels, pool.classes)
    adapted = time.perf_counter()
    answers = probabilities(learner, state, images)
    ended = time.perf_counter()

    console.print("\nFive characters, one example of each; then new drawings of them:")
    right = 0
    truths = [file.stem.rpartition("-")[0] for file in files]
    for truth in dict.fromkeys(truths):
        said = []
        for row in (answers[i] for i, other in enumerate(truths) if other == truth):
            answer = pool.names[int(row.argmax())]
            right += answer == truth
            mark = "[green]right[/green]" if answer == truth else f"[red]{_sign(answer)}[/red]"
            said.append(f"{mark} {100 * float(row.max()):.0f} %")
        console.print(f"  {_sign(truth)}  {truth:<32} {'   '.join(said)}")
    seconds = {"adapting": adapted - start, "predicting": ended - adapted}
    console.print(
        f"{right} of {len(files)} right; adapting took {1000 * seconds['adapting']:.1f} ms, "
        f"predicting {1000 * seconds['predicting']:.1f} ms"
    )
    return {"classes": list(pool.names), "right": right, "of": len(files), "seconds": seconds}


def _write_examples(folder: Path, source: Source) -> None:
    """One support drawing and some new ones of each of five meta-test characters, as PNG."""
    episodes = source.tasks("test", CLASSES, 1, DRAWINGS)
    if not isinstance(episodes, Episodes):
        raise DataError(f"{source.name} has no images to show")
    classes = episodes.draw(1, torch.Generator().manual_seed(SEED)).classes[0].tolist()
    batch = episodes.sample(1, torch.Generator().manual_seed(SEED))
    task = unstack(batch)[0]
    names = [_slug(episodes.pool.names[i]) for i in classes]
    for part, place in ((task.support, SUPPORT), (task.query, NEW)):
        seen: dict[str, int] = {}
        for picture, row in zip(part.x.cpu(), part.y.argmax(-1).tolist(), strict=True):
            name = names[row]
            number = seen[name] = seen.get(name, 0) + 1
            paper = (255 * (1 - picture)).round().to(torch.uint8)  # dark ink on white
            large = paper.repeat_interleave(ENLARGED, -1).repeat_interleave(ENLARGED, -2)
            file = f"{name}/{number}.png" if place == SUPPORT else f"{name}-{number}.png"
            write_image(folder / place / file, large)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-").replace(",", "")


def _sign(slug: str) -> str:
    """The character of that name; a dot where there is none."""
    try:
        return unicodedata.lookup(slug.replace("-", " ").upper())
    except KeyError:
        return "·"


def _print_next(console: Console, out: Path) -> None:
    command = _command()
    data = "glyphs" if find(OMNIGLOT_FILE) is None else "omniglot"
    console.print("\nNext:")
    for line in (
        f"adapt {out} --support {out / EXAMPLES / SUPPORT} --out {out / 'mine.state'}",
        f"predict {out / 'mine.state'} {out / EXAMPLES / NEW} --json",
        f"evaluate {out} --data {data} --ways 20 --tasks 200",
    ):
        console.print(f"  {command} {line}", markup=False)


def _command() -> str:
    """How this program is called from here: by name where the shell would find it."""
    own = Path(sys.argv[0]).absolute()
    found = shutil.which("quickstudy")
    if own.name != "quickstudy":
        return f"{os.path.relpath(sys.executable)} -m quickstudy"
    if found and Path(found).resolve() == own.resolve():
        return "quickstudy"
    return min(os.path.relpath(own), str(own), key=len)
