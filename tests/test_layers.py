"""The layers of src/: a file uses names of its own layer and of those below it, of no other.

And the pages that explain them name what there is.
"""

import re

import pytest
from source import BESIDE, SOURCE

SRC = SOURCE / "src"
BELOW = {
    "ops": set(),
    "graph": {"ops"},
    "code": {"ops", "graph"},
    "tape": {"ops"},
    "value": {"ops", "tape"},
    "program": {"ops", "graph", "code", "tape", "value"},
}
FUNCTION = re.compile(r"^(?:def |(?:cdef|cpdef) [^(=\n]*?)(\w+)(?: \"\w+\")?\(", re.M)
NAME = re.compile(
    r"^(?:(?:cdef )?(?:class|struct|enum) (\w+)"
    r"|cdef [^(=\n]*?(\w+)(?:\[\w+\])* *(?:=|$|#)"
    r"|([A-Za-z_]\w*) = )",
    re.M,
)


def code_of(text):
    """Without comments, docstrings, and texts but for what is evaluated within them."""
    text = re.sub(r'""".*?"""', "", text, flags=re.S)
    text = re.sub(r"#.*", "", text)
    return re.sub(r"f?'(?:[^'\\\n]|\\.)*'", lambda m: " ".join(re.findall(r"{(.*?)}", m[0])), text)


def definitions(text):
    """What stands at the margin, functions as `name(`; and constants in enums."""
    names = {name + "(" for name in FUNCTION.findall(text)}
    names |= {next(filter(None, found)) for found in NAME.findall(text)}
    for block in re.findall(r"^cdef enum:.*\n((?:    .*\n)+)", text, re.M):
        names |= set(re.findall(r"^    ([A-Z_]+)\b", block, re.M))
    return names


def uses(text):
    """Names that are not a function's own, and names that are called: a local may have its name."""
    text = re.sub(r"^ +cdef [^(=\n]*?\w+\(self", "", text, flags=re.M)
    own = set(re.findall(r"^ +(?:cdef [^(=\n]*?)?(\w+)(?: = |$)", text, re.M))
    names = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", text))
    return names - own | set(re.findall(r"(?<![\w.])\w+\(", text))


def read(folder):
    return {path.name: code_of(path.read_text()) for path in sorted((SRC / folder).glob("*.p*"))}


def above(layer):
    """What the layer may not use: the names that are defined in others but those below it."""
    own = {
        name
        for allowed in BELOW[layer] | {layer}
        for t in read(allowed).values()
        for name in definitions(t)
    }
    others = {
        name: other
        for other in BELOW
        if other not in BELOW[layer] | {layer}
        for text in read(other).values()
        for name in definitions(text)
    }
    return {name: other for name, other in others.items() if name not in own}


@pytest.mark.parametrize("layer", BELOW)
def test_a_layer_uses_what_is_below_it(layer):
    refused = above(layer)
    for name, text in read(layer).items():
        found = {word: refused[word] for word in uses(text) & set(refused)}
        assert not found, f"{layer}/{name} uses {found}"


def test_every_file_is_in_a_layer():
    files = {path.relative_to(SRC).parts[0] for path in SRC.rglob("*.*") if path.suffix != ".pyc"}
    assert files - set(BELOW) == {"_core.pyx", "_graph.pyx"}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_pages_name_files_and_functions_that_there_are(page):
    text = (SOURCE / page).read_text(encoding="utf-8")
    names = set(re.findall(r"`([\w./]+)`", re.sub(r"```.*?```", "", text, flags=re.S)))
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("src", "micrograd_c")
        for path in (SOURCE / folder).rglob("*.*")
        if path.suffix in (".py", ".pyx", ".pxi", ".h", ".c")
    )
    files = {
        path.name for folder in ("src", "micrograd_c") for path in (SOURCE / folder).rglob("*")
    }
    for name in names:
        if name.startswith(("src/", "micrograd_c/", "tests/")):
            root = BESIDE if name.startswith("tests/") else SOURCE
            assert (root / name).exists(), name
        elif "." in name and name.rpartition(".")[2] in ("py", "pyx", "pyi", "h", "c"):
            assert name in files, name
        elif re.fullmatch(r"[a-z]+_\w+", name):
            assert re.search(rf"\b{name}\b", code), name
