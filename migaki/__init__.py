"""migaki: make vision models work where labels are scarce."""

import sys
import types

__version__ = "0.1.0"

__all__ = ["Evaluation", "Folder", "Prediction", "Run", "UserError", "adapt", "apply", "judge", "load",
           "load_backbone", "read", "simulate", "train"]

_FOUND_IN = {"UserError": "migaki.core.errors"} | dict.fromkeys(
    ("adapt", "apply", "judge", "load", "read", "train"), "migaki.api.calls") | {
    "Evaluation": "migaki.api.evaluation", "Folder": "migaki.api.folder", "Prediction": "migaki.api.prediction",
    "Run": "migaki.api.run", "load_backbone": "migaki.nets.published"}


def __getattr__(name: str) -> object:
    """Import what `migaki.NAME` names when it is first asked for, so that `import migaki` costs nothing."""
    import importlib

    if name == "simulate":  # a package of that name exists: see `_Package`
        return importlib.import_module("migaki.simulate")
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'migaki' has no attribute '{name}'")
    return getattr(importlib.import_module(_FOUND_IN[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Called(types.ModuleType):
    """The package `migaki.simulate`, which is also the call `migaki.simulate(NAME, OUT)`: one name cannot be two."""

    def __call__(self, *arguments: object, **options: object) -> object:
        """Render labelled images: see `migaki.api.calls.simulate`."""
        import importlib

        return importlib.import_module("migaki.api.calls").simulate(*arguments, **options)


class _Package(types.ModuleType):
    """This package. Python sets a subpackage as an attribute once it is imported; `simulate` then learns its call."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "simulate" and isinstance(value, types.ModuleType):
            value.__class__ = _Called
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
