"""All workloads, in the order in which they are run and shown."""

from importlib import import_module

from benchmarks.registry import WORKLOADS

__all__ = ["WORKLOADS"]

for topic in ("chain", "moons", "gpt", "deep", "memory", "live", "growth", "imports"):
    import_module(f"benchmarks.workloads.{topic}")
