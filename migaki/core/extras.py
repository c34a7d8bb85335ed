"""Optional packages: imported where they are used, with an error that names the extra that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from migaki.core.errors import UserError


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Returns the module; UserError that names `extra` where it is missing. `what` needs it, such as "poses"."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{what} needs an extra: pip install 'migaki[{extra}]'") from error
