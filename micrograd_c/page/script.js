// Steps through a graph: its evaluation, forward mode and reverse mode.
//
// graph = { width, height, box: [width, height] of a node,
//           nodes: [{ name, labelled, op, value, x, y }],      operands before results
//           edges: [{ from, to, partial, path, label: [x, y] or null }] }     operand -> result
// A number that JSON lacks comes as "NaN", "Infinity" or "-Infinity".
//
// A step = { sets: [[node, number]], edges, sources, node, note, formula }: the numbers that it writes,
// the edges it uses, the nodes it reads, the node it is about, and what is said of it. What is shown at
// step k follows from steps 0..k alone, so going back is going forward to another step.
"use strict";

const graph = JSON.parse(document.getElementById("graph").textContent);
const { nodes, edges } = graph;
const root = nodes.length - 1;
const operands = nodes.map(() => []); // the edges into each node
for (const node of nodes) node.value = Number(node.value);
for (const edge of edges) {
  edge.partial = Number(edge.partial);
  operands[edge.to].push(edge);
}
const leaves = nodes.map((_, i) => i).filter((i) => operands[i].length === 0);

// ------------------------------------------------------------------------------------- formulas
//
// A formula is a list of pieces between which a line may break; a piece is a list of terms of MathML:
// { tag, text, upright } or { tag, parts, glue }, where `glue` stands between the parts in plain text.

const NAME_LENGTH = 28; // of a name in a formula; the box's tooltip has all of it
const TERMS = 6; // of a sum that are written out

/** x to 6 significant digits. */
function digits(x) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
    return x.toExponential(5).replace(/\.?0*e\+?/, "e");
  }
  return String(Number(x.toPrecision(6)));
}

const sign = (text) => ({ tag: "mo", text });
const number = (x) => ({ tag: "mn", text: digits(x) });
const factor = (x) => ({ tag: "mn", text: /^-/.test(digits(x)) ? `(${digits(x)})` : digits(x) });
const row = (...parts) => ({ tag: "mrow", parts, glue: "" });

function shortName(i) {
  const letters = Array.from(nodes[i].name);
  return letters.length > NAME_LENGTH ? letters.slice(0, NAME_LENGTH).join("") + "…" : nodes[i].name;
}

