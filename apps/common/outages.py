"""Servers that go away and come back."""

import logging
from time import monotonic

logger = logging.getLogger(__name__)


class Outage:
    """Says once that a server does not answer, and once that it answers again, however often it was asked meanwhile."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the server was away when it was asked last."""
        return self._since is not None

    def began(self, error: BaseException) -> None:
        """The server did not answer."""
        if self._since is None:
            self._since = monotonic()
            logger.warning("%s does not answer (%s: %s)", self._server, type(error).__name__, error)

    def ended(self) -> None:
        """The server has answered."""
        since, self._since = self._since, None
        if since is not None:
            logger.warning("%s answers again, after %.0f s", self._server, monotonic() - since)
