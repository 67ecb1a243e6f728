"""All workloads, in the order in which they are run and shown."""

from importlib import import_module

from benchmarks.registry import WORKLOADS

__all__ = ["WORKLOADS"]

TOPICS = "chain arrays moons sample threads gpt pricing mixed call rosenbrock hessian"
TOPICS += " deep memory live growth imports"

for topic in TOPICS.split():
    import_module(f"benchmarks.workloads.{topic}")
