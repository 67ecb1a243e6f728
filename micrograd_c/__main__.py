"""Run a program written for micrograd on micrograd_c: `python -m micrograd_c script.py`.

The program sees what `python script.py` would show it: argv, sys.path, `__main__`, tracebacks,
exit code. It runs in a module of its own, and how it ends is left to Python: exceptions leave
here as they came, and only how they are printed is changed.
"""

import argparse
import builtins
import importlib.util
import linecache
import os
import pkgutil
import sys
from importlib.machinery import BuiltinImporter, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from . import swap as swapping

USAGE = """python -m micrograd_c [--swap NAME] script.py [arg ...]
       python -m micrograd_c [--swap NAME] -m module [arg ...]
       python -m micrograd_c [--swap NAME] -c code [arg ...]"""

DESCRIPTION = """\
Run a program written for micrograd on micrograd_c, unchanged: `import micrograd`, and whatever
is imported from it, means micrograd_c, whether or not micrograd is installed. Arguments,
tracebacks and exit code are the program's own."""

EPILOG = """\
--swap is for a program that defines its own Value class. The class must stand at the top level
and have the methods __add__, __mul__ and backward. The methods that micrograd_c.Value also has,
__init__ and __repr__ included, are then those of micrograd_c. Further methods are kept, at a
cost in speed, and so are methods that compute other numbers than those of micrograd_c. A list of
what is replaced is printed on stderr. If there is no such class, or it cannot be replaced,
nothing is run and the exit code is 2.

examples:
  python -m micrograd_c train.py --steps 100
  python -m micrograd_c --swap Value gpt.py
  python -m micrograd_c -c "from micrograd.engine import Value; print(Value(2) * 3)"
"""


def main() -> None:
    arguments = sys.argv[1:]
    end = own_end(arguments)
    options = parser().parse_args(arguments[:end])
    swapping.make_ready(options.swap)
    swapping.spawn_alike(options.swap)
    try:
        module, code = load(options, arguments[end:])
    except swapping.SwapError as error:
        refuse(f"micrograd_c: --swap {options.swap}: {error}", 2)
    except SyntaxError as error:
        print_with_frames(error, None)
        raise
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        assert error.__traceback__ is not None
        print_with_frames(error, error.__traceback__.tb_next)
        raise


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m micrograd_c",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    program = parser.add_mutually_exclusive_group(required=True)
    program.add_argument(
        "script",
        nargs="?",
        metavar="script.py",
        help="a file, a directory or zip file with a __main__.py in it, or - for standard input",
    )
    program.add_argument("-m", dest="module", metavar="module", help="a module or a package")
    program.add_argument("-c", dest="code", metavar="code", help="the program itself")
    parser.add_argument(
        "--swap",
        metavar="NAME",
        help="replace the program's own class of this name by micrograd_c.Value",
    )
    return parser


def own_end(arguments: list[str]) -> int:
    """How many of the arguments are ours: those up to the script, or to what -m or -c names.

    >>> own_end(["--swap", "Value", "gpt.py", "--swap", "x"])
    3
    >>> own_end(["-m", "train", "--help"])
    2
    """
    end = 0
    while end < len(arguments):
        argument = arguments[end]
        end += 2 if argument in ("--swap", "-m", "-c", "--") else 1
        if argument[:2] in ("-m", "-c") or argument in ("-", "--") or argument[:1] != "-":
            break
    return end


def load(options: argparse.Namespace, arguments: list[str]) -> tuple[ModuleType, CodeType]:
    """The program's module and code; sys.argv and sys.path become what Python would give it."""
    if options.module is not None:
        set_path(os.getcwd())
        sys.argv = ["-m", *arguments]
        module, code = load_module(options.module, options.swap)
        sys.argv[0] = str(module.__file__)
        return module, code
    if options.code is not None:
        sys.argv = ["-c", *arguments]
        module, code = load_text(options.code, "<string>", options.swap)
        register = getattr(linecache, "_register_code", None)
        if register is not None:  # CPython 3.13 and later: tracebacks show the lines of -c
            by_code = hasattr(linecache, "_interactive_cache")  # from 3.13.1 on
            register(code if by_code else "<string>", options.code, "<string>")
        return module, code
    sys.argv = [options.script, *arguments]
    if options.script == "-":
        return load_text(sys.stdin.buffer.read(), "<stdin>", options.swap)
    path = os.path.join(os.getcwd(), options.script)
    finder = pkgutil.get_importer(path)
    if finder is None:
        set_path(os.path.dirname(os.path.realpath(path)))
        return load_script(path, options.swap)
    if safe_path():
        sys.path.insert(0, path)
    else:
        sys.path[0] = path
    give_way(path)
    spec = finder.find_spec("__main__", None)
    if spec is None:
        refuse(f"{sys.executable}: can't find '__main__' module in {path!r}", 1)
    return load_spec(spec, options.swap)


