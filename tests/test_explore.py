"""The page that viz.explore writes: what it is made of, and how it behaves in a real browser."""

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from micrograd.engine import Value as TheirValue

import micrograd_c
from micrograd_c import Value, nn, tape, viz
from micrograd_c.viz import explore

pytestmark = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"
MODES = {"Evaluation": "1", "Forward mode": "2", "Reverse mode": "3"}


# Graphs


def two_sums(number=Value):
    """e = (a + b) * (b + 1) of "Calculus on Computational Graphs": its Values by name."""
    a, b = number(2.0), number(1.0)
    c, d = a + b, b + 1
    return {"a": a, "b": b, "c": c, "d": d, "e": c * d}


def polynomial(number=Value):
    """Operations of which micrograd and micrograd_c make the same nodes; values used repeatedly."""
    x, y = number(-1.25), number(0.75)
    p = x * y
    q = p + x
    r = q * q
    s = r**3
    t = s + p
    u = t.relu()
    return {"x": x, "y": y, "p": p, "q": q, "r": r, "s": s, "t": t, "u": u, "v": u * x + y}


def labelled(values):
    """The last of `values`, all of which get their names as labels."""
    for name, value in values.items():
        value.label = name
    return value


def network():
    """The loss of a network on three samples: 200 nodes, many of them used three times."""
    random.seed(1)
    model = nn.MLP(2, [9, 7, 1])
    for i, p in enumerate(model.parameters()):
        p.label = f"w{i}"
    inputs = [Value(1.0, label="x0"), Value(-2.0, label="x1")]
    loss = micrograd_c.sum([model([x * k for x in inputs]) for k in (1.0, 2.0)])
    while len(viz.trace(loss)[0]) < 200:
        loss = loss.tanh()
    loss.label = "loss"
    return loss


def read(path):
    """The data in a page."""
    text = Path(path).read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="graph">(.*)</script>', text).group(1)
    return json.loads(data)


# The file


def test_the_file_holds_the_graph(tmp_path):
    path = tmp_path / "e.html"
    assert explore(labelled(two_sums()), path) == str(path)
    graph = read(path)
    names = [node["name"] for node in graph["nodes"]]
    assert names == ["a", "b", "c", "v1", "d", "e"]
    assert [node["value"] for node in graph["nodes"]] == [2.0, 1.0, 3.0, 1.0, 2.0, 6.0]
    assert [node["op"] for node in graph["nodes"]] == ["", "", "+", "", "+", "*"]
    assert [node["labelled"] for node in graph["nodes"]] == [True, True, True, False, True, True]
    assert sorted((names[e["from"]], names[e["to"]], e["partial"]) for e in graph["edges"]) == [
        ("a", "c", 1.0),
        ("b", "c", 1.0),
        ("b", "d", 1.0),
        ("c", "e", 2.0),
        ("d", "e", 3.0),
        ("v1", "d", 1.0),
    ]


def test_no_two_nodes_lie_over_each_other(tmp_path):
    graph = read(explore(network(), tmp_path / "g.html"))
    width, height = graph["box"]
    places = [(node["x"], node["y"]) for node in graph["nodes"]]
    assert len(places) == 200
    for k, (x, y) in enumerate(places):
        assert width / 2 <= x + 0.1 and x <= graph["width"] - width / 2 + 0.1
        assert height / 2 <= y + 0.1 and y <= graph["height"] - height / 2 + 0.1
        assert all(abs(x - u) >= width or abs(y - v) >= height for u, v in places[:k])


def test_the_default_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert explore(Value(1.0)) == "graph.html"
    assert os.listdir() == ["graph.html"]


def test_the_graph_is_left_as_it_is(tmp_path):
    e = labelled(two_sums())
    e.backward()
    tape.collect()
    before = [(node.data, node.grad) for node in viz._nodes(e)], tape.size(), tape.live()
    explore(e, tmp_path / "g.html")
    tape.collect()
    assert ([(node.data, node.grad) for node in viz._nodes(e)], tape.size(), tape.live()) == before
    assert before[0][1] == (1.0, 5.0)


