"""Records what PyTorch's optimisers do to a fixed problem: python tests/record_optim.py

Writes optim_torch.json beside this file; test_optim.py compares with it, and needs no PyTorch.
"""

import json
from pathlib import Path

RECORDED = Path(__file__).with_name("optim_torch.json")
START = [-1.2, 1.0, -0.7, 1.5, 0.3]
STEPS = [1, 10, 100]
SETTINGS = [
    ("SGD", {}),
    ("SGD", {"lr": 3e-4}),
    ("SGD", {"lr": 1e-4, "weight_decay": 0.3}),
    ("SGD", {"lr": 1e-4, "momentum": 0.9}),
    ("SGD", {"lr": 1e-4, "momentum": 0.8, "dampening": 0.4}),
    ("SGD", {"lr": 1e-4, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 1e-4, "momentum": 0.7, "weight_decay": 0.5, "nesterov": True}),
    ("SGD", {"lr": 1e-4, "momentum": 0.7, "dampening": 0.9, "weight_decay": 0.5}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.7, 0.95)}),
    ("Adam", {"lr": 0.02, "betas": (0.0, 0.5)}),
    ("Adam", {"lr": 0.05, "eps": 0.1}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.3}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.4}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0}),
]
NORMS = [0.0, 1.0, 250.0, 1e6]


def rosenbrock(xs):
    return sum(100 * (y - x * x) ** 2 + (1 - x) ** 2 for x, y in zip(xs, xs[1:]))


def gradient(xs):
    """That of rosenbrock, in plain floats: the same bits for every optimiser."""
    grads = [0.0] * len(xs)
    for k in range(len(xs) - 1):
        x, y = xs[k], xs[k + 1]
        grads[k] += -400 * x * (y - x * x) - 2 * (1 - x)
        grads[k + 1] += 200 * (y - x * x)
    return grads


def constant(step, lr):
    return {}


def scheduled_lr(step, lr):
    return {"lr": lr * (0.5 + 1 / (1 + step % 7))}


def intermittent_momentum(step, lr):
    """On from step 6, off and on again: what the buffer holds then is a rule of its own."""
    return {"momentum": 0.8 if step % 20 > 5 else 0.0}


# What a run assigns to the settings before each step.
SCHEDULES = {f.__name__: f for f in (constant, scheduled_lr, intermittent_momentum)}


def record():
    import torch

    def run(kind, settings, schedule):
        x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        optimizer = getattr(torch.optim, kind)([x], **settings)
        group = optimizer.param_groups[0]
        lr, after = group["lr"], {}
        for step in range(1, STEPS[-1] + 1):
            group.update(SCHEDULES[schedule](step, lr))
            x.grad = torch.tensor(gradient(x.tolist()), dtype=torch.float64)
            optimizer.step()
            if step in STEPS:
                after[step] = x.tolist()
        return {"kind": kind, "settings": settings, "schedule": schedule, "after": after}

    def clip(max_norm):
        x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        x.grad = torch.tensor(gradient(START), dtype=torch.float64)
        norm = torch.nn.utils.clip_grad_norm_([x], max_norm)
        return {"max_norm": max_norm, "norm": float(norm), "grad": x.grad.tolist()}

    runs = [run(*s, schedule) for s in SETTINGS for schedule in ("constant", "scheduled_lr")]
    for settings in ({}, {"lr": 1e-4, "dampening": 0.4}):
        runs.append(run("SGD", settings, "intermittent_momentum"))
    return {
        "torch": torch.__version__,
        "runs": runs,
        "clip": [clip(max_norm) for max_norm in NORMS],
    }


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), indent=1) + "\n")
