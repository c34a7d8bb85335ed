"""Optional packages: what is missing is named with the extra that brings it."""

from __future__ import annotations

import sys

import pytest

from migaki.core.errors import UserError
from migaki.core.extras import optional
from migaki.stages.copy_evidence import require_key_points


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert optional("json", "nothing", "reading").loads("1") == 1
    with pytest.raises(UserError, match=r"--search faiss needs an extra: pip install 'migaki\[copies\]'"):
        monkeypatch.setitem(sys.modules, "faiss", None)
        optional("faiss", "copies", "--search faiss")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"key points .*migaki\[copies\]"):
        require_key_points()
