"""Fixed responses: a route that answers by itself (`respond = { status = 200, body = "ok" }`)."""

from collections.abc import Mapping
from typing import final

from headgate.http.fields import Fields
from headgate.http.status import may_have_content
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.reply import Reply


@final
class Respond:
    """One fixed response; its fields are checked once, here. Raises `ValueError` for what cannot be sent."""

    __slots__ = ("_fields", "body", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is no final status code")
        if body and not may_have_content(status):
            raise ValueError(f"a response with status {status} has no content (RFC 9110 section 6.4.1)")
        self.status = status
        self.body = body
        self._fields = Fields([], [], 0)
        if body and content_type:
            FieldEdits({"Content-Type": content_type}).apply(self._fields)
        FieldEdits(headers).apply(self._fields)

    def __repr__(self) -> str:
        return f"<Respond {self.status} {len(self.body)} octets>"

    def reply(self) -> Reply:
        """Return the response; its fields are the caller's own copy."""
        return Reply(self.status, self._fields.copy(), self.body)
