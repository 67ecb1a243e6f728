"""Derivatives of functions, to the third order, against Taylor series over mpmath.

The reference runs twice, the second time with every intermediate coefficient changed by a little:
what that does to a derivative says how much roundings may do to it.
"""

import math
import random

import numpy as np

from . import Case, Skip, Wrong, programs
from .jets import DELTA, Jet, Words, monomials, mp

STEPS = programs.STEPS
SPECIAL = [0.0, 1.0, -1.0, 0.5, 2.0]
SCALAR = {  # what is asked of a function with one number as its result, and its order
    "grad": 1,
    "value_and_grad": 1,
    "jvp": 1,
    "vjp": 1,
    "compiled grad": 1,
    "hessian": 2,
    "sparse hessian": 2,
    "hvp": 2,
    "jacobian of grad": 2,
    "jvp of grad": 2,
    "grad of Values": 2,
    "backward through grad": 2,
    "jacobian of hessian": 3,
    "jacobian of hvp": 3,
    "hvp of a directional derivative": 3,
}
SEVERAL = {"jacobian": 1, "sparse jacobian": 1, "jvp": 1, "vjp": 1, "jacobian of jacobian": 2}
try:
    import scipy.sparse  # noqa: F401
except ImportError:
    SCALAR.pop("sparse hessian")
    SEVERAL.pop("sparse jacobian")


def case(rng):
    variables = rng.choice([1, 2, 2, 3, 3, 8])
    form = "array" if variables == 8 else rng.choice(["array", "array", "list", "floats"])
    results = rng.choice([1, 1, 1, 2, 3] if variables < 8 else [1, 5, 9])
    asked = SCALAR if results == 1 else SEVERAL
    if variables == 8:  # matrices are sparse; without the higher orders, which take long
        asked = [name for name, order in asked.items() if order == (2 if results == 1 else 1)]
    setup = {
        "form": form,
        "x": [
            rng.choice(SPECIAL) if rng.random() < 0.15 else round(rng.gauss(0, 1.2), 3)
            for _ in range(variables)
        ],
        "v": [round(rng.gauss(0, 1), 2) for _ in range(max(variables, results))],
        "results": results,
        "asked": rng.sample(sorted(asked), rng.choice([1, 1, 2])),
    }
    return Case(setup, [programs.step(rng, STEPS) for _ in range(rng.choice([2, 4, 6, 9]))])


def leaves(setup):
    n = len(setup["x"])
    return [f"x{k}" if setup["form"] == "floats" else f"x[{k}]" for k in range(n)]


class Program:
    """What is left of a case where the steps that are out of scale are left out."""

    def __init__(self, case):
        setup = case.setup
        asked = SCALAR if setup["results"] == 1 else SEVERAL
        self.order = max(asked[name] for name in setup["asked"])
        self.kind = len(setup["x"]), self.order
        names, nodes, known = self.names(setup), leaves(setup), leaves(setup)
        lines = []
        for k, step in enumerate(case.steps):
            text = programs.expression(step, nodes)
            jet = eval(text, names)
            names[f"t{k}"] = jet
            if jet.coefficients is None and len(nodes) - len(known) >= 3:
                continue  # a few whose number is unknown, for branches that are not chosen
            lines.append(f"t{k} = {text}")
            nodes.append(f"t{k}")
            if jet.coefficients is not None:
                known.append(f"t{k}")
        made = known[self.kind[0] :] or known
        terms = [made[-1], *made[:-1:3]]
        results = [" + ".join(terms), f"{made[len(made) // 2]} * 1.5", f"{made[0]} + {known[0]}"]
        results += [
            f"{made[k % len(made)]} * {known[k % len(known)]}" for k in range(1, setup["results"])
        ]
        count = setup["results"]
        result = results[0] if count == 1 else f"[{', '.join(results[:count])}]"
        arguments = ", ".join(leaves(setup)) if setup["form"] == "floats" else "x"
        self.text = programs.function(f"f({arguments})", lines, result)
        self.setup = setup

    def names(self, setup):
        x = [Jet.variable(self.kind, k, number) for k, number in enumerate(setup["x"])]
        return {"mg": Words, "abs": abs, "x": x, **{f"x{k}": v for k, v in enumerate(x)}}

    def jets(self, wobble):
        """The results."""
        Jet.wobble = random.Random(0) if wobble else None
        try:
            names = self.names(self.setup)
            exec(self.text, names)
            x = names["x"]
            found = names["f"](*x) if self.setup["form"] == "floats" else names["f"](x)
        finally:
            Jet.wobble = None
        found = found if isinstance(found, list) else [found]
        if any(jet.coefficients is None for jet in found):
            raise Skip
        return found

    def derivatives(self):
        """{order: (exact, changed)}: arrays of mpmath's numbers, of shape (results, n, n, ...)."""
        pairs = list(zip(self.jets(False), self.jets(True)))
        n = self.kind[0]
        at = {m: k for k, m in enumerate(monomials(*self.kind))}
        found = {}
        for order in range(self.order + 1):
            exact, changed = (np.empty((len(pairs), *[n] * order), object) for _ in range(2))
            for place in np.ndindex(exact.shape):
                m = tuple(place[1:].count(k) for k in range(n))
                factor = math.prod(map(math.factorial, m))
                exact[place], changed[place] = (
                    jet.coefficients[at[m]] * factor for jet in pairs[place[0]]
                )
            found[order] = exact, changed
        return found


