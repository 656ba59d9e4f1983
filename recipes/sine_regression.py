"""Learn to fit a sine from ten points: Finn et al. 2017 (MAML), section 5.1, figures 2 and 3.

Every task is a sine of its own amplitude and phase. MAML finds a start from which one gradient step
on ten points fits a new sine, and more steps fit it better. The control is the same net trained on
the same sines without inner steps: it learns their mean, and ten steps of fine-tuning on the same
points, even at the rate that serves it best, leave it far behind MAML's first step.

    python recipes/sine_regression.py             # about a minute
    python recipes/sine_regression.py --quick     # seconds, a rougher picture
"""

import argparse

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

import quickstudy as qs
from quickstudy.plots.adaptation import adaptation_picture

parser = argparse.ArgumentParser(description="MAML on sinusoids, beside a pretrained net.")
parser.add_argument("--quick", action="store_true", help="fewer outer steps and test tasks")
parser.add_argument("--out", default="sine_regression.png", help="where the picture goes")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
outer_steps, test_tasks = (400, 200) if args.quick else (6000, 1000)
torch.set_num_threads(1)  # nets this small gain nothing from more


class Net(nn.Sequential):
    """Two hidden layers of 40, as in the paper; the learner adds the output."""

    features = 40

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())


# Meta-train on 25 sines an outer step: ten points of each to learn from, ten to be judged on.
sines = qs.Sinusoids(shot=10, queries=10)
learners = {}
for name, inner_steps in {"MAML": 1, "pretrained": 0}.items():
    torch.manual_seed(args.seed)
    learner = qs.MAML(Net(), rule=qs.SGD(0.01), steps=inner_steps,  # 0: plain training
                      outputs=1, targets="values")  # fmt: skip
    list(qs.fit(learner, sines, steps=outer_steps, tasks_per_step=25, seed=args.seed,
                optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
                schedule=lambda adam: CosineAnnealingLR(adam, outer_steps)))  # fmt: skip
    learners[name] = learner

# The control may fine-tune at whichever rate is best for it, found on sines of their own.
control, scores = learners["pretrained"], {}
control.steps = 10
for rate in (0.003, 0.01, 0.02, 0.03):
    control.rule = qs.SGD(rate)
    scores[rate] = qs.evaluate(control, sines, tasks=test_tasks, seed=args.seed + 1).score
control.rule = qs.SGD(max(scores, key=scores.__getitem__))

# Meta-test: after 0..10 inner steps, the error on new sines, and what is made of one of them.
new = qs.Sinusoids(shot=10, queries=100)
(sine,) = qs.core.unstack(new.sample(1, torch.Generator().manual_seed(args.seed + 5)))
x, order = sine.query.x.sort(dim=0)
errors: dict[str, dict[int, qs.Evaluation]] = {name: {} for name in learners}
fits: dict[str, dict[int, torch.Tensor]] = {name: {} for name in learners}
for name, learner in learners.items():
    for steps in range(11):
        learner.steps = steps
        errors[name][steps] = qs.evaluate(learner, new, tasks=test_tasks, seed=args.seed + 2)
        if steps in (0, 1, 10):
            fits[name][steps] = learner.predict(learner.adapt(sine.support), x).detach()
print(f"mean squared error on {test_tasks} new sines, with 95 % intervals")
print("inner steps", *(f"{name:>15}" for name in learners))
for steps in (0, 1, 5, 10):
    print(f"{steps:11}", *(f"{evaluations[steps]!s:>15}" for evaluations in errors.values()))
adaptation_picture(args.out, x=x, truth=sine.query.y[order[:, 0]], support=sine.support[:2],
                   fits=fits, errors=errors, title="Ten points of a new sine")  # fmt: skip
print(f"picture: {args.out}")
