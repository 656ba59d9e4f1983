"""Pictures, as PNG files. Each is imported from its module, as matplotlib takes a moment to load.

curve.py         the course of a run: `learning_curve`
task.py          a task of pictures with the answers: `task_picture`
adaptation.py    regression tasks, step by step: `adaptation_picture`
canvas.py        the sheet they are drawn on
"""