def test_names_of_values_without_a_label_are_not_taken(tmp_path):
    a, b = Value(1.0, label="v1"), Value(2.0, label="  ")
    names = [node["name"] for node in read(explore(a * b, tmp_path / "g.html"))["nodes"]]
    assert names == ["v1", "v2", "v3"]


def test_what_is_not_a_value(tmp_path):
    for root in (3.0, None, TheirValue(1.0), [Value(1.0)]):
        with pytest.raises(TypeError, match=f"root must be a Value, not {type(root).__name__}"):
            explore(root, tmp_path / "g.html")
    assert os.listdir(tmp_path) == []


def test_graphs_that_are_too_large(tmp_path):
    path = tmp_path / "g.html"
    terms = [Value(float(k)) for k in range(199)]
    explore(micrograd_c.sum(terms), path)
    before = path.read_bytes()
    many_edges = micrograd_c.sum([micrograd_c.sum(terms[:100]) for _ in range(6)])
    for root in (micrograd_c.sum([*terms, Value(1.0)]), many_edges):
        with pytest.raises(ValueError, match="more than 200 nodes or 600 edges.*explore a smaller"):
            explore(root, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["g.html"]


def test_an_operation_whose_partials_are_unknown(tmp_path):
    path = tmp_path / "g.html"
    path.write_text("kept")
    a = Value(2.0)
    double = Value(4.0, (a,), "double")
    double._backward = lambda: None
    double.label = "twice"
    with pytest.raises(ValueError, match="operation 'double' of 'twice' does not tell its partial"):
        explore(double + 1, path)
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["g.html"]


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "missing" / "g.html", folder, tmp_path / "file" / "g.html"):
        with pytest.raises(OSError):
            explore(Value(1.0), path)

    def no_space(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError, match="No space"):
        explore(Value(1.0), tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and os.listdir(folder) == []
    assert (tmp_path / "file").read_text() == "kept"


# The page in a browser


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("Chromium does not start under AddressSanitizer")
    with sync_api.sync_playwright() as playwright:
        found = [path for path in map(shutil.which, BROWSERS) if path]
        found += [path for path in [playwright.chromium.executable_path] if os.path.exists(path)]
        if not found:
            pytest.skip("no Chromium: apt install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=found[0])
        yield browser
        browser.close()


@pytest.fixture
def show(chromium, tmp_path):
    """show(root): the page of a graph, opened. Fails on any error in it, and on any request."""
    pages, problems, requests = [], [], []

    def show(root, **options):
        url = Path(explore(root, tmp_path / f"{len(pages)}.html")).as_uri()
        page = chromium.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        pages.append((page, url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        return page

    yield show
    for page, _ in pages:
        page.close()
    assert problems == []
    assert requests == [url for _, url in pages]


def cards(page, part):
    """What the nodes show as their name, value or derivative, by name."""
    texts = page.evaluate(
        """part => nodes.map(({ element }) =>
          [".name", part].map(selector => element.querySelector(selector).textContent))""",
        f".{part}",
    )
    return dict(texts)


def numbers(page, part):
    return {name: float(text) for name, text in cards(page, part).items() if text}


def everything(page):
    """All that a step changes on the page."""
    return page.evaluate(
        """() => [
          ...[...nodes, ...edges].map(drawn => drawn.element.outerHTML),
          ...[...document.querySelectorAll("footer p, #formula, #count")].map(e => e.innerHTML),
          document.getElementById("progress").value,
        ]"""
    )


def formula(page):
    return page.inner_text("#spoken")


def steps(page):
    return int(page.inner_text("#count").split(" of ")[1])


def press(page, name):
    page.get_by_role("button", name=name).click(force=True)  # where it does nothing, too


def to_the_end(page, way):
    for _ in range(steps(page) - 1):
        if way == "keyboard":
            page.keyboard.press("ArrowRight")
        else:
            press(page, "Next step")


def choose_mode(page, name, way):
    if way == "keyboard":
        page.keyboard.press(MODES[name])
    else:
        page.get_by_role("button", name=name).click()
    assert page.get_by_role("button", name=name).get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("way", ["keyboard", "buttons"])
@pytest.mark.parametrize("graph", [two_sums, polynomial])
def test_reverse_mode_ends_with_the_gradients_of_micrograd(show, graph, way):
    page = show(labelled(graph()))
    choose_mode(page, "Reverse mode", way)
    assert numbers(page, "derivative") == {list(graph())[-1]: 1.0}
    to_the_end(page, way)
    shown = numbers(page, "derivative")
    theirs = graph(TheirValue)
    list(theirs.values())[-1].backward()
    assert {name: shown[name] for name in theirs} == {
        name: pytest.approx(value.grad, rel=5e-6) for name, value in theirs.items()
    }


@pytest.mark.parametrize("way", ["keyboard", "buttons"])
@pytest.mark.parametrize("graph", [two_sums, polynomial])
def test_evaluation_ends_with_the_values_of_micrograd(show, graph, way):
    page = show(labelled(graph()))
    leaves = [name for name, value in graph(TheirValue).items() if not value._prev]
    assert (
        set(leaves) <= set(numbers(page, "value")) and not cards(page, "value")[list(graph())[-1]]
    )
    to_the_end(page, way)
    shown = numbers(page, "value")
    assert {name: shown[name] for name in graph()} == {
        name: pytest.approx(value.data, rel=5e-6) for name, value in graph(TheirValue).items()
    }


class Complex:
    """The arithmetic of `polynomial` in complex numbers, whose imaginary parts are derivatives."""

    def __init__(self, data):
        self.data = complex(data)

    def __add__(self, other):
        return Complex(self.data + getattr(other, "data", other))

    def __mul__(self, other):
        return Complex(self.data * getattr(other, "data", other))

    def __pow__(self, exponent):
        return Complex(self.data**exponent)

    def relu(self):
        return Complex(self.data if self.data.real > 0 else 0)


@pytest.mark.parametrize("way", ["keyboard", "buttons"])
@pytest.mark.parametrize("graph, variable", [(two_sums, "b"), (two_sums, "a"), (polynomial, "x")])
def test_forward_mode_ends_with_the_derivatives_by_complex_steps(show, graph, variable, way):
    page = show(labelled(graph()))
    choose_mode(page, "Forward mode", way)
    option = page.locator("#input option").all_inner_texts()
    assert [text.split(" = ")[0] for text in option][:2] == list(graph())[:2]
    page.get_by_label("Input to differentiate by").select_option(
        next(text for text in option if text.startswith(variable))
    )
    page.keyboard.press("Escape")
    page.locator("#view").click()  # so that the keys no longer belong to the list
    page.evaluate("document.activeElement.blur()")
    to_the_end(page, way)
    shown = numbers(page, "derivative")

    first = list(graph()).index(variable)
    count = iter(range(2))

    def number(x):
        return Complex(x + (1e-30j if next(count) == first else 0))

    assert {name: shown[name] for name in graph()} == {
        name: pytest.approx(value.data.imag / 1e-30, rel=5e-6, abs=1e-12)
        for name, value in graph(number).items()
    }


def test_the_numbers_of_calculus_on_computational_graphs(show):
    page = show(labelled(two_sums()))
    page.keyboard.press("End")
    assert numbers(page, "value") == {"a": 2, "b": 1, "c": 3, "v1": 1, "d": 2, "e": 6}
    page.keyboard.press("2")
    page.get_by_label("Input to differentiate by").select_option("b = 1")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("End")
    assert numbers(page, "derivative") == {"a": 0, "b": 1, "c": 1, "v1": 0, "d": 1, "e": 5}
    page.keyboard.press("3")
    page.keyboard.press("End")
    assert numbers(page, "derivative") == {"a": 2, "b": 5, "c": 2, "v1": 3, "d": 3, "e": 1}
    labels = page.evaluate("edges.map(edge => edge.text.textContent)")
    assert sorted(labels) == ["1", "1", "1", "1", "2", "3"]


def test_the_terms_of_the_chain_rule(show):
    page = show(labelled(two_sums()))

    def formulas():
        shown = [formula(page)]
        for _ in range(steps(page) - 1):
            page.keyboard.press("ArrowRight")
            shown.append(formula(page))
        return shown

    assert formulas() == [
        "a = 2, b = 1, v1 = 1",
        "c = a + b = 2 + 1 = 3",
        "d = b + 1 = 1 + 1 = 2",
        "e = c × d = 3 × 2 = 6",
    ]
    page.keyboard.press("3")
    assert formulas() == [
        "de/de = 1",
        "de/dc += de/de · ∂e/∂c = 1 × 2 = 2",
        "de/dd += de/de · ∂e/∂d = 1 × 3 = 3",
        "de/db += de/dd · ∂d/∂b = 3 × 1 = 3",
        "de/dv1 += de/dd · ∂d/∂v1 = 3 × 1 = 3",
        "de/da += de/dc · ∂c/∂a = 2 × 1 = 2",
        "de/db += de/dc · ∂c/∂b = 2 × 1 = 2 → 3 + 2 = 5",
    ]
    page.keyboard.press("2")
    assert formulas() == [
        "da/da = 1",
        "dc/da += da/da · ∂c/∂a = 1 × 1 = 1",
        "de/da += dc/da · ∂e/∂c = 1 × 2 = 2",
    ]


def test_operations_are_written_as_one_writes_them(show):
    x, y = Value(-2.0, label="x"), Value(3.0, label="y + 1")
    values = [x - y, x / y, -x, x**2, y**x, x.tanh(), micrograd_c.dot([x, y], [y, y], start=x)]
    values += [Value(7.0, (x, y), (1.0, 2.0)), micrograd_c.sum([x] * 9), Value(1.0) + Value(2.0)]
    page = show(micrograd_c.sum(values))
    shown = []
    for _ in range(steps(page) - 1):
        page.keyboard.press("ArrowRight")
        shown.append(formula(page).split(" = ", 1)[1])
    assert shown[:-1] == [
        "x − (y + 1) = (-2) − 3 = -5",
        "x / (y + 1) = (-2) / 3 = -0.666667",
        "−x = −(-2) = 2",
        "x ** 2 = (-2) ** 2 = 4",
        "(y + 1) ** x = 3 ** (-2) = 0.111111",
        "tanh(x) = tanh((-2)) = -0.964028",
        "x × (y + 1) + (y + 1) × (y + 1) + x = (-2) × 3 + 3 × 3 + (-2) = 1",
        "f(x , (y + 1)) = f((-2) , 3) = 7",
        "x + x + x + x + ⋯ + x = (-2) + (-2) + (-2) + (-2) + ⋯ + (-2) = -18",
        "1 + 2 = 3",
    ]


@pytest.mark.parametrize("way", ["keyboard", "buttons", "slider"])
@pytest.mark.parametrize("mode", MODES)
def test_stepping_back_undoes(show, mode, way):
    page = show(labelled(polynomial()))
    page.keyboard.press(MODES[mode])
    forth, back = {
        "keyboard": (
            lambda: page.keyboard.press("ArrowRight"),
            lambda: page.keyboard.press("ArrowLeft"),
        ),
        "buttons": (lambda: press(page, "Next step"), lambda: press(page, "Previous step")),
        "slider": (lambda: move_slider(page, 1), lambda: move_slider(page, -1)),
    }[way]
    seen = [everything(page)]
    for _ in range(steps(page) - 1):
        forth()
        seen.append(everything(page))
    assert len({str(state) for state in seen}) == len(seen) == steps(page) > 8
    forth()
    assert everything(page) == seen[-1]  # there is nothing beyond the end
    for state in reversed(seen[:-1]):
        back()
        assert everything(page) == state
    back()
    assert everything(page) == seen[0]


def move_slider(page, by):
    slider = page.get_by_role("slider", name="Progress")
    slider.fill(str(min(int(slider.input_value()) + by, steps(page) - 1)))


def test_from_end_to_end_and_from_node_to_node(show):
    page = show(labelled(two_sums()))
    page.keyboard.press("3")
    at = [page.inner_text("#count")]
    for key in ["ArrowDown"] * 4 + ["ArrowUp"] * 4 + ["End", "Home"]:
        page.keyboard.press(key)
        at.append(page.inner_text("#count"))
    assert [int(text.split()[0]) for text in at] == [1, 3, 5, 7, 7, 5, 3, 1, 1, 7, 1]
    page.get_by_role("button", name="Last step").click()
    assert page.inner_text("#count") == "7 of 7"
    page.get_by_role("button", name="First step").click()
    assert page.inner_text("#count") == "1 of 7"


def test_what_is_in_play_is_marked(show):
    page = show(labelled(two_sums()))
    page.keyboard.press("3")
    for _ in range(3):
        page.keyboard.press("ArrowRight")

    def names(selector):
        return page.locator(f"{selector} .name").all_inner_texts()

    assert names(".node.now") == ["b"] and names(".node.source") == ["d"]
    assert names(".node.late") == ["a", "v1"] and names(".node.more") == ["b"]
    in_play = page.evaluate(
        "edges.filter(edge => edge.element.classList.contains('now'))"
        ".map(edge => [nodes[edge.from].name, nodes[edge.to].name])"
    )
    assert in_play == [["b", "d"]]


def test_a_value_used_twice_by_an_operation(show):
    x = Value(3.0, label="x")
    page = show(labelled({"x": x, "y": x * x}))
    for mode in "23":
        page.keyboard.press(mode)
        assert steps(page) == 3
        page.keyboard.press("End")
        assert "= 3 → 3 + 3 = 6" in formula(page)
    assert numbers(page, "derivative") == {"x": 6.0, "y": 1.0}


def test_a_single_value(show):
    page = show(Value(2.5, label="x"))
    for mode, part in (("1", "value"), ("2", "derivative"), ("3", "derivative")):
        page.keyboard.press(mode)
        page.keyboard.press("End")
        assert cards(page, part) == {"x": "2.5" if mode == "1" else "1"}


def test_numbers_of_all_sizes(show):
    shown = {
        0.0: "0",
        1 / 3: "0.333333",
        -123456.789: "-123457",
        1234567.0: "1.23457e6",
        1e6: "1e6",
        1e300: "1e300",
        0.00012345678: "0.000123457",
        0.000012345678: "1.23457e-5",
        5e-324: "4.94066e-324",
        float("inf"): "inf",
        float("-inf"): "-inf",
        float("nan"): "nan",
    }
    leaves = [Value(x, label=f"x{k}") for k, x in enumerate(shown)]
    page = show(micrograd_c.sum(leaves))
    page.keyboard.press("End")
    values = cards(page, "value")
    assert [values[leaf.label] for leaf in leaves] == list(shown.values())


def test_derivatives_that_are_not_finite(show):
    x = Value(0.0, label="x")
    y = x.sqrt() * 0.0
    page = show(y)
    page.keyboard.press("3")
    page.keyboard.press("End")
    y.backward()
    assert cards(page, "derivative")["x"] == "0" and x.grad == 0.0  # an adjoint of 0 passes nothing
    assert "0 × inf = 0" in formula(page)


HOSTILE = [
    "</script><script>document.title = 'broken'</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; \"double\" 'single' `back`",
    "${x} $graph $$ {0} %s \\n \\u0041",
    "ünï ∂x/∂y 漢字 🎓 مرحبا",
    "a\u2028b\u2029c\x01",
    "__proto__",
    "constructor",
    "long " * 2000 + "end",
]


@pytest.mark.parametrize("label", HOSTILE, ids=lambda label: label[:20])
def test_any_label_is_shown_as_it_is(show, label):
    a = Value(2.0, label=label)
    b = Value(6.0, (a, a), (1.0, 2.0))
    b._op = b.label = label
    page = show(b)
    for mode in "123":
        page.keyboard.press(mode)
        page.keyboard.press("End")
        assert page.locator(".node .name").evaluate_all("all => all.map(e => e.textContent)") == [
            label,
            label,
        ]
    assert page.locator(".node .op").last.text_content() == label
    assert page.title() != "broken"
    assert page.evaluate("document.querySelectorAll('img, script').length") == 2
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert numbers(page, "derivative") == {label: 1.0}


def test_a_label_that_is_not_text(show):
    a = Value(2.0)
    a.label = "half a pair \ud83c"
    assert steps(show(a * 2)) == 2


def test_200_nodes(show):
    loss = network()
    page = show(loss)
    assert page.locator(".node").count() == 200
    page.keyboard.press("3")
    page.keyboard.press("End")
    shown = numbers(page, "derivative")
    loss.backward()
    named = {node.label: node.grad for node in viz.trace(loss)[0] if node.label}
    assert len(named) > 90
    assert {name: shown[name] for name in named} == pytest.approx(named, rel=1e-5, abs=1e-12)


def in_view(page, selector):
    return page.evaluate(
        """selector => [...document.querySelectorAll(selector)].every(element => {
          const box = element.getBoundingClientRect(), room = view.getBoundingClientRect();
          return box.left >= room.left - 1 && box.right <= room.right + 1
            && box.top >= room.top - 1 && box.bottom <= room.bottom + 1;
        })""",
        selector,
    )


@pytest.mark.parametrize("size", [(1280, 800), (390, 780)], ids=["desk", "phone"])
def test_what_is_in_play_is_in_view_and_large_enough(show, size):
    page = show(network(), viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    for mode in "123":
        page.keyboard.press(mode)
        for _ in range(1, steps(page), 12):
            move_slider(page, 12)
            assert in_view(page, ".node.now")
    assert page.locator(".node.now .value").evaluate("e => e.getBoundingClientRect().height") > 14


def test_the_whole_of_a_small_graph_is_in_view(show):
    page = show(labelled(two_sums()))
    assert in_view(page, ".node")
    page.set_viewport_size({"width": 700, "height": 600})
    page.wait_for_function("view.clientWidth === 700")
    assert in_view(page, ".node")


def test_zoom_and_pan(show):
    page = show(network(), reduced_motion="reduce")

    def camera():
        return page.evaluate("({...camera})")

    def button(name):
        return lambda: page.get_by_role("button", name=name).click()

    def key(name):
        return lambda: page.keyboard.press(name)

    page.mouse.move(300, 300)
    for larger, smaller in [
        (key("+"), key("-")),
        (button("Zoom in"), button("Zoom out")),
    ]:
        start = camera()
        larger()
        assert camera()["zoom"] == pytest.approx(start["zoom"] * 1.25)
        smaller()
        assert camera() == pytest.approx(start)
    for whole in (key("0"), button("Whole graph")):
        key("+")()
        assert not in_view(page, "#world")
        whole()
        assert in_view(page, ".node")

    start = camera()
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -400)
    page.wait_for_function("zoom => camera.zoom > zoom", arg=start["zoom"])
    end = camera()  # what was under the mouse still is
    top = page.locator("#view").bounding_box()["y"]
    for axis, place in (("x", 300), ("y", 300 - top)):
        under = [(place - at[axis]) / at["zoom"] for at in (start, end)]
        assert under[0] == pytest.approx(under[1])

    page.mouse.down()
    page.mouse.move(340, 280, steps=4)
    page.mouse.up()
    page.mouse.move(500, 500)
    assert camera() == pytest.approx({**end, "x": end["x"] + 40, "y": end["y"] - 20})


def test_pinching(show):
    page = show(labelled(two_sums()), has_touch=True)
    start = page.evaluate("camera.zoom")
    devtools = page.context.new_cdp_session(page)

    def touch(kind, *xs):
        points = [{"x": x, "y": 300, "id": k} for k, x in enumerate(xs)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 500, 600)
    touch("touchMove", 450, 650)
    touch("touchEnd")
    page.wait_for_function("start => camera.zoom !== start", arg=start)
    assert page.evaluate("camera.zoom") == pytest.approx(2 * start)


def test_every_control_has_a_name_and_shows_the_focus(show):
    page = show(labelled(two_sums()))
    page.keyboard.press("2")
    controls = page.locator("button, select, input")
    names = []
    for _ in range(controls.count()):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                """() => {
                  const e = document.activeElement, style = getComputedStyle(e);
                  const seen = e.matches(':focus-visible') && parseFloat(style.outlineWidth) >= 2;
                  return [e.ariaLabel || e.textContent, seen && style.outlineStyle === 'solid'];
                }"""
            )
        )
    expected = [*MODES, "Input to differentiate by", "Light or dark"]
    expected += ["Zoom in", "Zoom out", "Whole graph"]
    expected += ["First step", "Previous step", "Next step", "Last step", "Progress"]
    assert names == [[name, True] for name in expected]


def test_a_button_keeps_the_focus_at_the_end(show):
    page = show(labelled(two_sums()))
    page.locator("#next").focus()
    for _ in range(5):
        page.keyboard.press("Enter")
    assert page.inner_text("#count") == "4 of 4"
    assert page.evaluate("document.activeElement.id") == "next"
    assert page.locator("#next").get_attribute("aria-disabled") == "true"


COLOURS = """() => {
  const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => rgb(colour).slice(0, 3)
    .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = e => {
    const colour = getComputedStyle(e).backgroundColor;
    return rgb(colour)[3] === 0 ? ground(e.parentElement) : colour;
  };
  const contrast = selector => {
    const e = document.querySelector(selector);
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const parts = ['name', 'op', 'value', 'of', 'derivative'];
  const shown = ['#note', '.result', '[aria-pressed=true]', '[aria-pressed=false]', '#count', 'kbd',
    ...['now', 'source'].flatMap(node => parts.map(part => `.${node} .${part}`))];
  return [light(ground(document.querySelector('#view'))),
    Object.fromEntries(shown.map(selector => [selector, contrast(selector)]))];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mode", MODES)
def test_light_and_dark_are_readable(show, scheme, mode):
    page = show(labelled(polynomial()), color_scheme=scheme)
    page.keyboard.press(MODES[mode])
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    ground, contrasts = page.evaluate(COLOURS)
    assert ground > 0.8 if scheme == "light" else ground < 0.05
    assert {name: c for name, c in contrasts.items() if c < 4.5} == {}  # as WCAG 2 asks, level AA
    page.keyboard.press("t")
    other, contrasts = page.evaluate(COLOURS)
    assert other < 0.05 if scheme == "light" else other > 0.8
    assert {name: c for name, c in contrasts.items() if c < 4.5} == {}
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(COLOURS)[0] == ground


def test_nothing_overflows_on_a_phone(show):
    page = show(network(), viewport={"width": 360, "height": 640})
    for mode in "123":
        page.keyboard.press(mode)
        page.keyboard.press("End")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.locator("#view").bounding_box()["height"] > 200
