import io
import math

import torch
from rich.console import Console
from rich.text import Text

from quickstudy.core import Judged, Progress, summarise
from quickstudy.hub import screen


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=140, soft_wrap=True)


def follow(terminal):
    shown = console(terminal)
    with screen.Steps(shown, steps=30, done=10) as steps:
        for step in range(11, 31):
            loss = {12: math.nan, 13: math.inf}.get(step, 0.5)
            steps.show(Progress(step, 30, loss, 1.0, evaluation(step), training=trained(step)))
    return shown.file.getvalue()


def trained(step):
    return summarise(Judged(torch.tensor([0.6, 0.8]))) if step == 20 else None


def evaluation(step):
    return summarise(Judged(torch.tensor([0.5, 0.7]))) if step == 20 else None


def test_a_terminal_shows_a_bar():
    said = follow(terminal=True)
    for word in (
        "meta-training",
        "30/30",
        "loss 0.500",
        "meta-validation 60.0 ± 19.6 % (gap +10.0)",
        "/s",
    ):
        assert word in said


def test_a_narrow_terminal_keeps_it_on_one_line():
    shown = Console(file=io.StringIO(), force_terminal=True, width=80, soft_wrap=True)
    with screen.Steps(shown, steps=12000) as steps:
        steps.show(Progress(11999, 12000, 12.5, 1.0, evaluation(20)))
    last = Text.from_ansi(shown.file.getvalue()).plain.splitlines()[-1]
    assert "11999/12000 loss 12.500 meta-validation 60.0 ± 19.6 %" in last


def test_without_a_terminal_there_are_lines():
    lines = follow(terminal=False).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 20/30", "step 30/30"]
    assert "loss 0.500  meta-validation 60.0 ± 19.6 %" in lines[0]
    assert lines[-1].endswith("0 s left")


def test_counting():
    shown = console(terminal=True)
    with screen.counting(shown, "tasks") as tick:
        tick(3, 7)
    assert "3/7" in shown.file.getvalue()
    plain = console(terminal=False)
    with screen.counting(plain, "tasks") as tick:
        tick(3, 7)
    assert plain.file.getvalue() == ""


def test_transfer():
    for terminal in (True, False):
        shown = console(terminal)
        with screen.transfer(shown, "letters", 5_000_000) as told:
            told("a.zip", 1_000_000, 4_000_000)
            told("a.zip", 4_000_000, 4_000_000)
            told("b.zip", 0, 1_000_000)
        first, *bars = Text.from_ansi(shown.file.getvalue()).plain.splitlines()
        assert first == "fetching and converting letters, 5.0 MB"
        assert ("a.zip" in bars[-2] and "4.0/4.0 MB" in bars[-2]) if terminal else bars == []


def test_long_lines_are_never_cut_where_nobody_looks(capsys):
    screen.out().print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"
