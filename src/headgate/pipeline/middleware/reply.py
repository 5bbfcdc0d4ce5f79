"""A response that Headgate makes itself, before it is put on any wire."""

from typing import final

from headgate.http.fields import Fields


@final
class Reply:
    """Status, fields without framing (no Content-Length: who sends it writes that) and content.

    `fields` belongs to the receiver of the reply and may be changed.
    """

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Fields, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"<Reply {self.status} {len(self.body)} octets>"


def text_reply(status: int, text: bytes) -> Reply:
    """Return a plain text reply."""
    fields = Fields([b"content-type"], [b"Content-Type: text/plain; charset=utf-8"], 0)
    return Reply(status, fields, text)
