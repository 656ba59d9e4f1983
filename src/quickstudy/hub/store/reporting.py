"""A run that tells the store how it is going, and never waits for it.

The folder is the truth; the store is told now and then, by a thread of its own, and where it cannot
be reached training goes on and says so once.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quickstudy.hub.runs import Run

if TYPE_CHECKING:
    from quickstudy.hub.store.runs import RunIndex

EVERY_SECONDS = 2.0
"""Between two looks at whether there is news."""
LAST_SECONDS = 10.0
"""How long the end of a run may wait for the store."""
_logger = logging.getLogger(__name__)


class Reporter:
    """Tells the store of a run, in the background.

    Args:
        run: whose folder and lock this process holds.
        url: as `store_url` takes it.
    """

    def __init__(self, run: Run, url: str | None = None) -> None:
        self.run = run
        self._url = url
        self._news: dict[str, Any] = {"state": "running", "said": None}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="quickstudy-reporter", daemon=True)
        self._thread.start()

    def tell(self, row: Mapping[str, Any]) -> None:
        """Take over what happened in a step, as the record of the run has it."""
        news = {name: row.get(name) for name in ("step", "seconds", "loss")}
        look = row.get("validation")
        if look:
            news["metric"] = look["metric"]
        if look and look["best"]:
            news["validation"] = look["mean"]
        with self._lock:
            self._news.update(news)

    def end(self, state: str, said: str | None = None, control: float | None = None) -> None:
        """Tell how it ended, and wait a little until the store knows."""
        with self._lock:
            self._news |= {"state": state, "said": said}
            if control is not None:
                self._news["control"] = control
        self._over.set()
        self._thread.join(LAST_SECONDS)
        if self._thread.is_alive():
            _logger.warning("the store does not answer; `quickstudy runs rebuild` catches up")

    def _work(self) -> None:
        try:
            from quickstudy.hub.store.runs import RunIndex, row_of_run

            index = RunIndex(self._url)
            try:
                row = row_of_run(self.run)
                index.put(row)
                while True:
                    over = self._over.wait(EVERY_SECONDS)
                    self._update(index)
                    if over:
                        return
            finally:
                index.close()
        except Exception as error:
            _logger.warning(
                "this run is not in the store: %s; training goes on, and `quickstudy runs rebuild` "
                "catches up",
                error,
            )

    def _update(self, index: "RunIndex") -> None:
        with self._lock:
            news, self._news = self._news, {}
        if news:
            index.update(self.run.id, news | {"updated": datetime.now(UTC)})


@contextmanager
def reported_to_store(run: Run) -> Iterator[Reporter]:
    """Report a run while it is trained: how it goes, and whether it finished, stopped or failed."""
    reporter = Reporter(run)
    try:
        yield reporter
    except GeneratorExit:
        reporter.end("stopped")
        raise
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        reporter.end("stopped" if stopped else "failed", None if stopped else str(error))
        raise
    control = run.report().get("control") if run.finished else None
    reporter.end("finished" if run.finished else "stopped", control=control and control["mean"])
