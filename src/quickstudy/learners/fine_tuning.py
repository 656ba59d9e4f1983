"""Training goes on, on the support."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core import Examples, Inputs, State, UpdateRule, descend
from quickstudy.core.functional import forbid_absent
from quickstudy.core.learner import Objective
from quickstudy.core.rule import Params, RuleState
from quickstudy.core.tasks import zero_padding
from quickstudy.errors import TaskError
from quickstudy.learners.head import prototype_rows
from quickstudy.learners.pretrained import Pretrained

NET = "net."
"""Before the names of the net's parameters."""


class FineTuning(Pretrained):
    """A classifier of all meta-train classes that gets a new head, trained on the support.

    Paper: Dhillon et al. 2020, A baseline for few-shot image classification, section 3.1, which is
    `body`. The head alone is trained by the Baseline of Chen et al. 2019, A closer look at few-shot
    classification, section 3.1. Differs: the head starts where it decides as the nearest class mean
    does, and takes plain gradient steps on the whole support, so that adapting draws nothing; it is
    trained on features less their mean in the support and divided by how far from it they lie, so
    that a rate suits any net; batch norms keep to population statistics; masked and unlabelled rows
    are ignored.

    Args:
        net: inputs [n, *input] to embeddings [n, d]; says d in its attribute `features`.
        classes: of meta-train; None on a net that is trained already.
        body: train the net too, not the head alone.
        rate: of the head's steps, > 0.
        body_rate: of the net's steps, > 0.
        steps: on the support, >= 0.
        objective: of training and of the support, a name or a callable; cross-entropy where None.

    Raises:
        TaskError: an argument is out of range, a net that does not say its features, or one that
            holds torch's own batch norm.

    Examples:
        >>> from quickstudy.core import examples
        >>> from quickstudy.nets import MLP
        >>> learner = FineTuning(MLP(4, [8], 8), classes=64)
        >>> support = examples(torch.rand(10, 4), torch.arange(10) % 5, way=5)
        >>> learner.predict(learner.adapt(support), torch.rand(3, 4)).shape
        torch.Size([3, 5])
    """

    paper = "Dhillon et al. 2020, A baseline for few-shot image classification"
    adapt_cost = "one forward pass of the support, then `steps` of a new head; or of all, by `body`"
    also = ("finetune", "baseline")
    steps_argument = "steps"
    rate_argument = "rate"

    def __init__(
        self,
        net: nn.Module,
        classes: int | None = None,
        body: bool = False,
        rate: float = 1.0,
        body_rate: float = 0.01,
        steps: int = 50,
        objective: str | Objective | None = None,
    ) -> None:
        super().__init__(net, classes, objective)
        if not (rate > 0 and body_rate > 0):
            raise TaskError(
                f"the rates of head and body must be positive, got {rate} and {body_rate}"
            )
        if steps < 0:
            raise TaskError(f"FineTuning takes no fewer than zero steps, got {steps}")
        self.body = body
        self.rate = rate
        self.body_rate = body_rate
        self.steps = steps

    def adapt(self, support: Examples) -> State:
        """Train a new head on the support, and with `body` the net.

        Returns:
            "params", what was trained, by name, and "counts", the support examples of each way.
        """
        if not self.body:
            return super().adapt(support)
        support = zero_padding(support)
        net: dict[str, Tensor] = {f"{NET}{name}": p for name, p in self.net.named_parameters()}
        return self._train(lambda params: self._embed_by(params, support.x), net, support)

    def summarise(self, z: Float[Tensor, "n d"], support: Examples) -> State:
        """As `adapt`, of the head alone."""
        return self._train(lambda params: z, {}, support)

    def predict(self, state: State, x: Inputs) -> Float[Tensor, "m way"]:
        """Logits by the new head, on features of the net or of what it became."""
        return self.compare(state, self._embed_by(state["params"], x))

    def compare(self, state: State, z: Float[Tensor, "m d"]) -> Float[Tensor, "m way"]:
        """Logits of embeddings by the new head."""
        head = state["params"]
        return forbid_absent(z @ head["head.weight"].T + head["head.bias"], state["counts"])

    def _embed_by(self, params: dict[str, Tensor], x: Inputs) -> Float[Tensor, "n d"]:
        own = {k.removeprefix(NET): p for k, p in params.items() if k.startswith(NET)}
        z: Tensor = torch.func.functional_call(self.net, own, (x,)) if own else self.embed(x)
        return z

    def _train(
        self,
        features: Callable[[dict[str, Tensor]], Tensor],
        net: dict[str, Tensor],
        support: Examples,
    ) -> State:
        """Steps of a head, and of the net's parameters where there are any, from their start."""
        labels = support.y * support.mask[:, None]
        counts, labelled = labels.sum(0), labels.sum(1)
        z, each = features(net), labelled / labelled.sum().clamp(min=1)
        centre = each @ z
        far = (each @ (z - centre).square().sum(1)).clamp(min=1e-12).sqrt()
        start = net | prototype_rows((z - centre) / far, support)

        def loss(params: dict[str, Tensor], step: int) -> Tensor:
            state = {"params": params, "counts": counts}
            logits = self.compare(state, (features(params) - centre) / far)
            return self.measure(logits, support.y, support.mask)

        rule = _Rates(self.rate, self.body_rate)
        params = descend(rule, loss, start, self.steps, first_order=True)
        # The state is a value of its own, not the learner's parameters.
        params = {name: p.clone() if p is start[name] else p for name, p in params.items()}
        weight = params["head.weight"] / far  # of the features as they are
        bias = params["head.bias"] - weight @ centre
        return {"params": params | {"head.weight": weight, "head.bias": bias}, "counts": counts}


class _Rates(UpdateRule):
    """Gradient descent, of the head at one rate and of the net at another."""

    def __init__(self, head: float, net: float) -> None:
        super().__init__()
        self.head = head
        self.net = net

    def update(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step."""
        rates = {name: self.net if name.startswith(NET) else self.head for name in params}
        return {name: p - rates[name] * grads[name] for name, p in params.items()}, state
