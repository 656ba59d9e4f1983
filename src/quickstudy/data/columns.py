"""Which columns of a table a model reads, and the units it reads them in."""

import math
from typing import Self

import torch
from jaxtyping import Float, Float32, Float64
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from quickstudy.errors import DataError


class Columns(BaseModel):
    """The columns of a table, and how they are standardised; stored with every model of a table.

    A standardised number is (number - mean) / deviation, with mean and standard deviation over the
    rows of the meta-train groups. Classes have no unit: there, only features have statistics.

    Attributes:
        group: the column whose values are the tasks; None where the target is the class.
        features: the columns that are a model's input, in its order.
        targets: the columns that it predicts.
        means: of the features, then of real targets.
        deviations: of the same, > 0.

    Examples:
        >>> columns = Columns.of(torch.tensor([[1.0, 10.0], [3.0, 30.0]]).double(), ["x"], ["y"],
        ...                      group="store")
        >>> columns.means, columns.deviations
        ((2.0, 20.0), (1.0, 10.0))
        >>> columns.in_units(torch.tensor([[0.5]]))
        tensor([[25.]], dtype=torch.float64)
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    group: str | None
    features: tuple[str, ...]
    targets: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        wanted = len(self.features) + (self.outputs or 0)
        if not self.features or not self.targets or len(self.means) != wanted:
            raise ValueError(f"wanted {wanted} means, got {len(self.means)}")
        if len(self.deviations) != wanted or min(self.deviations) <= 0:
            raise ValueError(f"wanted {wanted} deviations > 0, got {self.deviations}")
        return self

    @property
    def outputs(self) -> int | None:
        """How many real targets there are; None for classes."""
        return None if self.group is None else len(self.targets)

    @classmethod
    def of(
        cls,
        rows: Float64[Tensor, "n columns"],
        features: tuple[str, ...] | list[str],
        targets: tuple[str, ...] | list[str],
        group: str | None = None,
    ) -> "Columns":
        """Columns with the statistics of these rows.

        Args:
            rows: the features' columns, then those of real targets.
            features: their names.
            targets: their names; of the class column, where there is no group.
            group: of the group column.

        Raises:
            DataError: a column is the same in all rows; names it.
        """
        low, high = rows.amin(0), rows.amax(0)
        names = [f"feature {name!r}" for name in features]
        names += [f"target {name!r}" for name in targets] if group is not None else []
        means, deviations = rows.mean(0), rows.std(0, correction=0)
        for i, name in enumerate(names):
            if low[i] == high[i]:
                cure = "leave it out" if i < len(features) else "there is nothing to predict"
                raise DataError(
                    f"{name} is {float(low[i]):g} in all {len(rows)} rows of meta-train, "
                    f"so it cannot be standardised; {cure}"
                )
            if not (math.isfinite(deviations[i]) and deviations[i] > 0):
                raise DataError(
                    f"{name} spans {float(low[i]):g} to {float(high[i]):g}, which cannot be "
                    "standardised; rescale it"
                )
        return cls(
            group=group,
            features=tuple(features),
            targets=tuple(targets),
            means=tuple(means.tolist()),
            deviations=tuple(deviations.tolist()),
        )

    def standardised(
        self, rows: Float64[Tensor, "n columns"], first: int = 0
    ) -> Float32[Tensor, "n columns"]:
        """Rows in a model's units.

        Args:
            rows: the features' columns and those of real targets, or some of them in a row.
            first: the place of the first of these columns: 0, or the number of features.
        """
        used = slice(first, first + rows.shape[1])
        mean, deviation = (rows.new_tensor(s[used]) for s in (self.means, self.deviations))
        return ((rows - mean) / deviation).float()

    def in_units(self, predictions: Float[Tensor, "m d"]) -> Float64[Tensor, "m d"]:
        """Predictions of real targets in the table's own units."""
        count = len(self.features)
        deviation = torch.tensor(self.deviations[count:], dtype=torch.float64)
        mean = torch.tensor(self.means[count:], dtype=torch.float64)
        return predictions.double().cpu() * deviation + mean
