"""ServedPage: the base class of the pages of `migaki serve`. One file `NAME_page.py` holds one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from migaki.web.serving import Tell, tell_at_once


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """The address of a page, and who may open it."""

    GROUPS: ClassVar[dict[str, str]] = {"run": "host port token"}

    host: str = "127.0.0.1"  # address to serve at; one that other machines can reach needs a token
    port: int = 8765  # port to serve at; 0 chooses a free one
    token: str | None = None  # secret part of the link; required if other machines can reach the server


class ServedPage(ABC):
    """A page that people open in a browser; its file's name without `_page` is its name on the command line.

    `Config` is a frozen, keyword-only dataclass of options. `operand` names the field that a bare word fills, as in
    `migaki serve folder DIR`.
    """

    Config: ClassVar[type[Any]]
    operand: ClassVar[str] = ""
    config: Any

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted; `tell` prints the links. Raises UserError for invalid options."""
