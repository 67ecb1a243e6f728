"""Declares the extension modules; everything else is in pyproject.toml.

MICROGRAD_C_DEBUG=1 builds with bounds checks and assertions on every index,
MICROGRAD_C_SANITIZE=1 with AddressSanitizer and UndefinedBehaviorSanitizer besides.
"""

import importlib.util
import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("MICROGRAD_C_DEBUG") == "1"
SANITIZE = os.environ.get("MICROGRAD_C_SANITIZE") == "1"

# Eager arithmetic equals CPython's bit for bit: no multiply and add is contracted into one.
if DEBUG or SANITIZE:
    UNIX = ["-Og", "-g1", "-fno-omit-frame-pointer"]  # quick to compile; reports name lines
else:
    UNIX = ["-O3"]
UNIX += ["-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
MSVC = ["/O2", "/fp:precise"]
MACROS = [("MICROGRAD_C_DEBUG", "1")] if DEBUG or SANITIZE else []
# The engines of compiled programs: lanes.c, once for each instruction set; engine_select() asks the
# processor which to use. Other compilers and machines have the first alone.
LANES = ["-ffp-contract=fast", "-fno-trapping-math"]
ENGINES = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
    + ["-mprefer-vector-width=512"],
}
INCLUDE = ["src/ops", "src/code", "src/program"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


class BuildExt(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True  # what lies in build/ may come from other flags
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        for extension in self.extensions:
            extension.extra_compile_args = MSVC if msvc else UNIX
            if SANITIZE:
                extension.extra_compile_args += SANITIZERS
                extension.extra_link_args += SANITIZERS
            if extension.name == "micrograd_c._graph":
                extension.extra_objects = self.engines(extension.extra_compile_args)
        super().build_extensions()

    def engines(self, args):
        """The object files of lanes.c; what they must run on is `plat_name`, not this machine."""
        unix = self.compiler.compiler_type == "unix"
        x86 = unix and self.plat_name.endswith(("x86_64", "amd64"))
        objects = []
        for isa in ENGINES if x86 else ["baseline"]:
            macros = [*MACROS, ("ENGINE", isa)]
            if isa == "baseline":
                macros.append(("X86_ENGINES", str(int(x86))))
            objects += self.compiler.compile(
                ["src/code/lanes.c"],
                output_dir=os.path.join(self.build_temp, isa),
                macros=macros,
                include_dirs=INCLUDE,
                extra_postargs=[*args, *LANES, *ENGINES[isa]] if unix else args,
            )
        return objects


def read_table():
    """Write the signatures of the op table's functions, for type checkers.

    Ends the build where the table has a formula that derivatives could not be made from.
    """
    spec = importlib.util.spec_from_file_location("formulas", "micrograd_c/formulas.py")
    formulas = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formulas)
    table = Path("src/ops/ops.h").read_text(encoding="utf-8")
    names = dict.fromkeys(["choice", "TWO_OVER_SQRT_PI", "LN_2", "LN_10"])
    try:
        formulas.read_partials(*formulas.table(table), names, lambda name: None)
    except ValueError as error:
        sys.exit(f"src/ops/ops.h: {error}")
    stub, text = Path("micrograd_c/_functions.pyi"), formulas.signatures(table)
    if not stub.exists() or stub.read_text() != text:  # or it looks newer than what was built
        stub.write_text(text)


read_table()


def extension(name):
    return Extension(
        f"micrograd_c.{name}",
        [f"src/{name}.pyx"],
        include_dirs=INCLUDE,
        depends=[str(path) for path in sorted(Path("src").rglob("*.*"))],
        define_macros=MACROS,
        libraries=["dl"] if sys.platform == "linux" else [],
    )


setup(
    ext_modules=cythonize(
        [extension("_graph"), extension("_core")],
        include_path=["src", "."],
        build_dir="build",
        nthreads=os.cpu_count(),
    ),
    cmdclass={"build_ext": BuildExt},
)
