"""The access log: one JSON line for each exchange.

Theory of operation. `record` stores a tuple and nothing else; lines are made in batches when enough have gathered
or when the owner's sweep calls `flush`. What is the same for all exchanges of a connection (client, listener,
protocol, TLS version, SNI) is encoded once, by `connection_fields`, and pasted to the end of each line.

Bytes that a peer chose are decoded as UTF-8; what is no UTF-8 appears as `\\xNN`. Whatever could move a cursor or
break a line where somebody reads the log is escaped. Peers also choose lengths: values are cut, a line with a cut
value says `"cut":true`, and no line exceeds `LINE_LIMIT` (one atomic write to a pipe).

Where the lines go, and what happens when the reader is slow or the disk full, is in `log_writer`. The log never
raises into the data path.
"""

import time
from typing import Final, final

import orjson

from headgate.telemetry.log_writer import LineWriter

# A write of this size to a pipe is atomic (POSIX PIPE_BUF on Linux), so that lines of several workers never mix.
LINE_LIMIT: Final = 4096
# Records kept before lines are made of them; the owner's sweep flushes sooner when there is little to do.
BATCH: Final = 128

# Longest value of each kind, in bytes. nginx and HAProxy cut whole lines, at 4 KiB and 1 KiB.
TARGET_LIMIT: Final = 1024
HOST_LIMIT: Final = 255
AGENT_LIMIT: Final = 256
ID_LIMIT: Final = 128
METHOD_LIMIT: Final = 32
# When escapes have blown a line up beyond LINE_LIMIT (one byte can become six), values are cut to the next of these.
NARROWER: Final = (256, 24)
# Names of ours: cut when the line is long, and always when they stand in every line of a connection.
OWN_LIMIT: Final = 64

MILLISECONDS: Final = [f".{n:03d}Z" for n in range(1000)]
# C1 controls and DEL move terminals, U+2028 and U+2029 break lines in JavaScript, the others turn text around.
UNSAFE: Final = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}

_Entry = tuple[
    bytes,
    float,
    bytes,
    bytes,
    bytes,
    int,
    int,
    int,
    float,
    str,
    str,
    float,
    int,
    str,
    str,
    bytes,
    bytes,
    str,
    bytes,
    str,
    str,
    str,
]


def text(value: bytes) -> str:
    """Return bytes from a peer as text that is safe to encode and to look at."""
    try:
        decoded = value.decode("ascii")
    except UnicodeDecodeError:
        return value.decode("utf-8", "backslashreplace").translate(UNSAFE)
    return decoded.translate(UNSAFE) if "\x7f" in decoded else decoded


def own_text(value: str) -> str:
    """Return a name of ours (a file name may hold lone surrogates), cut, as text that can be encoded."""
    return text(value.encode("utf-8", "surrogatepass")[:OWN_LIMIT])


def connection_fields(client: str, listener: str, protocol: str, tls: str = "", sni: bytes = b"") -> bytes:
    """Encode what all exchanges of one connection share, once; the result is for `AccessLog.record`.

    `client` and `listener` are addresses with ports, `protocol` is "HTTP/1.1" and the like, `tls` the version
    ("TLSv1.3") or "".
    """
    fields = {"client": own_text(client), "listener": own_text(listener), "protocol": own_text(protocol)}
    if tls:
        fields["tls"] = own_text(tls)
    if sni:
        name = text(sni[:HOST_LIMIT])
        fields["sni"] = name if len(orjson.dumps(name)) <= HOST_LIMIT + 2 else text(sni[: NARROWER[1]])
    return b"," + orjson.dumps(fields)[1:] + b"\n"


