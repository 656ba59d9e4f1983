"""How much one request, one key and all together may take."""

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """What a service allows.

    Attributes:
        body: bytes of a request.
        ways: classes of a support set.
        support: examples in it.
        queries: inputs of a question.
        deadline: seconds from a request's arrival to its answer.
        queue: requests that wait for the model; others are sent away.
        adapted: states a key may have; the one it used longest ago gives way, of those kept in the
            store the one made or extended longest ago.
        live: seconds until a state is forgotten.
        memory: bytes that states in memory take together; those used longest ago give way.
        image: pixels of one image file.
        pixels: pixels of all image files of a request.

    Examples:
        >>> Limits(ways=20).ways
        20
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body: int = Field(default=2_000_000, ge=1_000)
    ways: int = Field(default=50, ge=1)
    support: int = Field(default=500, ge=1)
    queries: int = Field(default=500, ge=1)
    deadline: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    queue: int = Field(default=256, ge=1)
    adapted: int = Field(default=100, ge=1)
    live: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    memory: int = Field(default=1_000_000_000, ge=1_000_000)
    image: int = Field(default=16_000_000, ge=784)
    pixels: int = Field(default=64_000_000, ge=784)
