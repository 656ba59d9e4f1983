"""What many hosts would do, worked out from the measured parts of a step; and the page's tables.

On N processes of p tasks each, a step takes

    p t + N p d + u + 2 (N - 1) / N S / B + 2 (N - 1) l

with t a task's gradient, d the drawing of a task (every process draws all N p), u the update, and
the last two terms a ring all-reduce of S bytes over links of bandwidth B and latency l. One process
takes N p (t + d) + u for the same tasks; efficiency is that divided by N times the above.
"""

import math
from pathlib import Path
from typing import Any

from benchmarks.pages import machine_of

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
NETWORKS = ((1, 1e-3), (1, 1e-4), (10, 1e-4), (10, 1e-5), (100, 1e-5))
"""Gbit/s and seconds of latency."""
HOSTS = (2, 8, 32)
WANTED = 0.9

Found = dict[str, Any]


def sent(parameters: int, tensors: int) -> int:
    """Bytes that are summed up once a step: gradients, a flag for each tensor, loss and stop."""
    return 4 * (parameters + tensors + 2)


def ring(size: float, processes: int, gigabits: float, latency: float) -> float:
    """Seconds of a ring all-reduce of so many bytes."""
    rounds = 2 * (processes - 1)
    return rounds * (size / processes * 8 / (gigabits * 1e9) + latency)


def efficiency(
    processes: int, tasks: int, task: float, draw: float, update: float, reduce: float
) -> float:
    """How much of `processes` times one process's speed is reached, with so many tasks each."""
    alone = processes * tasks * (task + draw) + update
    together = tasks * task + processes * tasks * draw + update + reduce
    return alone / (processes * together)


def tasks_needed(
    processes: int, task: float, draw: float, update: float, reduce: float, wanted: float = WANTED
) -> int | None:
    """The fewest tasks a process with which efficiency is as wanted; None if none will do."""
    gained = task + draw - wanted * (task + processes * draw)
    if gained <= 0:
        return None
    lost = wanted * (update + reduce) - update / processes
    return max(1, math.ceil(lost / gained - 1e-9))


def most_processes(task: float, draw: float, wanted: float = WANTED) -> int:
    """Beyond so many, drawing alone keeps efficiency below what is wanted, however many tasks."""
    return math.floor((task + draw - wanted * task) / (wanted * draw))


def tables(found: Found) -> dict[str, str]:
    """The tables of docs/scaling.md by their markers."""
    return {
        "processes": measured_table(found),
        "all-reduce": reduce_table(found),
        "tasks": tasks_table(found),
    }


def measured_table(found: Found) -> str:
    lines = ["| | steps a second | beside one thread |", "|---|--:|--:|"]
    alone = {r["learner"]: r for r in found["rows"] if r["processes"] * r["threads"] == 1}
    for row in found["rows"]:
        low, high = row["spread"]
        ratio = row["steps_per_second"] / alone[row["learner"]]["steps_per_second"]
        lines.append(f"| {row['learner']}, {row['setup']} | {row['steps_per_second']:.2f} "
                     f"({low:.2f}–{high:.2f}) | {ratio:.2f}x |")  # fmt: skip
    return "\n".join(lines) + (
        f"\n\nMedian of {found['rounds']} runs in turns, lowest and highest; {found['ways']}-way "
        f"{found['shots']}-shot tasks of {found['data']}, {found['queries']} queries a class, "
        f"{found['tasks_per_step']} tasks a step, "
        + " and ".join(f"{steps} steps of {name}" for name, steps in found["steps"].items())
        + f". {machine_of(found)}"
    )


def reduce_table(found: Found) -> str:
    small = found["parts"]["MAML"]
    nets = {"Conv4": small, found["large"]["net"]: found["large"]}
    sizes = {name: sent(net["parameters"], net["tensors"]) for name, net in nets.items()}
    head = [f"{name}, {hosts} hosts" for name in nets for hosts in HOSTS]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    for gigabits, latency in NETWORKS:
        cells = [
            _ms(ring(size, hosts, gigabits, latency)) for size in sizes.values() for hosts in HOSTS
        ]
        lines.append(f"| {_network(gigabits, latency)} | " + " | ".join(cells) + " |")
    said = " and ".join(
        f"{size / 1e6:.2f} MB for the {nets[name]['parameters']:,} parameters of {name}"
        for name, size in sizes.items()
    )
    return "\n".join(lines) + f"\n\nA ring all-reduce of {said}."


def tasks_table(found: Found) -> str:
    names = list(found["parts"])
    head = [f"{name}, {hosts} hosts" for name in names for hosts in HOSTS]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    for gigabits, latency in NETWORKS:
        cells = []
        for name in names:
            part = found["parts"][name]
            size = sent(part["parameters"], part["tensors"])
            for hosts in HOSTS:
                reduce = ring(size, hosts, gigabits, latency)
                needed = tasks_needed(hosts, *times(part), reduce)
                cells.append("never" if needed is None else f"{needed}")
        lines.append(f"| {_network(gigabits, latency)} | " + " | ".join(cells) + " |")
    said = "; ".join(_limits(name, part) for name, part in found["parts"].items())
    return "\n".join(lines) + (
        f"\n\nTasks that each process needs in a step for {100 * WANTED:.0f} % of the speed of as "
        f"many processes, images lying in memory as they are. Worked out from one process on one "
        f"thread: {said}. {machine_of(found)}"
    )


def _limits(name: str, part: Found) -> str:
    task, still, update = times(part)
    pen = part["draw_ms"] / 1e3
    return (
        f"{name}, {1e3 * task:.1f} ms a task and {1e3 * update:.1f} ms for the update; drawing a "
        f"task takes {1e3 * still:.2f} ms, so that no more than {most_processes(task, still)} "
        f"processes can be so efficient, and {1e3 * pen:.2f} ms where the pen redraws its images, "
        f"no more than {most_processes(task, pen)}"
    )


def times(part: Found) -> tuple[float, float, float]:
    """Seconds of a task's gradient, of its drawing with images as they are, and of the update."""
    return part["task_ms"] / 1e3, part["draw_still_ms"] / 1e3, part["update_ms"] / 1e3


def _network(gigabits: float, latency: float) -> str:
    return f"{gigabits} Gbit/s, {latency * 1e6:,.0f} µs"


def _ms(took: float) -> str:
    return f"{1e3 * took:.3g} ms"
