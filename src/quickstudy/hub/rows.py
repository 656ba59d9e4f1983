"""Rows of a table as what a model adapts to, and as what it is asked."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quickstudy.artefacts.manifest import Manifest
from quickstudy.core import Examples, Learner, State, examples
from quickstudy.core.tasks import Task, check_targets
from quickstudy.data.columns import Columns
from quickstudy.data.frames import Frame, read_frame
from quickstudy.data.preprocessing import Preprocessing
from quickstudy.errors import DataError, RunError
from quickstudy.hub.inputs import as_input, in_parts, learned
from quickstudy.hub.tables import reading_of


class Named(NamedTuple):
    """Columns that a user names, for a model that knows none by name.

    Attributes:
        targets: to predict.
        features: inputs, in the model's order; all other numeric ones where None.
    """

    targets: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None


class Support(NamedTuple):
    """What was adapted to rows.

    Attributes:
        state: what the learner learned.
        labels: of the classes; None for real targets.
        counts: rows of each class, or of all.
        named: the columns, where the model itself knows none by name.
    """

    state: State
    labels: list[str] | None
    counts: list[int]
    named: Named | None


class Reader:
    """How a stored model reads tables.

    Args:
        learner: the model.
        manifest: what is known of it.
        path: where it is, for messages.
        named: columns, for a model that was not trained on a table.

    Raises:
        RunError: the model reads images; or it knows its columns and others are named.
    """

    def __init__(
        self, learner: Learner, manifest: Manifest, path: Path | str, named: Named
    ) -> None:
        columns = reading_of(manifest.preprocessing, path)
        if isinstance(columns, Preprocessing):
            raise RunError(f"the model in {path} was trained on images, so it reads no tables")
        if columns and (named.targets or named.features):
            flag, names = ("--targets", columns.targets) if named.targets else (
                "--features", columns.features)  # fmt: skip
            raise RunError(
                f"the model in {path} knows its columns, so it takes no {flag}; "
                f"its own are {', '.join(names)}"
            )
        self.learner = learner
        self.columns: Columns | None = columns
        self.shape = tuple(manifest.input_shape or ())
        self.path = path
        self.named = named

    def adapt(self, file: Path | str) -> Support:
        """Adapt to all rows of a file.

        Raises:
            DataError: the file is no table, lacks a column, holds rows of several groups or of
                fewer than two classes, or values that are no finite numbers.
            RunError: the columns to predict are not named.
            TaskError: the learner does not take so many targets.
        """
        frame = read_frame(str(file))
        targets = self.columns.targets if self.columns else self.named.targets
        if not targets:
            raise RunError(
                f"the model in {self.path} knows no columns by name: say which of {file} it is to "
                "predict with --targets"
            )
        frame.known("target", targets)
        features = self._features(frame, targets)
        if both := sorted({*features} & {*targets}):
            raise RunError(f"a column is an input or a target, got {both[0]!r} as both")
        x = self._inputs(frame, features)
        named = None if self.columns else Named(tuple(targets), tuple(features))
        if self.learner.targets == "classes":
            return self._classes(frame, targets, x, named)
        self._one_group(frame)
        rows = torch.from_numpy(frame.numbers("target", targets))
        y = (
            self.columns.standardised(rows, first=len(self.columns.features))
            if self.columns
            else rows
        ).to(x)
        support = Examples(x, y, torch.ones(len(y)).to(x))
        check_targets(self.learner, Task(support, support))
        return Support(learned(self.learner, support, frame.where), None, [len(y)], named)

    def _classes(
        self, frame: Frame, targets: Sequence[str], x: Tensor, named: Named | None
    ) -> Support:
        if len(targets) > 1:
            raise RunError(f"this model predicts one class column, got {', '.join(targets)}")
        frame.complete(targets)
        labels, codes = frame.codes(targets[0])
        if len(labels) < 2:
            raise DataError(
                f"{frame.where} must hold rows of at least 2 classes, got only {labels[0]!r} "
                f"in {targets[0]!r}"
            )
        marks = torch.from_numpy(codes).to(x.device)
        state = learned(self.learner, examples(x, marks, len(labels)), frame.where)
        return Support(state, labels, np.bincount(codes).tolist(), named)

    def _one_group(self, frame: Frame) -> None:
        """Refuse rows of several groups, where the file says of which they are."""
        group = self.columns.group if self.columns else None
        if group is None or group not in frame.names:
            return
        names, _ = frame.codes(group)
        if len(names) > 1:
            more = ", ..." if len(names) > 3 else ""
            raise DataError(
                f"{frame.where} must hold rows of one {group!r}, as each is a task of its own, "
                f"got {len(names)}: {', '.join(names[:3])}{more}"
            )

    def answer(
        self, file: Path | str, state: State, labels: Sequence[Any] | None
    ) -> list[dict[str, Any]]:
        """Answers to all rows of a file.

        Args:
            file: the table.
            state: what the model learned.
            labels: of the classes; None for real targets.

        Returns:
            For each row: file, row (from 0), label and probabilities (label to number); or
            predictions (target to number, in the table's own units).

        Raises:
            DataError: the file is no table, lacks a column, or has values that are no numbers.
        """
        frame = read_frame(str(file))
        x = self._inputs(frame, self._features(frame, ()))
        learner = self.learner
        ask = learner.predict if labels is None else learner.probabilities
        answers = in_parts(learner, ask, state, x)
        if labels is None and self.columns:
            answers = self.columns.in_units(answers)
        names = self.columns.targets if self.columns else self.named.targets
        return [
            {"file": str(file), "row": number, **answered(row, labels, names)}
            for number, row in enumerate(answers)
        ]

    def _features(self, frame: Frame, others: Sequence[str]) -> list[str]:
        """The columns that are inputs, in the model's order."""
        if self.columns:
            return list(self.columns.features)
        return list(self.named.features or frame.numeric_but(others))

    def _inputs(self, frame: Frame, names: Sequence[str]) -> Tensor:
        """The features of all rows, [n, *input], where the learner lies and in its precision."""
        frame.known("feature", names)
        wanted = math.prod(self.shape)
        if self.shape and len(names) != wanted:
            raise DataError(
                f"the model in {self.path} takes {wanted} numbers an input, got the columns "
                f"{', '.join(names) or 'none'} of {frame.where}; name its inputs with --features"
            )
        rows = torch.from_numpy(frame.numbers("feature", names))
        x = self.columns.standardised(rows) if self.columns else rows.float()
        return as_input(self.learner, x.reshape(len(x), *(self.shape or x.shape[1:])))


def answered(
    row: Tensor, labels: Sequence[Any] | None, targets: Sequence[str] = ()
) -> dict[str, Any]:
    """One answer as JSON: label and probabilities, or predictions by target.

    Raises:
        DataError: probabilities that are not finite name no label.

    Examples:
        >>> answered(torch.tensor([0.25, 0.75]), ["cat", "dog"])
        {'label': 'dog', 'probabilities': {'cat': 0.25, 'dog': 0.75}}
        >>> answered(torch.tensor([2.5]), None)
        {'predictions': {'target 1': 2.5}}
    """
    if labels is None:
        names = targets or [f"target {i + 1}" for i in range(len(row))]
        rounded = (float(f"{v:.7g}") if math.isfinite(v) else None for v in row.tolist())
        return {"predictions": dict(zip(names, rounded, strict=True))}
    values = row.tolist()
    if not all(map(math.isfinite, values)):
        raise DataError(
            "an input leads the model to numbers that are not finite: it is far from those that "
            "the model was trained on"
        )
    shares = {str(label): round(p, 6) for label, p in zip(labels, values, strict=True)}
    return {"label": labels[int(row.argmax())], "probabilities": shares}