FLOOR = 1e-24  # below which series by numerical differentiation say nothing


def compare(what, ours, expected):
    exact, changed = (np.asarray(numbers, object) for numbers in expected)
    ours = np.asarray(ours, float)
    if ours.shape != exact.shape:
        raise Wrong(f"{what} has shape {ours.shape}, not {exact.shape}")
    spread = np.asarray(np.abs(changed - exact) / DELTA, object)
    most = spread.max(initial=0)
    for place in np.ndindex(exact.shape):
        room = 2.0**-52 * (300 * spread[place] + 30 * most + 10 * abs(exact[place])) + FLOOR
        if not abs(mp.mpf(float(ours[place])) - exact[place]) <= room:
            raise Wrong(
                f"{what}: {ours[place]!r} at {list(place)}, where the reference has"
                f" {mp.nstr(exact[place], 17)} with room for {mp.nstr(room, 3)}"
            )


def along(pair, *vectors):
    """Derivatives along vectors, from the last axis on."""
    for v in vectors:
        pair = tuple(a @ np.array([mp.mpf(x) for x in v], object) for a in pair)
    return pair


def first(pair):
    return pair[0][0], pair[1][0]


def run(case):
    program = Program(case)
    found = program.derivatives()
    names = {}
    exec(head(program, case.setup), names)
    for asked in case.setup["asked"]:
        for text, expected in answers(asked, case.setup, found):
            compare(text, eval(text, names), expected)


def head(program, setup):
    """The source of the function and of its arguments."""
    array = "np.array({})" if setup["form"] == "array" else "{}"
    lines = [
        "import numpy as np",
        "import micrograd_c as mg",
        program.text,
        f"x = {array.format(setup['x'])}",
        f"v = {array.format(setup['v'][: len(setup['x'])])}",
        f"heads = {setup['v'][0] if setup['results'] == 1 else setup['v'][: setup['results']]}",
        "values = mg.array(x)" if setup["form"] == "array" else "values = list(map(mg.Value, x))",
        "",
    ]
    if setup["form"] == "floats":
        lines[3:3] = ["several, f = f, lambda x: several(*x)"]
    return "\n".join(lines)


def answers(asked, setup, found):
    """(an expression, what it should be), ..."""
    v, heads = setup["v"][: len(setup["x"])], setup["v"][: setup["results"]]
    value, slope = found[0], found[1]
    if setup["results"] == 1:
        value, slope = first(value), first(slope)
    if asked == "grad" and setup["form"] == "floats":
        argnums = tuple(range(len(v)))
        yield f"mg.grad(several, argnums={argnums})(*x)", slope
    elif asked == "grad":
        yield "mg.grad(f)(x)", slope
    elif asked == "value_and_grad":
        yield "mg.value_and_grad(f)(x)[0]", value
        yield "mg.value_and_grad(f)(x)[1]", slope
    elif asked == "jvp":
        yield "mg.jvp(f, (x,), (v,))[0]", value
        yield "mg.jvp(f, (x,), (v,))[1]", along(slope, v)
    elif asked == "vjp":
        yield "mg.vjp(f, x)[0]", value
        yield "mg.vjp(f, x)[1](heads)[0]", along(tuple(a.T for a in found[1]), heads)
    elif asked == "compiled grad":
        yield "[g.data for g in mg.compile(mg.grad(f))(x)]", slope
    elif asked == "jacobian":
        yield "mg.jacobian(f)(x)", slope
    elif asked == "sparse jacobian":
        yield "mg.jacobian(f, sparse=True)(x).toarray()", slope
    elif asked == "jacobian of jacobian":
        yield "mg.jacobian(mg.jacobian(f))(x)", found[2]
    elif asked == "hessian":
        yield "mg.hessian(f)(x)", first(found[2])
    elif asked == "sparse hessian":
        yield "mg.hessian(f, sparse=True)(x).toarray()", first(found[2])
    elif asked == "hvp":
        yield "mg.hvp(f, x, v)", along(first(found[2]), v)
    elif asked == "jacobian of grad":
        yield "mg.jacobian(mg.grad(f))(x)", first(found[2])
    elif asked == "jvp of grad":
        yield "mg.jvp(mg.grad(f), (x,), (v,))[0]", slope
        yield "mg.jvp(mg.grad(f), (x,), (v,))[1]", along(first(found[2]), v)
    elif asked == "grad of Values":
        yield "[g.data for g in mg.grad(f)(values)]", slope
    elif asked == "backward through grad":
        text = "mg.dot([*mg.grad(f)(values), 0 * values[0]], [*v, 1]).backward()"
        yield f"{text} or [a.grad for a in values]", along(first(found[2]), v)
    elif asked == "jacobian of hessian":
        yield "mg.jacobian(mg.hessian(f))(x)", first(found[3])
    elif asked == "jacobian of hvp":
        yield "mg.jacobian(lambda x: mg.hvp(f, x, v))(x)", along(first(found[3]), v)
    elif asked == "hvp of a directional derivative":
        yield "mg.hvp(lambda x: mg.jvp(f, (x,), (v,))[1], x, v)", along(first(found[3]), v, v)
    else:
        raise AssertionError(asked)


def script(case):
    program = Program(case)
    found = program.derivatives()
    texts = [text for a in case.setup["asked"] for text, _ in answers(a, case.setup, found)]
    return head(program, case.setup) + "\n".join(f"print({text})" for text in texts)
