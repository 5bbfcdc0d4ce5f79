"""What a listener asks of its connections: times in seconds, sizes in bytes."""

from typing import final

from headgate.engine.h1.grammar import MAX_FIELDS


@final
class ConnectionSettings:
    """Timeouts and limits of downstream connections; docs/limits.md has the reason of each."""

    def __init__(
        self,
        *,
        handshake: float = 10.0,
        head: float = 10.0,
        body_idle: float = 30.0,
        write_idle: float = 60.0,
        keep_alive: float = 60.0,
        max_head: int = 64 * 1024,
        max_body: int = 0,
        max_fields: int = MAX_FIELDS,
        server_name: str = "headgate",
    ) -> None:
        self.handshake = handshake
        self.head = head
        self.body_idle = body_idle
        self.write_idle = write_idle
        self.keep_alive = keep_alive
        self.max_head = max_head
        self.max_body = max_body
        self.max_fields = max_fields
        self.server_name = server_name
