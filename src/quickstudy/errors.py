"""The exceptions a careless user can meet.

    ValueError
    └── QuickstudyError     one line: what came and what was wanted
        ├── DataError       data that cannot become tasks
        ├── TaskError       a task or a query that does not fit its learner
        ├── ArtefactError   a stored model or state that is broken or unknown
        └── RunError        a run folder, or a training run, that cannot go on
            ├── JobError    what all of many processes raise alike; also that of a single one
            ├── PeerLost    one of many processes is gone, and the job with it
            └── StoreError  the database cannot be reached or used

The command line prints each as ``error: <message>`` and exits with 2.
"""

__all__ = ["ArtefactError", "DataError", "PeerLost", "QuickstudyError", "RunError", "TaskError"]


class QuickstudyError(ValueError):
    """Something that came from outside is not what was wanted."""


class DataError(QuickstudyError):
    """Data that cannot become tasks: too few classes, unreadable files, ragged arrays."""


class TaskError(QuickstudyError):
    """A task or a query that does not fit its learner: another way, shape or kind of target."""


class ArtefactError(QuickstudyError):
    """A stored model or state that is missing, broken, newer than this library or unknown."""


class RunError(QuickstudyError):
    """A run folder that is not one, or a training run that cannot go on."""


class JobError(RunError):
    """What every process of a job raises alike, so that one of them says it for all."""


class StoreError(RunError):
    """The database of runs, models, keys and adaptations cannot be reached or used."""


class PeerLost(RunError):
    """Another of a job's many processes was killed or has failed; the run can be resumed."""
