"""What the stages that are killed and stopped work on, made once."""

from __future__ import annotations

import pytest
from harness import prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders and a trained refiner, see `harness.prepare`."""
    return prepare(tmp_path_factory.mktemp("prepared"), 1)
