"""Pictures of a graph and of a program: trace, draw_dot and what a notebook shows."""

import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest
from micrograd.engine import Value as TheirValue

import micrograd_c
from micrograd_c import Value, nn, viz
from micrograd_c.viz import draw_dot, trace

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def tanh_neuron():
    """The neuron of the tutorial, with its labels and gradients."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    x1w1, x2w2 = x1 * w1, x2 * w2
    x1w1.label, x2w2.label = "x1*w1", "x2*w2"
    both = x1w1 + x2w2
    both.label = "x1*w1 + x2*w2"
    n = both + b
    n.label = "n"
    o = n.tanh()
    o.label = "o"
    o.backward()
    return o


def chain(length):
    """x + x + ... + x: a graph as deep as it is large, where one node has all the edges."""
    x = Value(1.0)
    y = x
    for _ in range(length):
        y = y + x
    return y


def texts(svg):
    """The words that a reader of the picture sees, in the order drawn."""
    root = ElementTree.fromstring(svg)
    return [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


# trace


def test_trace():
    a, b = Value(2.0), Value(3.0)
    product = a * b
    total = product + a
    nodes, edges = trace(total)
    assert nodes == {a, b, product, total}
    assert edges == {(a, product), (b, product), (product, total), (a, total)}


def test_trace_of_a_leaf():
    a = Value(1.0)
    assert trace(a) == ({a}, set())


def test_an_operand_used_twice_is_one_edge():
    a = Value(3.0)
    b = a + a
    assert trace(b) == ({a, b}, {(a, b)})


def test_trace_finds_nodes_that_nothing_else_holds():
    nodes, edges = trace(tanh_neuron())
    labels = {"x1", "w1", "x2", "w2", "b", "x1*w1", "x2*w2", "x1*w1 + x2*w2", "n", "o"}
    assert {node.label for node in nodes} == labels and len(nodes) == 10
    assert {(a.label, b.label) for a, b in edges} >= {("n", "o"), ("b", "n"), ("x1", "x1*w1")}
    assert len(edges) == 9


def test_trace_of_a_deep_graph():
    length = 10**5
    assert length > sys.getrecursionlimit()
    nodes, edges = trace(chain(length))
    assert len(nodes) == length + 1 and len(edges) == 2 * length - 1


def test_trace_of_micrograds_own_values():
    a, b = TheirValue(2.0), TheirValue(3.0)
    product = a * b
    relu = product.relu()
    assert trace(relu) == ({a, b, product, relu}, {(a, product), (b, product), (product, relu)})


# draw_dot

SOURCE = """\
digraph {
    graph [rankdir=LR]
    n0 [label="{ x | data 2.0000 | grad 6.0000 }" shape=record]
    n1 [label="{ w | data -3.0000 | grad -4.0000 }" shape=record]
    n2 [label="{  | data -6.0000 | grad -2.0000 }" shape=record]
    op2 [label="*"]
    op2 -> n2
    n3 [label="{ b | data 5.0000 | grad -2.0000 }" shape=record]
    n4 [label="{  | data -1.0000 | grad -2.0000 }" shape=record]
    op4 [label="+"]
    op4 -> n4
    n5 [label="{ y | data 1.0000 | grad 1.0000 }" shape=record]
    op5 [label="**2"]
    op5 -> n5
    n0 -> op2
    n1 -> op2
    n2 -> op4
    n3 -> op4
    n4 -> op5
}
"""


@pytest.mark.parametrize("label_of_leaf", ["x", 'other "quoted" label'])
def test_the_source_of_a_drawing(label_of_leaf):
    x, w, b = Value(2.0, label=label_of_leaf), Value(-3.0, label="w"), Value(5.0, label="b")
    y = (x * w + b) ** 2
    y.label = "y"
    y.backward()
    expected = SOURCE.replace("{ x |", "{ " + label_of_leaf.replace('"', r"\"") + " |")
    assert draw_dot(y).source.expandtabs(4) == expected


def test_a_drawing_has_the_nodes_and_edges_of_trace():
    random.seed(1)
    root = nn.MLP(2, [3, 2, 1])([Value(1.0), Value(-2.0)])
    nodes, edges = trace(root)
    operations = [node for node in nodes if node._op]
    source = draw_dot(root).source
    assert source.count("shape=record") == len(nodes)
    assert len(re.findall(r"^\top\d+ \[", source, re.MULTILINE)) == len(operations)
    assert source.count(" -> ") == len(edges) + len(operations)


def test_a_value_used_twice_is_drawn_with_one_edge():
    a = Value(3.0)
    assert draw_dot(a * a).source.count("n0 -> op1") == 1


def test_children_without_an_operation():
    a = Value(3.0)
    assert "n0 -> n1" in draw_dot(Value(1.0, (a,))).source


def test_drawings_are_the_same_in_every_process():
    program = textwrap.dedent("""\
        import random
        from micrograd.engine import Value as Theirs
        from micrograd_c import Value, nn
        from micrograd_c.viz import draw_dot
        kept = [object() for _ in range(int(__import__('sys').argv[1]))]  # other addresses
        random.seed(1)
        print(draw_dot(nn.MLP(3, [4, 4, 1])([Value(1.0), Value(2.0), Value(3.0)])).source)
        a, b, c = Theirs(2.0), Theirs(-3.0), Theirs(10.0)
        print(draw_dot((a * b + c).relu() - b * 2 * a).source)
    """)
    command = [sys.executable, "-c", program]
    printed = {
        subprocess.run(
            [*command, str(count)],
            env={**os.environ, "PYTHONHASHSEED": str(count)},
            capture_output=True,
            check=True,
        ).stdout
        for count in (0, 1, 12345)
    }
    assert len(printed) == 1 and printed.pop().count(b"digraph") == 2


def test_micrograds_own_values():
    a = TheirValue(2)
    y = (a * -3.0 + 7).relu()
    y.backward()
    source = draw_dot(y).source
    assert "{  | data 1.0000 | grad 1.0000 }" in source and "op4 [label=ReLU]" not in source
    assert source.count("shape=record") == 6 and "label=ReLU" in source


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_rankdir(rankdir):
    assert f"graph [rankdir={rankdir}]" in draw_dot(Value(1.0), rankdir=rankdir).source


def test_what_there_is_no_drawing_in():
    with pytest.raises(ValueError, match="rankdir must be LR, TB, RL or BT, not 'up'"):
        draw_dot(Value(1.0), rankdir="up")
    with pytest.raises(ValueError, match="format"):
        draw_dot(Value(1.0), format="poem")


@needs_dot
def test_pictures(tmp_path):
    o = tanh_neuron()
    svg = texts(draw_dot(o).pipe(encoding="utf-8"))
    assert set(svg) >= {"x1*w1 + x2*w2", "data 0.7071", "grad 1.0000", "tanh", "+", "*"}
    assert svg.count("*") == svg.count("+") == 2
    assert draw_dot(o, format="png").pipe().startswith(b"\x89PNG")
    path = draw_dot(o, format="pdf").render(tmp_path / "neuron", cleanup=True)
    assert os.listdir(tmp_path) == ["neuron.pdf"] and path.endswith("neuron.pdf")


# draw_dot: partials and tangents


def two_sums():
    """e = (a + b) * (b + 1) at a = 2, b = 1, of "Calculus on Computational Graphs"."""
    a, b = Value(2.0, label="a"), Value(1.0, label="b")
    c, d = a + b, b + 1
    e = c * d
    c.label, d.label, e.label = "c", "d", "e"
    return a, b, c, d, e


def shown_edges(dot):
    """(operand, operation's result, text) for each edge into an operation."""
    names = {node: fields[0] for node, fields in boxes(dot.source).items()}
    lines = re.findall(r"^\t(n\d+) -> (?:op|n)(\d+)(?: \[label=(.*)\])?$", dot.source, re.MULTILINE)
    return sorted((names[a], names[f"n{b}"], text.strip('"')) for a, b, text in lines)


def shown_fields(dot):
    return {fields[0]: fields[1:] for fields in boxes(dot.source).values()}


def test_partials_on_the_edges():
    a, b, c, d, e = two_sums()
    e.backward()
    dot = draw_dot(e, partials=True)
    assert shown_edges(dot) == [
        ("", "d", "1"),
        ("a", "c", "1"),
        ("b", "c", "1"),
        ("b", "d", "1"),
        ("c", "e", "2"),
        ("d", "e", "3"),
    ]
    assert shown_fields(dot) == shown_fields(draw_dot(e))
    assert shown_fields(dot)["b"] == ("data 1.0000", "grad 5.0000")


def test_the_derivative_of_every_node_by_one():
    a, b, c, d, e = two_sums()
    shown = shown_fields(draw_dot(e, tangent=b))
    assert shown == {
        "a": ("data 2.0000", "d/db 0.0000"),
        "b": ("data 1.0000", "d/db 1.0000"),
        "": ("data 1.0000", "d/db 0.0000"),
        "c": ("data 3.0000", "d/db 1.0000"),
        "d": ("data 2.0000", "d/db 1.0000"),
        "e": ("data 6.0000", "d/db 5.0000"),
    }
    assert {text for *_, text in shown_edges(draw_dot(e, tangent=b))} == {""}
    both = draw_dot(e, partials=True, tangent=a)
    assert shown_fields(both)["e"] == ("data 6.0000", "d/da 2.0000")
    assert ("d", "e", "3") in shown_edges(both)
    assert (a.grad, b.grad, e.grad) == (0.0, 0.0, 0.0)


def test_the_derivative_by_a_node_in_the_middle():
    a, b, c, d, e = two_sums()
    c.label = "a + b"
    shown = shown_fields(draw_dot(e, tangent=c))
    assert [shown[name][1] for name in ("a", "b", "a + b", "d", "e")] == [
        "d/d(a + b) 0.0000",
        "d/d(a + b) 0.0000",
        "d/d(a + b) 1.0000",
        "d/d(a + b) 0.0000",
        "d/d(a + b) 2.0000",
    ]
    c.label = ""
    assert "tangent 2.0000" in draw_dot(e, tangent=c).source


def test_by_a_value_that_the_root_does_not_depend_on_it_is_0():
    x = Value(2.0, label="x")
    y = x.detach() * 3
    assert draw_dot(y, tangent=x).source.count("d/dx 0.0000") == 3


def test_a_value_used_twice_has_two_edges_with_partials():
    x = Value(3.0, label="x")
    y = x * x
    y.label = "y"
    assert shown_edges(draw_dot(y, partials=True)) == [("x", "y", "3"), ("x", "y", "3")]
    assert shown_edges(draw_dot(y, tangent=x)) == [("x", "y", "")]
    assert "d/dx 6.0000" in draw_dot(y, tangent=x).source


def test_partials_of_nodes_with_many_operands():
    a, b = Value(2.0, label="a"), Value(5.0, label="b")
    product = micrograd_c.dot([a, b], [b, b])
    assert shown_edges(draw_dot(product, partials=True)) == [
        ("a", "", "5"),
        ("b", "", "2"),
        ("b", "", "5"),
        ("b", "", "5"),
    ]
    assert "d/db 12.0000" in draw_dot(product, tangent=b).source


def test_partials_that_are_not_finite_or_long():
    x = Value(0.0, label="x")
    assert [text for *_, text in shown_edges(draw_dot(x.sqrt(), partials=True))] == ["inf"]
    third = Value(3.0, label="x").log()
    assert [text for *_, text in shown_edges(draw_dot(third, partials=True))] == ["0.3333"]


def test_what_does_not_depend_on_the_variable_stays_out_of_its_tangents():
    x, y = Value(0.0, label="x"), Value(2.0, label="y")
    assert "d/dy 1.0000" in draw_dot(x.sqrt() + y, tangent=y).source  # not 0 * inf


def with_closure():
    """double(a) + b * b, where only a closure knows the derivative of double."""
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    double = Value(2 * a.data, (a,), "double")
    double.label = "two a"

    def step():
        a.grad += 2 * double.grad

    double._backward = step
    return a, b, double, double + b * b


def test_partials_that_only_a_closure_knows():
    a, b, double, y = with_closure()
    edges = shown_edges(draw_dot(y, partials=True))
    assert ("a", "two a", "?") in edges and ("two a", "", "1") in edges
    assert "d/db 6.0000" in draw_dot(y, tangent=b).source
    with pytest.raises(ValueError, match="operation 'double' of 'two a' does not tell its partial"):
        draw_dot(y, tangent=a)


def test_a_closure_that_replaces_an_operations_own_step():
    a = Value(2.0, label="a")
    y = a * 3
    y._backward = lambda: None
    assert {text for *_, text in shown_edges(draw_dot(y, partials=True))} == {"?"}
    with pytest.raises(ValueError, match=r"'\*' of a Value without a label"):
        draw_dot(y, tangent=a)


class Dialect:
    """A Value of the local-gradients dialect, as programs have them."""

    grad, _op = 0.0, ""

    def __init__(self, data, children=(), local_grads=(), label=""):
        self.data, self._children, self._local_grads = data, children, local_grads
        self.label = label


def test_partials_and_tangents_of_other_values_with_local_gradients():
    x = Dialect(3.0, label="x")
    y = Dialect(9.0, (x, x), (3.0, 3.0), "y")
    dot = draw_dot(y, partials=True, tangent=x)
    assert shown_edges(dot) == [("x", "y", "3"), ("x", "y", "3")]
    assert shown_fields(dot)["y"] == ("data 9.0000", "d/dx 6.0000")


def test_what_has_no_partials():
    a, b = TheirValue(2.0), Value(3.0)
    with pytest.raises(TypeError, match="Values with _local_grads, which Value lacks"):
        draw_dot(a * a, partials=True)
    with pytest.raises(TypeError, match="tangent must be a Value with _local_grads, not Value"):
        draw_dot(a * a, tangent=a)
    with pytest.raises(TypeError, match="tangent must be a Value .* not float"):
        draw_dot(b * 2, tangent=3.0)
    program = compiled(lambda x: x * b, 1.0)
    for options in ({"partials": True}, {"tangent": b}):
        with pytest.raises(TypeError, match="partials and tangent are of Values: a Program"):
            draw_dot(program, **options)


@needs_dot
def test_pictures_with_partials_and_tangents():
    a, b, c, d, e = two_sums()
    shown = texts(draw_dot(e, partials=True, tangent=b).pipe(encoding="utf-8"))
    assert {"d/db 5.0000", "2", "3"} <= set(shown) and shown.count("1") == 4


LABELS = [
    "{a|b}",
    "<p> | <q>",
    r"\n \N \G \l \{ \\ \\{ \|",
    "ends in \\",
    "a & b &amp; &#65; &lt;",
    'he said "no" \\"',
    "<b>not html</b>",
    "ünï ∂x/∂y 漢",
    "port:n, a -> b; [c] // d /* e */ # f",
    "%s %d {0}",
    "x",
    "node",
]


@needs_dot
@pytest.mark.parametrize("text", LABELS)
def test_any_text_is_shown_as_it_is(text):
    a = Value(1.0, label=text)
    b = Value(2.0, (a,), text)
    b.label = text
    assert texts(draw_dot(b).pipe(encoding="utf-8")).count(text) == 3


@needs_dot
def test_random_text_is_shown_as_it_is():
    rng = random.Random(1)
    wrong = []
    for _ in range(40):
        text = "".join(rng.choice('\\{}|<>&"nNlt;:a') for _ in range(8))
        if texts(draw_dot(Value(1.0, label=text)).pipe(encoding="utf-8"))[0] != text:
            wrong.append(text)
    assert wrong == []


@needs_dot
def test_a_label_of_two_lines():
    shown = texts(draw_dot(Value(1.0, label="two\nlines")).pipe(encoding="utf-8"))
    assert shown[:2] == ["two", "lines"]


# Programs

PROGRAM_SOURCE = """\
digraph {
    graph [rankdir=LR]
    n0 [label="{ x | input }" shape=record]
    n1 [label="{ y[0] | input }" shape=record]
    n2 [label="{ y[1] | input }" shape=record]
    n3 [label="{ w | data -3.0000 | grad 0.0000 }" shape=record]
    n4 [label="{ c1 | data 0.5000 | grad 0.0000 }" shape=record]
    n5 [label="{ 7 }" shape=record]
    n6 [label="{ %0 | w*x + c1 + y[0] }" shape=record]
    n7 [label="{ %1 | %0 / y[1] }" shape=record]
    n8 [label="{ %2 | tanh(%1) }" shape=record]
    n9 [label="{ %3 | max(%2, 7) }" shape=record]
    n10 [label="{ return | %3, x }" shape=record]
    n3 -> n6
    n0 -> n6
    n4 -> n6
    n1 -> n6
    n6 -> n7
    n2 -> n7
    n7 -> n8
    n8 -> n9
    n5 -> n9
    n9 -> n10
    n0 -> n10
}
"""


def test_the_source_of_a_programs_drawing():
    w, b = Value(-3.0, label="w"), Value(0.5)

    @micrograd_c.compile
    def f(x, y):
        return ((w * x + y[0] + b) / y[1]).tanh().max(7), x

    program = f.program(1.0, [2.0, 4.0])
    assert draw_dot(program).source.expandtabs(4) == PROGRAM_SOURCE


def boxes(source):
    """The fields of each box, by the name of its node."""
    found = re.findall(r'^\t(n\d+) \[label="\{ (.*) \}" shape=record\]$', source, re.MULTILINE)
    return {name: tuple(text.split(" | ")) for name, text in found}


def edges(source):
    """(operand, result) for each arrow, as the first fields of their boxes."""
    shown = boxes(source)
    arrows = re.findall(r"^\t(\w+) -> (\w+)$", source, re.MULTILINE)
    return [(shown[a][0], shown[b][0]) for a, b in arrows]


def compiled(function, *arguments, optimize=True):
    return micrograd_c.compile(function, optimize=optimize).program(*arguments)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_programs_drawing_has_the_lines_of_its_listing(optimize):
    table = [Value(float(k), label=f"row{k}") for k in range(3)]

    def f(i, x, y):
        row = micrograd_c.take(table, i)
        p, q = micrograd_c.softmax([row * x, y])
        return {"p": p, "q": micrograd_c.where(x, q, row.detach()) ** 3, "x": x, "two": 2}

    program = compiled(f, 1, 2.5, -1.0, optimize=optimize)
    source = draw_dot(program).source
    shown = list(boxes(source).values())
    lines = [tuple(line.strip().split(" = ")) for line in str(program).splitlines()[1:-1]]
    assert shown[-1 - len(lines) : -1] == lines and len(lines) == sum(program.ops.values())
    assert " ".join(shown[-1]) == str(program).splitlines()[-1].strip()
    for result, text in lines:
        operands = set(
            re.findall(r"%\d+|\b(?:row\d|i|x|y|(?<!%)\d+)\b", text.replace("detach", ""))
        )
        assert {a for a, b in edges(source) if b == result} == operands


def test_a_value_that_an_instruction_uses_twice_is_drawn_with_one_edge():
    assert edges(draw_dot(compiled(lambda x: x * x, 3.0)).source) == [("x", "%0"), ("%0", "return")]


def test_a_long_sum_is_shortened_and_has_all_its_edges():
    w = [Value(float(k), label=f"w{k}") for k in range(50)]
    source = draw_dot(compiled(lambda x: micrograd_c.dot(w, x, start=1.5), np.ones(50))).source
    text = "w0*x[0] + w1*x[1] + w2*x[2] + ... + 1.5  (51 terms)"
    assert ("%0", text) in boxes(source).values()
    operands = [v.label for v in w] + [f"x[{k}]" for k in range(50)] + ["1.5"]
    assert sorted(edges(source)) == sorted([(a, "%0") for a in operands] + [("%0", "return")])


def test_a_long_table_and_many_results_are_shortened():
    table = [float(k) for k in range(9)]
    program = compiled(lambda i, x: [micrograd_c.take(table, i), *x], 3, np.ones(8))
    source = draw_dot(program).source
    shown = list(boxes(source).values())
    assert shown[-2:] == [
        ("%0", "take([0, 1, 2, ..., 8], i)"),
        ("return", "%0, x[0], x[1], ..., x[7]"),
    ]
    assert len(edges(source)) == 10 + 9


def test_factors_of_1_are_left_out_and_what_looks_like_one_is_not():
    one, x = Value(2.0, label="1"), Value(3.0, label="x")
    program = compiled(lambda: one * x + 1.00000001 * x + x)
    assert "1*x + 1*x + x" in str(program)
    assert ("%0", "1*x + 1*x + x") in boxes(draw_dot(program).source).values()


def test_what_is_not_used_is_not_drawn():
    assert list(boxes(draw_dot(compiled(lambda x, y: y, 1.0, 2.0)).source).values()) == [
        ("y", "input"),
        ("return", "y"),
    ]
    assert "return | 5 }" in draw_dot(compiled(lambda: 5)).source
    assert edges(draw_dot(compiled(lambda x: None, 1.0)).source) == []


def test_captured_values_are_drawn_as_they_stand():
    w = Value(3.0, label="w")
    f = micrograd_c.compile(lambda x: w * x)
    f(2.0).backward()
    assert ("w", "data 3.0000", "grad 2.0000") in boxes(draw_dot(f.programs[0]).source).values()
    w.data = 4.0
    assert ("w", "data 4.0000", "grad 2.0000") in boxes(draw_dot(f.programs[0]).source).values()


def test_a_loaded_program_is_drawn(tmp_path):
    w = Value(3.0)
    program = compiled(lambda x: (w * x + 1).exp(), 2.0)
    program.save(tmp_path / "program.npz")
    assert draw_dot(micrograd_c.load(tmp_path / "program.npz")).source == draw_dot(program).source


def test_a_long_program():
    length = 10**4
    assert length > sys.getrecursionlimit()

    def chain(x):
        for _ in range(length):
            x = x.sin()
        return x

    assert draw_dot(compiled(chain, 1.0)).source.count(" -> ") == length + 1


@needs_dot
@pytest.mark.parametrize("text", LABELS)
def test_any_label_of_a_captured_value_is_shown_as_it_is(text):
    w = Value(1.0, label=text)
    shown = texts(draw_dot(compiled(lambda factor: w * factor, 2.0)).pipe(encoding="utf-8"))
    assert shown.count(text) == 1 and f"{text} * factor" in shown


@needs_dot
def test_a_notebook_shows_a_program():
    random.seed(1)
    model = nn.MLP(2, [3, 3, 1])
    program = compiled(lambda x, y: (1 - y * model(x)).relu(), np.zeros(2), 1.0)
    shown = texts(program._repr_svg_())
    assert shown == texts(draw_dot(program).pipe(encoding="utf-8"))
    assert sum("data" in text for text in shown) == len(program.captured) == 25
    assert sum("relu" in text for text in shown) == program.ops["relu"] == 7
    assert shown_by_ipython(program) == {"text/plain", "image/svg+xml"}


def test_a_notebook_shows_larger_programs_as_text():
    program = compiled(lambda x: micrograd_c.sum(v.exp() for v in x), np.ones(viz.NOTEBOOK_NODES))
    assert program._repr_svg_() is None
    assert shown_by_ipython(program) == {"text/plain"}


# The tutorials' own code, as their readers have it in their notebooks.


def tutorial_draw_dot(root):
    from graphviz import Digraph

    def trace(root):
        # builds a set of all nodes and edges in a graph
        nodes, edges = set(), set()

        def build(v):
            if v not in nodes:
                nodes.add(v)
                for child in v._prev:
                    edges.add((child, v))
                    build(child)

        build(root)
        return nodes, edges

    dot = Digraph(format="svg", graph_attr={"rankdir": "LR"})  # LR = left to right

    nodes, edges = trace(root)
    for n in nodes:
        uid = str(id(n))
        # for any value in the graph, create a rectangular ('record') node for it
        dot.node(
            name=uid,
            label="{ %s | data %.4f | grad %.4f }" % (n.label, n.data, n.grad),  # noqa: UP031
            shape="record",
        )
        if n._op:
            # if this value is a result of some operation, create an op node for it
            dot.node(name=uid + n._op, label=n._op)
            # and connect this node to it
            dot.edge(uid + n._op, uid)

    for n1, n2 in edges:
        # connect n1 to the op node of n2
        dot.edge(str(id(n1)), str(id(n2)) + n2._op)

    return dot


def test_the_tutorials_code_draws_the_same():
    o = tanh_neuron()
    theirs, ours = tutorial_draw_dot(o).source, draw_dot(o).source

    def labels(source):
        return sorted(re.findall(r"\[label=.*\]", source))

    assert labels(theirs) == labels(ours)
    assert theirs.count(" -> ") == ours.count(" -> ") == 14


@needs_dot
def test_the_tutorials_code_renders():
    o = tanh_neuron()
    shown = texts(tutorial_draw_dot(o).pipe(encoding="utf-8"))
    assert sorted(shown) == sorted(texts(draw_dot(o).pipe(encoding="utf-8")))


# Notebooks


class Counted:
    """A Value-like object of an endless graph, which counts how far one walks."""

    data, grad, _op = 1.0, 0.0, "+"
    walked = 0

    @property
    def _prev(self):
        Counted.walked += 1
        return [Counted(), Counted()]


@needs_dot
def test_a_notebook_shows_the_graph():
    o = tanh_neuron()
    svg = o._repr_svg_()
    assert texts(svg) == texts(draw_dot(o).pipe(encoding="utf-8"))
    assert "data 1.0000" in texts(Value(1.0)._repr_svg_())


@needs_dot
def test_a_notebook_shows_graphs_of_some_200_nodes():
    random.seed(1)
    model = nn.MLP(2, [6, 6, 1])
    loss = micrograd_c.sum([model([Value(x), Value(-x)]) for x in (1.0, 2.0, 3.0)])
    nodes, _ = trace(loss)
    assert 100 < len(nodes) <= viz.NOTEBOOK_NODES
    assert sum("data" in text for text in texts(loss._repr_svg_())) == len(nodes)


def test_a_notebook_shows_larger_graphs_as_text():
    assert chain(viz.NOTEBOOK_NODES)._repr_svg_() is None
    Counted.walked = 0
    assert viz._repr_svg(Counted()) is None
    assert Counted.walked <= viz.NOTEBOOK_NODES


@needs_dot
def test_a_notebook_does_not_wait_long_for_dot(monkeypatch):
    monkeypatch.setattr(viz, "NOTEBOOK_SECONDS", 0.1)  # it would take minutes
    assert chain(viz.NOTEBOOK_NODES - 1)._repr_svg_() is None


def shown_by_ipython(value):
    from IPython.core.formatters import DisplayFormatter

    return set(DisplayFormatter().format(value)[0])


@needs_dot
def test_ipython_shows_picture_and_text():
    assert shown_by_ipython(Value(1.0) * 2) == {"text/plain", "image/svg+xml"}


def test_ipython_shows_text_alone_where_there_is_no_picture(monkeypatch):
    assert shown_by_ipython(chain(viz.NOTEBOOK_NODES)) == {"text/plain"}
    monkeypatch.setenv("PATH", "")
    assert shown_by_ipython(Value(1.0) * 2) == {"text/plain"}


# Where something is missing


def test_without_the_graphviz_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=r"pip install micrograd_c\[viz\]"):
        draw_dot(Value(1.0))
    assert Value(1.0)._repr_svg_() is None
    assert compiled(lambda x: x * 2, 1.0)._repr_svg_() is None
    assert len(trace(Value(1.0) * 2)[0]) == 3


def test_without_the_dot_program(monkeypatch, tmp_path):
    dot = draw_dot(Value(1.0))
    monkeypatch.setenv("PATH", "")
    for render in (
        dot.pipe,
        lambda: dot.render(tmp_path / "picture"),
        lambda: dot._repr_mimebundle_(),
    ):
        with pytest.raises(graphviz.ExecutableNotFound, match="apt install graphviz"):
            render()
    assert Value(1.0)._repr_svg_() is None
    assert "data 1.0000" in dot.source
