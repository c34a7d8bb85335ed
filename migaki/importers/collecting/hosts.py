"""Hands out work so that no host gets more than a few requests at once, and these with pauses."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from urllib.parse import urlsplit


class Hosts:
    """Places to be done, given out to threads. While one host is busy, places of the others are given out.

    `per_host` is the number of requests to a host at a time, `delay` the seconds between the beginnings of two.
    """

    def __init__(self, urls: Sequence[tuple[int, str]], per_host: int, delay: float) -> None:
        self.per_host, self.delay = per_host, delay
        self._waiting: OrderedDict[str, deque[int]] = OrderedDict()
        for place, url in urls:
            self._waiting.setdefault(host_of(url), deque()).append(place)
        self._busy: dict[str, int] = {}
        self._ready_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._is_closed = False

    def take(self) -> tuple[int, str] | None:
        """Returns the next place and its host, or None when nothing is left; waits while all hosts are busy."""
        with self._changed:
            while self._waiting and not self._is_closed:
                now, soonest = time.monotonic(), None
                for host in self._waiting:
                    if self._busy.get(host, 0) >= self.per_host:
                        continue
                    ready = self._ready_at.get(host, 0.0)
                    if ready <= now:
                        return self._given(host, now), host
                    soonest = ready if soonest is None else min(soonest, ready)
                self._changed.wait(None if soonest is None else soonest - now)
            return None

    def _given(self, host: str, now: float) -> int:
        place = self._waiting[host].popleft()
        self._busy[host] = self._busy.get(host, 0) + 1
        self._ready_at[host] = now + self.delay
        if self._waiting[host]:
            self._waiting.move_to_end(host)  # hosts take turns
        else:
            del self._waiting[host]
            self._changed.notify_all()
        return place

    def done(self, host: str) -> None:
        """Tell that a request to `host` has ended."""
        with self._changed:
            self._busy[host] -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Give out nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def host_of(url: str) -> str:
    """Returns the host of a URL in lower case; "" if it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