function name(i) {
  const text = shortName(i);
  return { tag: "mi", text: /^[\p{L}\p{M}\p{N}_.'[\]…]+$/u.test(text) ? text : `(${text})` };
}

/** The derivative of node i by node j, through all paths: d; or along one edge: ∂. */
function derivative(i, j, d = "d") {
  const symbol = { tag: "mi", text: d, upright: true };
  return { tag: "mfrac", parts: [row(symbol, name(i)), row(symbol, name(j))], glue: "/" };
}

function joined(terms, symbol) {
  const shown = terms.length > TERMS ? [...terms.slice(0, TERMS - 2), sign("⋯"), terms.at(-1)] : terms;
  return shown.flatMap((term, k) => (k ? [sign(` ${symbol} `), term] : [term]));
}

const SIGNS = new Map([
  ["-", "−"],
  ["*", "×"],
]);
const printed = (op) => SIGNS.get(op) ?? op;

/** What the operation computes of `x`, the terms of its operands. */
function operation(op, x) {
  if (["+", "-", "*"].includes(op) && x.length > 1) return row(...joined(x, printed(op)));
  if (op === "/" && x.length === 2) return { tag: "mfrac", parts: x, glue: " / " };
  if (op === "**" && x.length === 2) return { tag: "msup", parts: x, glue: " ** " };
  if (op.startsWith("**") && x.length === 1) {
    return { tag: "msup", parts: [x[0], { tag: "mn", text: op.slice(2) }], glue: " ** " };
  }
  if (op === "neg" && x.length === 1) return row(sign("−"), x[0]);
  if (op === "sum") return row(...joined(x, "+"));
  if (op === "dot") {
    const products = [];
    for (let k = 0; k + 1 < x.length; k += 2) products.push(row(x[k], sign(" × "), x[k + 1]));
    return row(...joined(x.length % 2 ? [...products, x.at(-1)] : products, "+"));
  }
  return row({ tag: "mi", text: op || "f", upright: true }, sign("("), ...joined(x, ","), sign(")"));
}

function plain(term) {
  return term.parts ? term.parts.map(plain).join(term.glue) : term.text;
}

function mathml(term) {
  const element = document.createElementNS("http://www.w3.org/1998/Math/MathML", term.tag);
  if (term.parts) element.append(...term.parts.map(mathml));
  else element.textContent = term.text.trim();
  if (/^ .* $/.test(term.text)) element.setAttribute("form", "infix"); // at the end of a piece, too
  // Italics from the text's own font: those of Unicode are in few fonts.
  if (term.tag === "mi") element.setAttribute("mathvariant", "normal");
  if (term.tag === "mi" && !term.upright) element.setAttribute("class", "italic");
  return element;
}

// ---------------------------------------------------------------------------------------- steps

function evaluation() {
  const given = leaves.map((i, at) => [
    ...(at ? [sign(", ")] : []),
    ...[name(i), sign(" = "), number(nodes[i].value)],
  ]);
  const steps = [
    {
      sets: leaves.map((i) => [i, nodes[i].value]),
      note: "The inputs are given.",
      formula: given.length > TERMS ? [...given.slice(0, TERMS), [sign(", …")]] : given,
    },
  ];
  nodes.forEach(({ op, value }, i) => {
    if (!operands[i].length) return;
    const sources = operands[i].map((edge) => edge.from);
    const bare = (k) => !operands[k].length && !nodes[k].labelled; // a constant, more often than not
    const inWords = sources.every(bare)
      ? []
      : [[operation(op, sources.map((k) => (bare(k) ? factor(nodes[k].value) : name(k)))), sign(" = ")]];
    steps.push({
      sets: [[i, value]],
      edges: operands[i],
      sources,
      node: i,
      note: `${shortName(i)} is computed from its operands.`,
      formula: [
        [name(i), sign(" = ")],
        ...inWords,
        [operation(op, sources.map((k) => factor(nodes[k].value))), sign(" = ")],
        [number(value)],
      ],
    });
  });
  return steps;
}

/**
 * The chain rule on one edge: derivatives[target] += derivatives[source] * partial, where `of` gives
 * the derivative that a node holds, as a term.
 */
function chainStep(derivatives, edge, source, target, of) {
  const { [source]: outer, [target]: before } = derivatives;
  const share = outer === 0 || edge.partial === 0 ? 0 : outer * edge.partial; // also of infinity
  derivatives[target] = (before ?? 0) + share;
  const sum =
    before === undefined
      ? []
      : [[sign(" → ")], [number(before), sign(" + "), factor(share), sign(" = ")], [number(before + share)]];
  return {
    sets: [[target, derivatives[target]]],
    edges: [edge],
    sources: [source],
    node: target,
    formula: [
      [of(target), sign(" += ")],
      [of(source), sign(" · "), derivative(edge.to, edge.from, "∂"), sign(" = ")],
      [number(outer), sign(" × "), factor(edge.partial), sign(" = ")],
      [number(share)],
      ...sum,
    ],
  };
}

function forward(input) {
  const of = (i) => derivative(i, input);
  const derivatives = { [input]: 1 };
  const steps = [];
  nodes.forEach((_, i) => {
    for (const edge of operands[i]) {
      if (edge.from in derivatives) {
        const step = chainStep(derivatives, edge, edge.from, i, of);
        step.note = `${shortName(i)} gets its share by way of ${shortName(edge.from)}.`;
        steps.push(step);
      }
    }
  });
  const others = nodes.map((_, i) => i).filter((i) => !(i in derivatives));
  const start = {
    sets: [[input, 1], ...others.map((i) => [i, 0])],
    node: input,
    note: others.length
      ? `The start: 1 at ${shortName(input)}, and 0 where nothing depends on it.`
      : `The start: 1 at ${shortName(input)}.`,
    formula: [[of(input), sign(" = ")], [number(1)]],
  };
  return [start, ...steps];
}

function reverse() {
  const of = (i) => derivative(root, i);
  const derivatives = { [root]: 1 };
  const steps = [
    {
      sets: [[root, 1]],
      node: root,
      note: `The start: 1 at the result, ${shortName(root)}.`,
      formula: [[of(root), sign(" = ")], [number(1)]],
    },
  ];
  for (let i = root; i >= 0; i--) {
    for (const edge of operands[i]) {
      const step = chainStep(derivatives, edge, i, edge.from, of);
      step.note = `${shortName(i)} passes a share on to ${shortName(edge.from)}.`;
      steps.push(step);
    }
  }
  return steps;
}

// ------------------------------------------------------------------------------------ the picture

const element = (id) => document.getElementById(id);
const world = element("world");

function child(parent, tag, className, text) {
  const made = document.createElementNS(parent.namespaceURI, tag);
  if (className) made.setAttribute("class", className);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

function drawGraph() {
  Object.assign(world.style, { width: `${graph.width}px`, height: `${graph.height}px` });
  world.setAttribute("aria-label", `Graph of ${nodes.length} nodes that leads to ${nodes[root].name}`);
  for (const edge of edges) {
    edge.element = child(element("edges"), "g", "");
    const path = child(edge.element, "path");
    path.setAttribute("d", edge.path);
    const half = path.getPointAtLength(path.getTotalLength() / 2);
    const [x, y] = edge.label ?? [half.x, half.y - 12];
    edge.text = child(edge.element, "text", "", digits(edge.partial));
    edge.text.setAttribute("x", x);
    edge.text.setAttribute("y", y);
  }
  const [width, height] = graph.box;
  for (const node of nodes) {
    node.element = child(world, "div");
    Object.assign(node.element.style, {
      left: `${node.x - width / 2}px`,
      top: `${node.y - height / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    node.element.title = node.op ? `${node.name}\n${node.op}` : node.name;
    const title = child(node.element, "div");
    child(title, "span", "name", node.name);
    child(title, "span", "op", printed(node.op));
    node.shownValue = child(child(node.element, "div"), "span", "value");
    const last = child(node.element, "div", "last");
    node.shownOf = child(last, "span", "of");
    node.shownDerivative = child(last, "span", "derivative");
  }
  for (const i of leaves) {
    const option = child(element("input"), "option", "", `${nodes[i].name} = ${digits(nodes[i].value)}`);
    option.value = i;
  }
}

let mode, input, steps, k;
let started, finished; // for each node, the first and the last step that writes it

function enter(newMode) {
  mode = newMode;
  input = Number(element("input").value);
  steps = { evaluate: evaluation, forward: () => forward(input), reverse }[mode]();
  started = new Map();
  finished = new Map();
  for (const edge of edges) edge.used = Infinity;
  steps.forEach((step, at) => {
    for (const [i] of step.sets) {
      if (!started.has(i)) started.set(i, at);
      finished.set(i, at);
    }
    for (const edge of step.edges ?? []) edge.used = at;
  });
  document.body.dataset.mode = mode;
  element("by").hidden = mode !== "forward";
  for (const id of ["evaluate", "forward", "reverse"]) element(id).setAttribute("aria-pressed", id === mode);
  element("progress").max = steps.length - 1;
  nodes.forEach((node, i) => {
    const of = mode === "forward" ? derivative(i, input) : derivative(root, i);
    node.shownOf.textContent = plain(of);
  });
  go(0);
}

function go(to) {
  k = Math.max(0, Math.min(steps.length - 1, to));
  const step = steps[k];
  const numbers = new Map();
  for (let at = 0; at <= k; at++) for (const [i, x] of steps[at].sets) numbers.set(i, x);
  nodes.forEach((node, i) => {
    const shown = numbers.has(i) ? digits(numbers.get(i)) : "";
    node.shownValue.textContent = mode === "evaluate" ? shown : digits(node.value);
    node.shownDerivative.textContent = mode === "evaluate" ? "" : shown;
    node.element.className = Object.entries({
      node: true,
      leaf: !operands[i].length,
      late: !numbers.has(i),
      more: numbers.has(i) && finished.get(i) > k,
      source: step.sources?.includes(i),
      now: step.node === i,
    })
      .filter(([, is]) => is)
      .map(([className]) => className)
      .join(" ");
  });
  for (const edge of edges) {
    const when = step.edges?.includes(edge) ? "now" : edge.used > k ? "late" : "";
    edge.element.setAttribute("class", edge.label ? when : `crowded ${when}`);
    if (when === "now") edge.element.parentNode.append(edge.element); // above the others
  }
  element("note").textContent = step.note;
  element("formula").replaceChildren(
    ...step.formula.map((piece, at) => {
      const math = mathml({ tag: "math", parts: piece });
      math.setAttribute("displaystyle", "true");
      if (step.node !== undefined && at === step.formula.length - 1) math.setAttribute("class", "result");
      return math;
    }),
  );
  element("spoken").textContent = step.formula.flat().map(plain).join("");
  element("progress").value = k;
  element("count").textContent = `${k + 1} of ${steps.length}`;
  element("progress").setAttribute("aria-valuetext", element("count").textContent);
  // Not `disabled`, with which a button would lose the focus.
  for (const id of ["first", "back"]) element(id).ariaDisabled = k === 0;
  for (const id of ["last", "next"]) element(id).ariaDisabled = k === steps.length - 1;
  if (step.node !== undefined) reveal([step.node, ...(step.sources ?? [])]);
}

/** The nearest step in direction `by` (1 or -1) that completes what is said of another node. */
function goToNode(by) {
  const about = (at) => (mode === "reverse" ? steps[at].sources?.[0] : steps[at].node);
  const complete = (at) => at === 0 || at === steps.length - 1 || about(at) !== about(at + 1);
  let at = k + by;
  while (at > 0 && at < steps.length - 1 && !complete(at)) at += by;
  go(at);
}

// ------------------------------------------------------------------------------------ the camera

const view = element("view");
const MARGIN = 32;
const camera = { x: 0, y: 0, zoom: 1 };
let moved = false; // by the user

function look(x, y, zoom, glide) {
  Object.assign(camera, { x, y, zoom });
  world.classList.toggle("gliding", Boolean(glide));
  world.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
}

function fit(least = 0) {
  const { clientWidth: width, clientHeight: height } = view;
  const scale = Math.min((width - 2 * MARGIN) / graph.width, (height - 2 * MARGIN) / graph.height);
  const zoom = Math.max(least, 0.02, Math.min(scale, 1.8));
  look((width - graph.width * zoom) / 2, (height - graph.height * zoom) / 2, zoom);
}

/** Zoom by a factor about the point (x, y) of the view. */
function zoomAt(by, x = view.clientWidth / 2, y = view.clientHeight / 2) {
  const zoom = Math.max(0.02, Math.min(6, camera.zoom * by));
  const ratio = zoom / camera.zoom;
  moved = true;
  look(x - (x - camera.x) * ratio, y - (y - camera.y) * ratio, zoom);
}

/** Bring these nodes into view, or the first of them where there is no room for all. */
function reveal(which) {
  const { zoom } = camera;
  const along = (axis, size, room) => {
    const places = which.map((i) => nodes[i][axis]);
    const low = (Math.min(...places) - size / 2) * zoom;
    const high = (Math.max(...places) + size / 2) * zoom;
    const middle = high - low <= room ? (low + high) / 2 : places[0] * zoom;
    return { seen: low + camera[axis] >= 0 && high + camera[axis] <= room, shift: room / 2 - middle };
  };
  const x = along("x", graph.box[0], view.clientWidth);
  const y = along("y", graph.box[1], view.clientHeight);
  if (!x.seen || !y.seen) look(x.shift, y.shift, zoom, true);
}

/** All of the graph where that is readable, else the place of the current step. */
function startView() {
  fit(0.9);
  reveal([steps[k].node ?? leaves[0], ...(steps[k].sources ?? [])]);
}

const pointers = new Map(); // those that are down, by id: their places

function middle() {
  const places = [...pointers.values()];
  const x = places.reduce((sum, place) => sum + place.x, 0) / places.length;
  const y = places.reduce((sum, place) => sum + place.y, 0) / places.length;
  return { x, y, spread: Math.hypot(places[0].x - x, places[0].y - y) };
}

function place(event) {
  const corner = view.getBoundingClientRect();
  return { x: event.clientX - corner.left, y: event.clientY - corner.top };
}

view.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button")) return;
  view.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, place(event));
});
view.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const before = middle();
  pointers.set(event.pointerId, place(event));
  const after = middle();
  moved = true;
  look(camera.x + after.x - before.x, camera.y + after.y - before.y, camera.zoom);
  if (before.spread && after.spread) zoomAt(after.spread / before.spread, after.x, after.y);
});
for (const type of ["pointerup", "pointercancel"]) {
  view.addEventListener(type, (event) => pointers.delete(event.pointerId));
}
view.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1);
    const { x, y } = place(event);
    zoomAt(Math.exp(-pixels * 0.0015), x, y);
  },
  { passive: false },
);

// ----------------------------------------------------------------------------- buttons and keys

function switchTheme() {
  const { style } = document.documentElement;
  const dark = style.colorScheme
    ? style.colorScheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  style.colorScheme = dark ? "light" : "dark";
}

const actions = {
  evaluate: () => enter("evaluate"),
  forward: () => enter("forward"),
  reverse: () => enter("reverse"),
  first: () => go(0),
  back: () => go(k - 1),
  next: () => go(k + 1),
  last: () => go(steps.length - 1),
  in: () => zoomAt(1.25),
  out: () => zoomAt(0.8),
  fit: () => fit(),
  theme: switchTheme,
};
const keys = {
  1: actions.evaluate,
  2: actions.forward,
  3: actions.reverse,
  Home: actions.first,
  ArrowLeft: actions.back,
  ArrowRight: actions.next,
  End: actions.last,
  ArrowUp: () => goToNode(-1),
  ArrowDown: () => goToNode(1),
  "+": actions.in,
  "=": actions.in,
  "-": actions.out,
  0: actions.fit,
  t: actions.theme,
  T: actions.theme,
};
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);
element("input").addEventListener("change", () => enter("forward"));
element("progress").addEventListener("input", () => go(Number(element("progress").value)));
document.addEventListener("keydown", (event) => {
  const { key, ctrlKey, metaKey, altKey, target } = event;
  if (!Object.hasOwn(keys, key) || ctrlKey || metaKey || altKey || target.localName === "select") return;
  event.preventDefault();
  keys[key]();
});

document.title = `${nodes[root].name} = ${digits(nodes[root].value)}`;
drawGraph();
const firstLabelled = leaves.find((i) => nodes[i].labelled);
if (firstLabelled !== undefined) element("input").value = firstLabelled;
enter("evaluate");
startView();
new ResizeObserver(() => moved || startView()).observe(view);
