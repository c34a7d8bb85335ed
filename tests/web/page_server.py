"""Servers on a thread: of any page of ours, and of a Turing test that can be stopped in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from migaki.web.connections import ConnectionLimits, server_config
from migaki.web.serving import bind
from migaki.web.sittings import FILE_NAME, Sittings
from migaki.web.turing import TuringConfig, open_test
from migaki.web.turing_app import build_app


@contextmanager
def served(app: Any, limits: ConnectionLimits | None = None) -> Iterator[str]:
    """The address of an application that is served until the end."""
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(server_config(app, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


class Server:
    """A server on a thread, which can be stopped in the middle of a test and started again at the same port."""

    def __init__(self, config: TuringConfig, limits: ConnectionLimits | None = None) -> None:
        self.config, self.port, self.limits = config, 0, limits
        self.start()

    def start(self) -> None:
        self.sittings = Sittings(self.config.out / FILE_NAME) if self.port else open_test(self.config)
        self.listener = bind("127.0.0.1", self.port)
        self.port = self.listener.getsockname()[1]
        app = build_app(self.sittings, host="127.0.0.1", token=self.config.token)
        self.server = uvicorn.Server(server_config(app, self.limits))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()
        self.sittings.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"
