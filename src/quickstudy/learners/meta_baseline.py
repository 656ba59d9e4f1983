"""Nearest centroids by cosine, at a learned scale."""

from torch import nn

from quickstudy.core.learner import Objective
from quickstudy.errors import TaskError
from quickstudy.learners.protonet import ProtoNet


class MetaBaseline(ProtoNet):
    """Queries go to the class whose mean embedding they make the smallest angle with.

    Lengths do not count, and how sure an angle makes one is learned.

    Paper: Chen et al. 2021, Meta-Baseline: exploring simple meta-learning for few-shot learning,
    section 3.2, the second of its stages. Differs: what the first stage learns, to classify all of
    meta-train at once, comes with the net or not at all; masked rows are ignored; at evaluation
    batch norms use population statistics, so prediction is inductive.

    Args:
        net: inputs [n, *input] to embeddings [n, d].
        scale: where the learned factor of the cosines starts, > 0.
        objective: of the queries, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, or the net holds torch's own batch norm.

    Examples:
        >>> import torch
        >>> from quickstudy.core import examples
        >>> learner = MetaBaseline(nn.Identity(), scale=10.0)
        >>> support = examples(torch.tensor([[9.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), way=2)
        >>> learner.predict(learner.adapt(support), torch.tensor([[3.0, 4.0]])).detach()
        tensor([[6., 8.]])
    """

    paper = "Chen et al. 2021, Meta-Baseline: exploring simple meta-learning for few-shot learning"
    meta_learned = "the embedding, and the scale of the cosines"
    also = ("cosine prototypes",)

    def __init__(
        self, net: nn.Module, scale: float = 10.0, objective: str | Objective | None = None
    ) -> None:
        if not scale > 0:
            raise TaskError(f"the scale of the cosines must be positive, got {scale}")
        super().__init__(net, "cosine", scale, learn_temperature=True, objective=objective)
        self.scale = scale
