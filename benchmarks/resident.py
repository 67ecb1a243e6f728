"""How much memory this process holds."""

import psutil


def resident():
    """The resident set of this process, bytes."""
    return psutil.Process().memory_info().rss
