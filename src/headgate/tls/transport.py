"""TLS on a socket, as a transport: OpenSSL owns the descriptor, nothing of ours is in between (design 6).

Life of a server's connection: PEEK (the first record is waited for and looked at, nothing is allocated yet) →
HANDSHAKE (OpenSSL) → OPEN → CLOSED. A client's begins at HANDSHAKE. While the ClientHello comes in pieces,
SO_RCVLOWAT keeps the socket from being readable before the rest is there: peeking takes nothing away, so that a
level-triggered poller would otherwise wake us for the same bytes for ever.

Reading and writing call OpenSSL directly (openssl.py has the reasons). One SSL_read returns one record of at most
16 KiB; a read goes on while records come full and there is room. After a write that was not taken whole, the next
one must begin with the same bytes and bring no fewer, as drivers do that keep what was not taken.

What a peer can make us do without sending data (KeyUpdate, attempts to renegotiate) is bounded by
MAX_QUIET_EVENTS between two pieces of data.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final, Protocol, final

from OpenSSL import SSL

from headgate.errors import TransportError
from headgate.net.tcp import broken
from headgate.net.transport import DONE, WANT_READ, WANT_WRITE, Transport
from headgate.tls.client_hello import (
    ALERT_UNRECOGNIZED_NAME,
    HANDSHAKE_RECORD,
    RECORD_MAX,
    ClientHello,
    decode_client_hello,
    is_plain_http,
    missing,
)
from headgate.tls.openssl import (
    ERROR_SSL,
    ERROR_SYSCALL,
    ERROR_WANT_READ,
    ERROR_WANT_WRITE,
    ERROR_ZERO_RETURN,
    PostHandshake,
    ReadBuffer,
    from_buffer,
    handle,
    is_resumed,
    last_errno,
    raise_handshake_error,
    ssl_do_handshake,
    ssl_get_error,
    ssl_pending,
    ssl_read,
    ssl_shutdown,
    ssl_write,
    take_errors,
)

RECORD: Final = 16 * 1024
# BoringSSL and rustls refuse more than 32 KeyUpdates in a row without data.
MAX_QUIET_EVENTS: Final = 32
# How often a read may find that it has to write first before the peer is taken to be playing with us.
MAX_BLOCKED_READS: Final = 1000
# How often the first record may turn out to be incomplete before OpenSSL gets it as it is.
MAX_PEEKS: Final = 4

_PEEK: Final = 0
_HANDSHAKE: Final = 1
_OPEN: Final = 2
_CLOSED: Final = 3
_ALERTED: Final = 4  # the handshake failed, and the alert that says why is on its way

_PLAIN_TEXT: Final = b"This port speaks HTTPS: the URL begins with https://\n"
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PLAIN_TEXT), _PLAIN_TEXT)
)
# Reasons of OpenSSL that have a word of their own here; the others are turned into one by `_word`.
_REASONS: Final[dict[str, str]] = {
    "http request": "plain-http-to-tls",
    "https proxy request": "plain-http-to-tls",
    "wrong version number": "not-tls",
    "packet length too long": "not-tls",
    "unexpected eof while reading": "eof-without-close-notify",
    "peer did not return a certificate": "client-certificate-missing",
    "certificate verify failed": "certificate-verify-failed",
}


class TlsRole(Protocol):
    """The side that a connection takes: a listener's `ServerTls` or an upstream's `ClientTls`."""

    @property
    def buffer(self) -> ReadBuffer: ...

    @property
    def post_handshake(self) -> PostHandshake: ...

    def begin(self, sock: socket.socket, hello: ClientHello | None) -> SSL.Connection:
        """Start OpenSSL on the socket. Raises `TransportError` to refuse."""
        ...

    def finished(self, conn: SSL.Connection) -> None:
        """The handshake is over. Raises `TransportError` to refuse the peer all the same."""
        ...

    def failed(self, conn: SSL.Connection | None, reason: str) -> str:
        """The handshake failed; return the reason to give."""
        ...

    def message_came(self, conn: SSL.Connection) -> None:
        """A message of TLS came after the handshake: a ticket, a KeyUpdate."""
        ...

    def flooded(self) -> None:
        """A peer is refused for what it makes us do without sending data."""
        ...


@final
class TlsTransport(Transport):
    """Takes over a connected, non-blocking socket. `resumed` holds after the handshake."""

    def __init__(self, sock: socket.socket, role: TlsRole, *, server: bool) -> None:
        self._sock = sock
        self._role = role
        self._buffer = role.buffer
        self._events = role.post_handshake
        self._state = _PEEK if server else _HANDSHAKE
        self._server = server
        self._conn: SSL.Connection | None = None
        self._base: object = None
        self._ssl: Any = None
        self._peeks = 0
        self._maybe_pending = False
        self._quiet = 0
        self._blocked = 0
        self._broken: TransportError | None = None
        self.resumed = False

    def __repr__(self) -> str:
        state = ("peek", "handshake", "open", "closed", "alerted")[self._state]
        return f"<TlsTransport fd={self._sock.fileno()} {state}{' resumed' if self.resumed else ''}>"

    def fileno(self) -> int:
        return self._sock.fileno()

    # -- the handshake

    def handshake(self) -> int:
        """Go on with the handshake. Raises `TransportError` when it fails; the alert is sent already."""
        if self._state == _OPEN:
            return DONE
        conn = self._conn
        if conn is None:
            if self._state == _PEEK and not self._peek():
                return WANT_READ
            conn = self._conn
            if conn is None:
                conn = self._begin(None)
        result: int = ssl_do_handshake(self._ssl)
        if result != 1:
            why: int = ssl_get_error(self._ssl, result)
            if why == ERROR_WANT_READ:
                return WANT_READ
            if why == ERROR_WANT_WRITE:
                return WANT_WRITE
            try:
                raise_handshake_error(conn, result)
            except Exception as error:
                # Also what callbacks raise: pyOpenSSL hands it on from here.
                refused = self._refused(_handshake_reason(error), error)
                if self._server:
                    self._let_go()
                    self._state = _ALERTED
                raise refused from error
        try:
            self._role.finished(conn)
        except TransportError as error:
            raise self._refused(error.reason, error) from error
        self._state = _OPEN
        self.resumed = is_resumed(conn)
        return DONE

    def _peek(self) -> bool:
        """Look at the first record and begin when it is whole; tell whether to go on."""
        try:
            data = self._sock.recv(RECORD_MAX, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            number = error.errno or 0
            raise self._refused(_errno_word(number), error, number) from error
        if not data:
            raise self._refused("closed-in-handshake", None)
        if data[0] != HANDSHAKE_RECORD:
            raise self._not_tls(data)
        lacking = missing(data)
        self._peeks += 1
        if lacking > 0 and self._peeks < MAX_PEEKS:
            # At the end of the stream fewer are readable too; the last peek then leaves it to OpenSSL to see that.
            self._wait_for(len(data) + lacking)
            return False
        if self._peeks > 1:
            self._wait_for(1)
        self._begin(decode_client_hello(data) if lacking == 0 else None)
        return True

    def _wait_for(self, size: int) -> None:
        """Let the socket be readable only once `size` bytes are there (or the end, or an error)."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        except OSError:
            pass  # a socket of another kind: MAX_PEEKS bounds how often it wakes us

    def _not_tls(self, data: bytes) -> TransportError:
        """Answer HTTP in the clear with a 400 that says so; whatever else this is gets nothing."""
        if not is_plain_http(data):
            return self._refused("not-tls", None, 0, f"the first bytes are {data[:8].hex(' ')}")
        self._say(_PLAIN_ANSWER)
        self._drop_unread()
        return self._refused("plain-http-to-tls", None)

    def parting(self) -> bool:
        return self._state == _ALERTED

    def _drop_unread(self) -> None:
        """Read away what the peer has sent behind its mistake, once: closing with unread bytes would send a reset,
        which overtakes the alert or the answer."""
        if self._server:
            try:
                self._sock.recv(RECORD_MAX)
            except OSError:
                pass  # nothing is there, or nobody

    def _say(self, data: bytes) -> None:
        """Send a last word in the clear, as far as the socket takes it at once."""
        try:
            self._sock.send(data)
        except OSError:
            pass  # the peer is gone: there is nobody left to tell

    def _refused(
        self, reason: str, cause: BaseException | None, number: int = 0, detail: str = ""
    ) -> TransportError:
        """Return the error that ends a handshake."""
        take_errors()
        word = self._role.failed(self._conn, reason)
        if isinstance(cause, TransportError):
            return TransportError(word, cause.errno, cause.detail)
        if isinstance(cause, OSError):
            detail = cause.strerror or str(cause)
        elif cause is not None:
            number = _errno_of(cause)
            detail = str(cause)
        return TransportError(word, number, f"TLS handshake: {detail}" if detail else "TLS handshake")

    def _begin(self, hello: ClientHello | None) -> SSL.Connection:
        try:
            conn = self._role.begin(self._sock, hello)
        except TransportError as error:
            if error.reason == "unrecognized-name":
                self._say(ALERT_UNRECOGNIZED_NAME)
                self._drop_unread()
            raise self._refused(error.reason, error) from error
        self._state = _HANDSHAKE
        self._conn = conn
        # The callbacks of the context that it began on must outlive the connection, whatever the ring drops.
        self._base = conn.get_context()
        self._ssl = handle(conn)
        return conn

    # -- data

    def read(self, limit: int) -> bytes | None:
        ssl = self._ssl
        if ssl is None:
            return self._read_away(limit)
        buffer = self._buffer
        if limit > buffer.size:
            limit = buffer.size
        got: int = ssl_read(ssl, buffer.start, limit)
        if got > 0:
            self._quiet = 0
            self._blocked = 0
            if got == RECORD and limit > RECORD:
                got = self._read_on(got, limit)
            self._maybe_pending = got == limit
            data: bytes = buffer.view[:got]
            return data
        return self._nothing_read(got)

    def _read_away(self, limit: int) -> bytes | None:
        """Read what nobody can decrypt any more."""
        if self._state != _ALERTED:
            raise _not_open("read")
        try:
            return self._sock.recv(limit)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise broken("read", error) from error

    def _read_on(self, got: int, limit: int) -> int:
        """A record came full: there are probably more. What goes wrong here is told by the next read."""
        start = self._buffer.start
        while got < limit:
            more: int = ssl_read(self._ssl, start + got, limit - got)
            if more <= 0:
                try:
                    if self._nothing_read(more) is not None:
                        self._broken = TransportError("", 0)
                except TransportError as error:
                    self._broken = error
                break
            got += more
            if more < RECORD:
                break
        return got

    def _nothing_read(self, result: int) -> bytes | None:
        """Return None when nothing is there, b"" at the end; raise `TransportError` otherwise."""
        broken = self._broken
        if broken is not None:
            if not broken.reason:
                return b""
            raise broken
        why: int = ssl_get_error(self._ssl, result)
        if why == ERROR_WANT_READ:
            if self._events.events:
                self._count_quiet()
            return None
        if why == ERROR_ZERO_RETURN:
            return b""
        if why == ERROR_WANT_WRITE:
            # An answer to a KeyUpdate waits for a peer that does not read.
            self._blocked += 1
            if self._blocked > MAX_BLOCKED_READS:
                self._role.flooded()
                raise TransportError("key-update-flood", 0, "the peer does not take the answers it asks for")
            return None
        self._events.take()  # the alert that OpenSSL sent is nobody else's
        raise _failure("read", why, result)

    def _count_quiet(self) -> None:
        self._quiet += self._events.take()
        if self._quiet > MAX_QUIET_EVENTS:
            self._role.flooded()
            raise TransportError("key-update-flood", 0, f"{self._quiet} TLS messages in a row without data")
        if self._conn is not None:
            self._role.message_came(self._conn)

    def pending(self) -> bool:
        if self._broken is not None:
            return True
        return self._maybe_pending and bool(ssl_pending(self._ssl) > 0)

    def write(self, data: bytes) -> int:
        size = len(data)
        if size == 0:
            return 0
        ssl = self._ssl
        if ssl is None:
            raise _not_open("write")
        taken: int = ssl_write(ssl, data, size)
        if taken == size:
            return taken
        if taken <= 0:
            self._not_written(taken)
            return 0
        start = from_buffer(data)
        while taken < size:
            more: int = ssl_write(ssl, start + taken, size - taken)
            if more <= 0:
                try:
                    self._not_written(more)
                except TransportError:
                    pass  # records went out before, which is to be told first; the next call fails again
                break
            taken += more
        return taken

    def _not_written(self, result: int) -> None:
        """Return when the socket is full; raise `TransportError` otherwise."""
        why: int = ssl_get_error(self._ssl, result)
        if why != ERROR_WANT_WRITE and why != ERROR_WANT_READ:
            raise _failure("write", why, result)

    # -- the end

    def shutdown(self) -> None:
        # Once: whether the peer answers with its own close_notify is for `read` to see.
        if self._state == _OPEN and ssl_shutdown(self._ssl) < 0:
            take_errors()
        if self._state != _CLOSED:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the peer is gone already: there is nobody left to tell

    def close(self) -> None:
        if self._state != _CLOSED:
            self._state = _CLOSED
            self._let_go()
            self._sock.close()

    def _let_go(self) -> None:
        self._ssl = None
        self._conn = None
        self._base = None

    # -- what is known after the handshake

    @property
    def connection(self) -> SSL.Connection | None:
        """pyOpenSSL's connection, for what is not asked often; None before the handshake and after `close`."""
        return self._conn

    def alpn(self) -> bytes:
        return self._conn.get_alpn_proto_negotiated() if self._conn is not None else b""

    def server_name(self) -> bytes:
        """Return the name that the client asked for, b"" for none."""
        return (self._conn.get_servername() or b"") if self._conn is not None else b""

    def version(self) -> str:
        """Return the protocol version, e.g. "TLSv1.3"."""
        return self._conn.get_protocol_version_name() if self._conn is not None else ""

    def cipher(self) -> str:
        """Return the name of the cipher suite as OpenSSL has it."""
        return (self._conn.get_cipher_name() or "") if self._conn is not None else ""


