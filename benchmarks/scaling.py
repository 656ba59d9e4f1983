"""Steps a second of the same training job in one process and in two, by real runs of the command.

    python -m benchmarks.scaling                # runs, and writes figures and tables
    python -m benchmarks.scaling --rounds 5
    python -m benchmarks.scaling --only-docs    # tables from the stored figures

One process on one thread, one on two, and two of one thread each under torchrun, in turns. Also
measured are the parts of a step in one process, from which benchmarks.scaling_paper works out what
many hosts would do. Nothing else should run meanwhile.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.pages import write_between
from benchmarks.runs import flags
from benchmarks.scaling_paper import PAGE, tables
from quickstudy.core.batching import accumulate_gradients
from quickstudy.core.tasks import tree_map
from quickstudy.data.episodes import Episodes
from quickstudy.hub.benching import in_turn, made_up_pool, seconds
from quickstudy.hub.config import make_config
from quickstudy.hub.job import make_job
from quickstudy.hub.runs import open_run
from quickstudy.nets import ResNet12

RESULTS = Path(__file__).parent / "results" / "scaling.json"
COMMON: dict[str, Any] = {
    "data": "glyphs", "ways": 5, "shots": 1, "queries": 15, "tasks_per_step": 8,
    "validation_tasks": 1, "device": "cpu",
}  # fmt: skip
STEPS = {"ProtoNet": 60, "MAML": 20}
SETUPS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2),
          "2 processes, 1 thread each": (2, 1)}  # fmt: skip
"""Processes, and threads of each."""
WARM = 3
"""First steps that do not count."""


def told(name: str, threads: int) -> dict[str, Any]:
    """The options of a run; it looks at meta-validation once, after the last step."""
    steps = STEPS[name]
    return {**COMMON, "learner": name, "steps": steps, "evaluate_every": steps, "threads": threads}


def command(processes: int, options: Mapping[str, Any]) -> list[str]:
    """The command line of a run, under torchrun where it has several processes."""
    run = ["-m", "quickstudy", "train", *flags(dict(options))]
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *(many if processes > 1 else []), *run]


def steps_a_second(rows: Sequence[Mapping[str, Any]]) -> float:
    """From the record of a run, without its first steps and without the last, which is judged."""
    start, end = rows[WARM - 1], rows[-2]
    return float((end["step"] - start["step"]) / (end["seconds"] - start["seconds"]))


def run(name: str, processes: int, threads: int) -> float:
    """Train once; steps a second."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        done = subprocess.run(
            command(processes, {**told(name, threads), "out": out}), capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{name} on {processes} processes failed: {done.stderr[-2000:]}")
        rows = open_run(out).metrics()
    return steps_a_second(rows)


def measured(rounds: int) -> list[dict[str, Any]]:
    """Steps a second of each learner in each setup."""
    rows = []
    for name in STEPS:
        taken = [{s: run(name, *sizes) for s, sizes in SETUPS.items()} for _ in range(rounds)]
        for setup, (processes, threads) in SETUPS.items():
            speeds = [one[setup] for one in taken]
            rows.append(
                {
                    "learner": name,
                    "setup": setup,
                    "processes": processes,
                    "threads": threads,
                    "steps_per_second": round(median(speeds), 3),
                    "spread": [round(min(speeds), 3), round(max(speeds), 3)],
                }
            )
    return rows


def parts(name: str, repeats: int = 15) -> dict[str, float]:
    """Milliseconds of a step's parts on one thread: a task's drawing and gradient; the update."""
    fit, count = make_job(make_config(told(name, 1))).fit, COMMON["tasks_per_step"]
    batch = fit.source.sample(count, fit.generator)
    still = Episodes(made_up_pool(), COMMON["ways"], COMMON["shots"], COMMON["queries"])
    fit.learner.train()

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(fit.parameters, 10.0)
        fit.optimizer.step()

    one = tree_map(lambda t: t[:1], batch)
    works = {
        "draw": partial(seconds, lambda: fit.source.sample(count, fit.generator), 8, 1),
        "still": partial(seconds, lambda: still.sample(count, fit.generator), 8, 1),
        "task": partial(seconds, lambda: accumulate_gradients(fit.learner, one), 1, 1),
        "update": partial(seconds, update, 8, 1),
    }
    found = {key: 1000 * median(taken) for key, taken in in_turn(works, repeats).items()}
    return {
        "draw_ms": round(found["draw"] / count, 3),
        "draw_still_ms": round(found["still"] / count, 3),
        "task_ms": round(found["task"], 2),
        "update_ms": round(found["update"], 2),
        "parameters": sum(p.numel() for p in fit.parameters),
        "tensors": len(fit.parameters),
    }


def measure(rounds: int) -> dict[str, Any]:
    """All that the file holds."""
    load = os.getloadavg()[0]
    large = list(ResNet12(channels=1, size=28).parameters())
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "load_before": round(load, 1),
        "rounds": rounds,
        **COMMON,
        "steps": STEPS,
        "parts": {name: parts(name) for name in STEPS},
        "large": {
            "net": "ResNet12",
            "parameters": sum(p.numel() for p in large),
            "tensors": len(large),
        },
        "rows": measured(rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-docs", action="store_true")
    args = parser.parse_args()
    if not args.only_docs:
        found = measure(args.rounds)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_between(PAGE, tables(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
