"""Where the numbers were measured: processor, system, compiler, Python."""

import importlib.util
import os
import platform
import re
import subprocess
from pathlib import Path


def describe():
    """What a reader needs to place the numbers, as {what: text}."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "threads": "1 an engine, on one core; 2 for micrograd_c.threads",
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": compiler(),
        "load": load(),
    }


def processor():
    """The model's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        if model:
            return model[1]
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.check_output(command, text=True).strip()
    return platform.processor() or platform.machine()


def compiler():
    """What compiled micrograd_c, read off its extension module; GCC and clang leave their names."""
    found = importlib.util.find_spec("micrograd_c")
    for folder in (found.submodule_search_locations or []) if found else []:
        for module in Path(folder).glob("_core*.so"):
            name = re.search(rb"GCC: \([^)]*\) [\d.]+|clang version [\d.]+", module.read_bytes())
            if name:
                return name[0].decode()
    return "unknown"


def load():
    """How busy the machine was with other things just now."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return f"{os.getloadavg()[0]:.1f} processes over the last minute"