def _errno_word(number: int) -> str:
    """Return the name of an errno in lower case, as `net.tcp` does."""
    return errno.errorcode.get(number, "error").lower()


def _errno_of(error: BaseException) -> int:
    if isinstance(error, SSL.SysCallError) and isinstance(error.args[0], int) and error.args[0] > 0:
        return error.args[0]
    return 0


def _handshake_reason(error: BaseException) -> str:
    """Return the stable word for what `do_handshake` raised."""
    if isinstance(error, TransportError):
        return error.reason  # of a callback of ours
    number = _errno_of(error)
    if number:
        return _errno_word(number)
    if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
        return "closed-in-handshake"
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        reasons = [str(entry[-1]) for entry in error.args[0] if entry[-1]]
        return _word(reasons[0]) if reasons else "tls-error"
    return "tls-error"


def _word(reason: str) -> str:
    """Return the stable word for a reason of OpenSSL's: alerts are called like in RFC 8446, whatever the release."""
    known = _REASONS.get(reason)
    if known is not None:
        return known
    prefix, alert, name = reason.partition("alert ")
    text = f"alert {name}" if alert and len(prefix) < 10 else reason
    return text.replace(" ", "-").replace("_", "-").lower()


def _not_open(what: str) -> TransportError:
    return TransportError("closed", 0, f"TLS {what} before the handshake or after close")


def _failure(what: str, why: int, result: int) -> TransportError:
    """Return the error for a read or write that failed for good, and empty the error queue."""
    number = last_errno()
    reasons = take_errors()
    if why == ERROR_SYSCALL and result < 0 and number:
        return broken(f"TLS {what}", OSError(number, os.strerror(number)))
    if reasons:
        return TransportError(_word(reasons[0]), 0, f"TLS {what}: {', '.join(reasons)}")
    if why == ERROR_SYSCALL:
        return TransportError("eof-without-close-notify", 0, f"TLS {what}")
    if why in (ERROR_SSL, ERROR_ZERO_RETURN):
        return TransportError("closed", 0, f"TLS {what}: the connection ended before")
    return TransportError("tls-error", 0, f"TLS {what}: SSL_get_error says {why}")
