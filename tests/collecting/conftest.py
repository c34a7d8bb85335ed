"""The hostile server, for tests of collecting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_server import HostileServer, hostile_server


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running
