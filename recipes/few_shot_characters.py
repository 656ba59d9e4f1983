"""Learn to tell new characters apart from one drawing of each.

Meta-trains a prototypical network (Snell et al. 2017) on the characters of the fonts that come with
matplotlib, drawn by an unsteady pen; nothing is downloaded. It is judged on Armenian and Georgian,
of which it saw no character, beside a control that learned nothing. Then it is shown one drawing of
each of your own symbols, or of five Armenian and Georgian letters, and answers for the others.

    python recipes/few_shot_characters.py                    # some minutes on two cores
    python recipes/few_shot_characters.py --quick            # seconds, far less accurate
    python recipes/few_shot_characters.py --drawings mine    # mine/<symbol>/<any name>.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import quickstudy as qs
from quickstudy.data.pictures import from_pictures
from quickstudy.hub.image_source import INK
from quickstudy.hub.sources import open_source
from quickstudy.plots.task import task_picture

parser = argparse.ArgumentParser(description="One drawing of each new character is enough.")
parser.add_argument("--quick", action="store_true", help="fewer, smaller tasks and a smaller net")
parser.add_argument("--drawings", type=Path, help="a folder of a folder of drawings per symbol")
parser.add_argument("--out", default="few_shot_characters.png", help="where the picture goes")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
steps, ways, width, test_tasks = (100, 10, 32, 100) if args.quick else (1500, 30, 64, 1000)

# Tasks: the classes are characters, and those turned by quarters; meta-test is upright.
characters = open_source("glyphs")
training = characters.training_tasks(ways, shots=1, queries=4, rotations=True, warp="pen")
testing = characters.tasks("test", ways=5, shots=1, queries=5)

# Meta-train. The temperature, at first the embedding's width, is learned.
torch.manual_seed(args.seed)
net = qs.Conv4(channels=1, width=width)
learner = qs.ProtoNet(net, temperature=float(net.features), learn_temperature=True)
adam = torch.optim.Adam(learner.parameters())
one_cycle = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=4e-3, total_steps=steps)
for progress in qs.fit(learner, training, steps=steps, tasks_per_step=1, seed=args.seed,
                       optimizer=lambda _: adam, schedule=lambda _: one_cycle):  # fmt: skip
    if progress.step % (steps // 10) == 0:
        print(f"step {progress.step:5} of {steps}, loss {progress.loss:.2f}")

# Meta-test, beside the control on the same tasks.
print(f"accuracy on {test_tasks} tasks: 5-way 1-shot, 5 queries a class, with 95 % intervals")
for name, judged in {"ProtoNet": learner, "raw pixels": qs.NearestMean()}.items():
    print(f"{name:>12}: {qs.evaluate(judged, testing, tasks=test_tasks, seed=args.seed)}")

# Adapt: one drawing of each symbol is shown, the others are asked.
if args.drawings:
    files = sorted(args.drawings.glob("*/[!.]*"))
    drawings, symbols = from_pictures(files, INK).numpy(), [file.parent.name for file in files]
else:
    (task,) = qs.core.unstack(testing.sample(1, torch.Generator().manual_seed(args.seed)))
    drawings = torch.cat([part.x for part in task]).numpy()
    symbols = ["abcde"[label] for part in task for label in part.y.argmax(-1).tolist()]
shown = [symbols.index(symbol) for symbol in dict.fromkeys(symbols)]
asked = np.setdiff1d(np.arange(len(symbols)), shown)
classifier = qs.FewShotClassifier(learner, preprocessing=INK)
classifier.fit(drawings[shown], [symbols[i] for i in shown])
answers, truths = classifier.predict(drawings[asked]).tolist(), [symbols[i] for i in asked]
right = sum(answer == truth for answer, truth in zip(answers, truths, strict=True))
print(f"shown one drawing of each of {len(shown)} symbols: {right} of {len(asked)} others right")
task_picture(drawings[shown], [symbols[i] for i in shown], drawings[asked], truths, answers,
             args.out, title="One drawing of each was shown", dark_ink=True)  # fmt: skip
print(f"picture: {args.out}")
