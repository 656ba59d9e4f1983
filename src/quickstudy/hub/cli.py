"""The command line. Nothing heavy is imported before a command runs."""

import os
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from quickstudy._version import __version__
from quickstudy.errors import JobError, QuickstudyError
from quickstudy.hub.commands.adapt import adapt, predict
from quickstudy.hub.commands.bench import app as bench
from quickstudy.hub.commands.data import app as data
from quickstudy.hub.commands.demo import demo
from quickstudy.hub.commands.doctor import doctor
from quickstudy.hub.commands.evaluate import evaluate
from quickstudy.hub.commands.keys import app as keys
from quickstudy.hub.commands.learners import learners
from quickstudy.hub.commands.models import app as models
from quickstudy.hub.commands.recommend import app as recommend
from quickstudy.hub.commands.runs import app as runs
from quickstudy.hub.commands.serve import serve
from quickstudy.hub.commands.train import resume, train

DEBUG = "--debug"
WRONG_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="quickstudy",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(train)
app.command()(resume)
app.command()(evaluate)
app.command()(adapt)
app.command()(predict)
app.command()(serve)
app.command()(learners)
app.add_typer(runs, name="runs")
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(data, name="data")
app.add_typer(recommend, name="recommend")
app.add_typer(bench, name="bench")
app.command()(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"quickstudy {__version__}")
        raise typer.Exit


@app.callback()
def quickstudy(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show tracebacks. Goes with every command, at any place.")
    ] = False,
) -> None:
    """Meta-learn from many related tasks, then adapt to a new one from a few examples.

    Examples:
      quickstudy demo
      quickstudy train --recipe fonts --out runs/fonts
      quickstudy evaluate runs/fonts --data omniglot --json
      quickstudy adapt runs/fonts --support mine/ --out mine.state
      quickstudy predict mine.state new1.png new2.png
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 something from outside was wrong, 130 interrupted.

    Args:
        arguments: without the program's name; those of this process where None.

    Raises:
        SystemExit: always.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours = given[: given.index("--")] if "--" in given else given
    debug = DEBUG in ours
    if debug:
        given.remove(DEBUG)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # corrupt notes beside the pixels of a photo
    # Threads that wait for each other spin. On a machine that is busy with something else they keep
    # each other from running, and a step takes thirty times as long; so they soon go to sleep.
    # GNU's OpenMP reads this when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no ± shows another sign
    code = _run(given or ["--help"], debug)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Gloo's threads, which outlive their group, now and then abort a process as it winds up.
        sys.stdout.flush()
        sys.stderr.flush()
        if code and _rank():
            time.sleep(1)  # the first process gets its word in before the launcher ends all
        os._exit(code)
    raise SystemExit(code)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(arguments, prog_name="quickstudy", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        said = error.format_message()
        told = "" if _rank() else said + _value_of(error, arguments)
        return _fail(told, error.exit_code) if said else 0
    except QuickstudyError as error:
        told = "" if _rank() and _of_all(error) else str(error)
        return _fail(told, WRONG_INPUT, debug)
    except BrokenPipeError:  # whoever read this has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERNAL
    except OSError as error:
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        return _fail(said, WRONG_INPUT, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        said = f"internal error, {type(error).__name__}: {error}; {DEBUG} shows where"
        return _fail(said, INTERNAL, debug)


def _value_of(error: typer.TyperException, arguments: list[str]) -> str:
    """What was given to the option that an error is about, which the error does not say."""
    named = getattr(getattr(error, "param", None), "opts", [])
    options = [name for name in named if name.startswith("-")]  # an argument has no name there
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in options and (equals or place + 1 < len(arguments)):
            return f", got {value if equals else arguments[place + 1]!r}"
    return ""


def _rank() -> int:
    """Which of the job's processes this one is; 0, the first, where it is alone."""
    rank = os.environ.get("RANK", "0")
    return int(rank) if rank.isdecimal() else 0


def _of_all(error: QuickstudyError) -> bool:
    """Whether every process of the job fails with this error, so that the first may say it.

    All see the same input until they have met; from then on, what is not a `JobError` is one's own.
    """
    distributed = sys.modules.get("torch.distributed")
    met = distributed is not None and distributed.is_initialized()
    return isinstance(error, JobError) or not met


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    if not message:
        return code
    who = f"process {_rank()}: " if _rank() else ""
    print(f"error: {who}{' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
