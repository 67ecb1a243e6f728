"""Where the source lies: in the repository beside the tests, or in a folder where they run."""

from pathlib import Path

BESIDE = Path(__file__).parents[1]
SOURCE = BESIDE / "source" if (BESIDE / "source").exists() else BESIDE
