"""What a refusal says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migaki.core.errors import UserError


def message(action: Callable[[], object]) -> str:
    """The one line of the UserError that `action` must raise."""
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)
