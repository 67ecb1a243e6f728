"""Modules under a second name: those that were renamed, and `micrograd` after `install()`."""

from __future__ import annotations

from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # that of `typing`, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

# Names that modules had before version 0.2. They can be imported until 0.3, from pickles, too.
RENAMED = {
    "micrograd_c.choose": "micrograd_c.reductions",
    "micrograd_c.dropin": "micrograd_c.swap",
    "micrograd_c.transform": "micrograd_c.derivatives",
}


def renamed(name: str) -> str | None:
    """The present name of a module that was renamed, with a DeprecationWarning; else None."""
    present = RENAMED.get(name)
    if present is not None:
        import warnings

        warnings.warn(
            f"{name} is now {present}. The old name ends with version 0.3",
            DeprecationWarning,
            stacklevel=3,
        )
    return present


class Finder:
    """Finds modules under second names, for `sys.meta_path`: each is the very module itself.

    name_of: a function that takes a full name and returns the name that it stands for, or None.
    """

    def __init__(self, name_of: Callable[[str], str | None]) -> None:
        self.name_of = name_of

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name_of_module = self.name_of(name)
        if name_of_module is None:
            return None
        return ModuleSpec(name, self, loader_state=name_of_module)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        from importlib import import_module

        module = import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        # The import system has just put the alias's spec here: the module keeps its own.
        module.__spec__ = module.__spec__.loader_state