def safe_path() -> bool:
    """Whether Python was told (-I, -P) not to put the program's folder first in sys.path."""
    return bool(getattr(sys.flags, "safe_path", sys.flags.isolated))


def set_path(folder: str) -> None:
    """Put the program's folder first in sys.path, where Python would."""
    if not safe_path():
        sys.path[0] = folder
        give_way(folder)


def give_way(folder: str) -> None:
    """Let the program import what lies there, whatever was imported since Python started."""
    swapping.give_way(folder, "site" if "site" in sys.modules else "__main__")


def load_script(path: str, swap: str | None) -> tuple[ModuleType, CodeType]:
    compiled = path.endswith(".pyc")
    loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", path)
    module = new_module(loader, __file__=path)
    try:
        source = loader.get_data(path)
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        refuse(f"{sys.executable}: can't open file {path!r}: {reason}", 2)
    if compiled:
        return module, code_from(loader, "__main__", swap)
    return module, compile_text(source, path, swap)


def load_text(text: bytes | str, path: str, swap: str | None) -> tuple[ModuleType, CodeType]:
    set_path("")
    names = {"__file__": path} if path == "<stdin>" else {}
    return new_module(BuiltinImporter, **names), compile_text(text, path, swap)


def load_module(name: str, swap: str | None) -> tuple[ModuleType, CodeType]:
    spec = find(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = find(f"{name}.__main__")
        if spec is None:
            refuse(
                f"{sys.executable}: No module named {name}.__main__; "
                f"{name!r} is a package and cannot be directly executed",
                1,
            )
    if spec is None:
        refuse(f"{sys.executable}: No module named {name}", 1)
    return load_spec(spec, swap)


def find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise  # a package on the way to it imports something that is missing
        return None


def load_spec(spec: ModuleSpec, swap: str | None) -> tuple[ModuleType, CodeType]:
    code = code_from(spec.loader, spec.name, swap)
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(new_module(spec.loader).__dict__ | module.__dict__)
    module.__name__ = "__main__"
    return module, code


def new_module(loader: Any, **names: Any) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__loader__=loader, __builtins__=builtins, **names)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    if sys.version_info < (3, 15) and names:
        module.__dict__["__cached__"] = None
    return module


def code_from(loader: Any, name: str, swap: str | None) -> CodeType:
    if swap is not None:
        source = loader.get_source(name) if hasattr(loader, "get_source") else None
        if source is None:
            raise swapping.SwapError(f"{name} has no source")
        return swapping.compile_swapped(source, loader.get_filename(name), swap)
    code: CodeType | None = loader.get_code(name) if hasattr(loader, "get_code") else None
    if code is None:
        refuse(f"{sys.executable}: No code object available for {name}", 1)
    return code


def compile_text(text: bytes | str, path: str, swap: str | None) -> CodeType:
    if swap is None:
        return compile(text, path, "exec", dont_inherit=True)
    return swapping.compile_swapped(text, path, swap)


def refuse(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(code)


def print_with_frames(error: BaseException, frames: TracebackType | None) -> None:
    """Let the error be printed with these frames alone, when Python comes to print it.

    Python itself then does the rest as ever: the program's own sys.excepthook, the exit code, the
    death by SIGINT after a KeyboardInterrupt.
    """
    hook = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, _: Any) -> None:
        sys.excepthook, sys.last_traceback = hook, frames
        hook(kind, error.with_traceback(frames), frames)

    sys.excepthook = excepthook


if __name__ == "__main__":
    main()
