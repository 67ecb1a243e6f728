"""Random programs of the op table, as the source of a function.

A step is (name, i, j, k, number): what it does, and from which of the nodes so far, counted round.
So any step may be left out. The source is that of scalar code over micrograd_c's names, `mg`, and
over the methods of Values; a reference runs the same text with stand-ins for both.
"""

from reference import ARITY, spelled

NUMBERS = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 0.7, 1.0, 1.25, 2.0, 3.0]
POWERS = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
MIXED = [f"{name} {side}" for name in ("add", "sub", "mul", "div") for side in "lr"]
SEVERAL = ["sum", "dot", "chain", "where", "where", "largest", "smallest", "logsumexp", "softmax"]
STEPS = [*ARITY, *MIXED, *SEVERAL, "add", "mul", "sub", "mul"]


def step(rng, names):
    at = [rng.randrange(40) for _ in range(3)]
    name = rng.choice(names)
    return name, *at, rng.choice(POWERS if name == "powc" else NUMBERS)


def expression(step, nodes):
    """The step as Python, of the names of the nodes so far."""
    name, i, j, k, number = step
    a, b, c = (nodes[at % len(nodes)] for at in (i, j, k))
    if name in ARITY:
        return spelled(name, a, number if name == "powc" else b)
    if name in MIXED:
        return spelled(name[:-2], *((number, a) if name[-1] == "l" else (a, number)))
    if name == "detach":
        return f"{a}.detach()"
    if name == "sum":
        return f"mg.sum([{a}, {b}, {number}, {c}, {a}])"
    if name == "dot":
        return f"mg.dot([{a}, {b}, 2.0], [{c}, {number}, {a}])"
    if name == "chain":  # a sum of products, as a neuron writes it
        row = nodes[i % len(nodes) :][:4]
        return " + ".join([c, *(f"{w} * {x}" for w, x in zip(row, nodes))])
    if name == "where":
        return f"mg.where({a}, {b}, {c if j % 2 else number})"
    if name == "softmax":
        return f"mg.softmax([{a}, {b}, {c}])[1]"
    if name == "take":
        return f"mg.take([{a}, {b}, {number}], i)"
    name = {"largest": "max", "smallest": "min"}.get(name, name)
    return f"mg.{name}([{a}, {b}, {c}])"


def body(steps, leaves):
    """(lines, names of all nodes): one assignment a step."""
    nodes, lines = list(leaves), []
    for k, one in enumerate(steps):
        lines.append(f"t{k} = {expression(one, nodes)}")
        nodes.append(f"t{k}")
    return lines, nodes


def function(head, lines, result):
    return "\n    ".join([f"def {head}:", *lines, f"return {result}"]) + "\n"