@final
class AccessLog:
    """Gathers records, makes lines of them and hands them to `writer`; without one it is off."""

    def __init__(self, writer: LineWriter | None) -> None:
        self.enabled: bool = writer is not None
        self._writer: LineWriter | None = writer
        self._pending: list[_Entry] = []
        self._second: int = -1
        self._prefix: str = ""

    def record(
        self,
        connection: bytes,
        wall: float,
        method: bytes,
        host: bytes,
        target: bytes,
        status: int,
        bytes_in: int,
        bytes_out: int,
        duration: float,
        upstream: str,
        endpoint: str,
        upstream_duration: float,
        retries: int,
        route: str,
        reason: str,
        user_agent: bytes,
        request_id: bytes,
        upstream_protocol: str = "",
        user: bytes = b"",
        cache: str = "",
        cache_reason: str = "",
        cache_stored: str = "",
    ) -> None:
        """Note one exchange.

        `connection` comes from `connection_fields`; `wall` is when the request began (seconds since the epoch);
        durations are in seconds. "" or b"" leave a field out, and so do 0 retries and an upstream duration under 0.
        Without a method there was no HTTP. `upstream_protocol` is "" for HTTP/1.1; `user` is who authenticated.
        `cache` and the two after it are what became of the request at the cache, words of ours.
        """
        if not self.enabled:
            return
        self._pending.append(
            (
                connection,
                wall,
                method,
                host if len(host) <= HOST_LIMIT else host[: HOST_LIMIT + 1],
                # One byte more than is shown, so that the encoder sees that something was cut.
                target if len(target) <= TARGET_LIMIT else target[: TARGET_LIMIT + 1],
                status,
                bytes_in,
                bytes_out,
                duration,
                upstream,
                endpoint,
                upstream_duration,
                retries,
                route,
                reason,
                user_agent if len(user_agent) <= AGENT_LIMIT else user_agent[: AGENT_LIMIT + 1],
                request_id if len(request_id) <= ID_LIMIT else request_id[: ID_LIMIT + 1],
                upstream_protocol,
                user if len(user) <= ID_LIMIT else user[: ID_LIMIT + 1],
                cache,
                cache_reason,
                cache_stored,
            )
        )
        if len(self._pending) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Make lines of all records and write what the destination takes now; the owner calls it in each sweep."""
        writer = self._writer
        if writer is None:
            return
        lines: list[bytes] = []
        for entry in self._pending:
            line = self._line(entry, TARGET_LIMIT)
            if len(line) > LINE_LIMIT:
                line = self._narrow_line(entry)
            lines.append(line)
        self._pending.clear()
        writer.write(lines)

    def reopen(self) -> None:
        """Flush, then open the file anew (SIGUSR1: a log rotator has moved it away)."""
        self.flush()
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Flush and let go of the destination."""
        self.flush()
        if self._writer is not None:
            self._writer.close()
        self.enabled = False
        self._writer = None

    def _narrow_line(self, entry: _Entry) -> bytes:
        """Encode one record whose line was too long: with less of every value, our own names included."""
        names = tuple(own_text(name) for name in (entry[9], entry[10], entry[13], entry[14]))
        entry = (*entry[:9], names[0], names[1], *entry[11:13], names[2], names[3], *entry[15:])
        line = self._line(entry, NARROWER[0])
        return line if len(line) <= LINE_LIMIT else self._line(entry, NARROWER[1])

    def _line(self, entry: _Entry, limit: int) -> bytes:
        """Encode one record; no value of a peer keeps more than `limit` bytes."""
        (
            connection,
            wall,
            method,
            host,
            target,
            status,
            bytes_in,
            bytes_out,
            duration,
            upstream,
            endpoint,
            upstream_duration,
            retries,
            route,
            reason,
            user_agent,
            request_id,
            upstream_protocol,
            user,
            cache,
            cache_reason,
            cache_stored,
        ) = entry
        cut = False
        if limit != TARGET_LIMIT or (
            len(target) > limit
            or len(host) > HOST_LIMIT
            or len(user_agent) > AGENT_LIMIT
            or len(request_id) > ID_LIMIT
            or len(user) > ID_LIMIT
            or len(method) > METHOD_LIMIT
        ):
            cut = True
            method = method[: min(METHOD_LIMIT, limit)]
            host = host[: min(HOST_LIMIT, limit)]
            target = target[:limit]
            user_agent = user_agent[: min(AGENT_LIMIT, limit)]
            request_id = request_id[: min(ID_LIMIT, limit)]
            user = user[: min(ID_LIMIT, limit)]
        # One display of the usual shape, then the exceptions: growing a dict key by key costs twice as much.
        fields: dict[str, object] = {
            "time": self._time(wall),
            "method": text(method),
            "host": text(host),
            "target": text(target),
            "status": status,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            # Whole microseconds first: a float that is a sum of others prints with 17 digits.
            "duration_ms": int(duration * 1e6) / 1000.0,
            "upstream": upstream,
            "endpoint": endpoint,
            "upstream_ms": int(upstream_duration * 1e6) / 1000.0,
            "route": route,
            "user_agent": text(user_agent),
        }
        if not method:
            # No HTTP: a connection that was passed on.
            del fields["method"], fields["host"], fields["target"], fields["status"]
        if not upstream:
            del fields["upstream"]
        if not endpoint:
            del fields["endpoint"]
        if upstream_duration < 0.0:
            del fields["upstream_ms"]
        if not route:
            del fields["route"]
        if not user_agent:
            del fields["user_agent"]
        if upstream_protocol:
            fields["upstream_protocol"] = upstream_protocol
        if retries:
            fields["retries"] = retries
        if reason:
            fields["reason"] = reason
        if cache:
            fields["cache"] = cache
            fields["cache_reason"] = cache_reason
        if cache_stored:
            fields["cache_stored"] = cache_stored
        if user:
            fields["user"] = text(user)
        if request_id:
            fields["request_id"] = text(request_id)
        if cut:
            fields["cut"] = True
        return self._encode(fields, connection)

    def _encode(self, fields: dict[str, object], connection: bytes) -> bytes:
        try:
            line = orjson.dumps(fields)
        except orjson.JSONEncodeError:
            # Lone surrogates in a name of ours: rare enough to look for them only now.
            safe = {
                key: own_text(value) if isinstance(value, str) else value for key, value in fields.items()
            }
            line = orjson.dumps(safe)
        return line[:-1] + connection

    def _time(self, wall: float) -> str:
        """Return RFC 3339 in UTC with milliseconds; the part before the fraction is made once a second."""
        second = int(wall)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._prefix + MILLISECONDS[int((wall - second) * 1000.0) % 1000]
