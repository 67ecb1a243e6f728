"""C programs to compare with, compiled when they are measured."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

# A sum over samples may be added up in another order, as a C programmer who wants SIMD allows.
FLAGS = ["-O3", "-mavx2", "-mfma", "-fassociative-math", "-fno-signed-zeros"]
FLAGS += ["-fno-trapping-math", "-fno-math-errno", "-shared", "-fPIC"]


class NoCompiler(Exception):
    """There is no C compiler here."""


def build(source):
    """The shared library made of a C file next to this one, by $CC or else cc."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not shutil.which(compiler[0]):
        raise NoCompiler(f"{compiler[0]} is not there: set CC to a C compiler")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "library.so")
        command = [*compiler, *FLAGS, "-o", str(library), str(Path(__file__).with_name(source))]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise NoCompiler(f"{compiler[0]} cannot build it: {built.stderr.strip()}")
        return ctypes.CDLL(str(library))  # once loaded, its file may go
