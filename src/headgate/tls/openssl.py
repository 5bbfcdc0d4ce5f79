"""The one place that reaches below pyOpenSSL's public interface, and why each thing is worth it.

Everything is in the `lib` that pyOpenSSL itself calls, at both ends of the supported range (26.0 with OpenSSL 3.5,
26.4 with OpenSSL 4.0); `tests/unit/tls/test_openssl.py` names the parts, so that a release without one fails there
by name and not in a handshake.

- `SSL_read` and `SSL_write` without the wrapper: `Connection.recv` allocates its buffer and asks for the error state
  every time, and reports "nothing there" by an exception. Measured for 100 bytes on a warm loopback pair: recv 4.9 us
  against 2.9, send 5.3 against 2.3, nothing there 3.0 against 1.1.
- `SSL_do_handshake` likewise: each handshake waits for the client once, which the wrapper reports by an exception.
- `SSL_session_reused`: there is no public way to learn that a session was resumed.
- The pointer of a `Session`: a connection whose session is another one than before was given a ticket.
- `X509_verify_cert_error_string`: which check of a chain failed, in OpenSSL's words.
- `SSL_clear_mode`: every `Connection` sets SSL_MODE_AUTO_RETRY, under which one SSL_read works through any number of
  KeyUpdates before it returns: one peer would have the worker to itself.
- `SSL_set_info_callback` with one callback for all connections; the public one makes a closure for each.
- `SSL_CTX_set_alpn_select_cb` with one callback for all contexts of a listener, which remembers what it answered to
  which offer: the public one splits every client's list anew, 30 us of a cold handshake.
- `SSL_set_alpn_protos`: one connection that offers other protocols than the rest of its context, without a second one
  and all of its authorities.
- `SSL_CTX_set_cert_store`: one parsed CRL for all contexts of a listener instead of one for each.
- `SSL_set_options`: `Connection.set_options` is newer than the floor.
- `X509_STORE_set_purpose`: what a TLS handshake of OpenSSL asks of a chain beside its signatures; QUIC asks the same.

The thread's error queue must be empty before each call, or an innocent connection is blamed: whoever sees a failure
empties it (`take_errors`).
"""

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509Store
from OpenSSL.SSL import Connection, Context, Error, Session

ssl_do_handshake: Final[Any] = lib.SSL_do_handshake
ssl_read: Final[Any] = lib.SSL_read
ssl_write: Final[Any] = lib.SSL_write
ssl_pending: Final[Any] = lib.SSL_pending
ssl_shutdown: Final[Any] = lib.SSL_shutdown
ssl_get_error: Final[Any] = lib.SSL_get_error
from_buffer: Final[Any] = ffi.from_buffer

ERROR_SSL: Final[int] = lib.SSL_ERROR_SSL
ERROR_WANT_READ: Final[int] = lib.SSL_ERROR_WANT_READ
ERROR_WANT_WRITE: Final[int] = lib.SSL_ERROR_WANT_WRITE
ERROR_SYSCALL: Final[int] = lib.SSL_ERROR_SYSCALL
ERROR_ZERO_RETURN: Final[int] = lib.SSL_ERROR_ZERO_RETURN

# Lists of protocols that clients have offered; browsers know a handful between them.
MAX_OFFERS: Final = 256
MAX_OFFER_LENGTH: Final = 256
_ALPN_CALLBACK: Final = (
    "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
)
_ALPN_OK: Final[int] = lib.SSL_TLSEXT_ERR_OK
_ALPN_FATAL: Final[int] = lib.SSL_TLSEXT_ERR_ALERT_FATAL
_AUTO_RETRY: Final[int] = lib.SSL_MODE_AUTO_RETRY
_EXIT: Final[int] = lib.SSL_CB_EXIT
_ALERT: Final[int] = lib.SSL_CB_ALERT
_WRITE_ALERT: Final[int] = lib.SSL_CB_WRITE_ALERT
# The alert description in the low byte of what an alert event carries: close_notify is 0.
_DESCRIPTION: Final = 0xFF


def handle(conn: Connection) -> Any:  # noqa: ANN401 -- an opaque pointer
    """Return OpenSSL's own object of a connection, for the functions above; valid while `conn` lives."""
    return conn._ssl


def raise_handshake_error(conn: Connection, result: int) -> NoReturn:
    """Raise what `Connection.do_handshake` would for this result: also what a callback has raised meanwhile."""
    conn._raise_ssl_error(conn._ssl, result)
    raise Error(f"SSL_do_handshake returned {result} without an error")


def last_errno() -> int:
    """Return errno as the last call into OpenSSL left it."""
    return int(ffi.errno)


def take_errors() -> list[str]:
    """Empty the thread's error queue; return the reasons in it, oldest first."""
    reasons: list[str] = []
    while code := lib.ERR_get_error():
        text = lib.ERR_reason_error_string(code)
        reasons.append(ffi.string(text).decode("ascii", "replace") if text else f"error {code:#x}")
    return reasons


def is_resumed(conn: Connection) -> bool:
    """Tell whether the handshake resumed a session."""
    return bool(lib.SSL_session_reused(conn._ssl) == 1)


def is_same_session(one: Session, other: Session) -> bool:
    """Tell whether two sessions are one object of OpenSSL's."""
    return bool(one._session == other._session)


def verify_text(number: int) -> str:
    """Return OpenSSL's words for a number that verification ended with (X509_V_ERR_…)."""
    return str(ffi.string(lib.X509_verify_cert_error_string(number)).decode("ascii", "replace"))


def set_option(conn: Connection, option: int) -> None:
    """Set an OP_ flag on one connection."""
    lib.SSL_set_options(conn._ssl, option)


def offer_alpn(conn: Connection, protocols: Sequence[bytes]) -> None:
    """Let one client connection offer these protocols, the first before the others (RFC 7301 section 3.1)."""
    listed = b"".join(bytes((len(protocol),)) + protocol for protocol in protocols)
    lib.SSL_set_alpn_protos(conn._ssl, listed, len(listed))


def share_store(context: Context, owner: Context) -> None:
    """Let `context` verify with the certificate store of `owner`, which both then own."""
    store = lib.SSL_CTX_get_cert_store(owner._context)
    lib.X509_STORE_up_ref(store)
    lib.SSL_CTX_set_cert_store(context._context, store)


def require_purpose(store: X509Store, *, of_server: bool) -> None:
    """Let a store believe only chains whose leaf may be a TLS server's, or else a TLS client's."""
    purpose = lib.X509_PURPOSE_SSL_SERVER if of_server else lib.X509_PURPOSE_SSL_CLIENT
    lib.X509_STORE_set_purpose(store._store, purpose)


class AlpnSelector:
    """Picks the first of our protocols that a client offers (RFC 7301 section 3.2), for any number of contexts.

    A client that offers protocols, and none of ours, is sent the alert no_application_protocol.
    """

    def __init__(self, protocols: Sequence[bytes]) -> None:
        self._protocols = tuple(protocols)
        # OpenSSL copies what it is pointed to once the callback has returned, so that it may be the same each time.
        self._texts: list[Any] = [ffi.new("unsigned char[]", protocol) for protocol in protocols]
        self._known: dict[bytes, int] = {}
        self._callback: Any = ffi.callback(_ALPN_CALLBACK, self._on_offer)

    def equip(self, context: Context) -> None:
        """Let handshakes on `context` ask this selector, which must outlive it."""
        lib.SSL_CTX_set_alpn_select_cb(context._context, self._callback, ffi.NULL)

    def pick(self, offer: bytes) -> int:
        """Return the index of our protocol for a ProtocolNameList without its length, -1 for none of them."""
        at = 0
        offered = set()
        while at < len(offer):
            offered.add(offer[at + 1 : at + 1 + offer[at]])
            at += 1 + offer[at]
        for index, protocol in enumerate(self._protocols):
            if protocol in offered:
                return index
        return -1

    def _on_offer(
        self,
        ssl: object,
        out: Any,  # noqa: ANN401 -- pointers of cffi
        size: Any,  # noqa: ANN401
        offer: object,
        offer_size: int,
        unused: object,
    ) -> int:
        data = bytes(ffi.buffer(offer, offer_size))
        index = self._known.get(data)
        if index is None:
            index = self.pick(data)
            if len(self._known) >= MAX_OFFERS:
                self._known.clear()
            if offer_size <= MAX_OFFER_LENGTH:
                self._known[data] = index
        if index < 0:
            return _ALPN_FATAL
        out[0] = self._texts[index]
        size[0] = len(self._protocols[index])
        return _ALPN_OK


class ReadBuffer:
    """Where SSL_read puts bytes before they are copied out: one for all connections of a thread."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.start: Any = ffi.new("char[]", size)
        self.view: Any = ffi.buffer(self.start)


class PostHandshake:
    """Counts what a peer makes OpenSSL do behind the application's back: KeyUpdates and attempts to renegotiate.

    OpenSSL calls back from within SSL_read, in the same thread: what was counted since the last `take` belongs to the
    connection that is being read, so that no lookup from pointer to connection is needed.
    """

    def __init__(self) -> None:
        self.events = 0
        self._callback: Any = ffi.callback("void (*)(const SSL *, int, int)", self._on_event)

    def _on_event(self, ssl: object, where: int, value: int) -> None:
        # A KeyUpdate enters and leaves the state machine once; renegotiation is answered with an alert.
        if where & _ALERT:
            if where == _WRITE_ALERT and value & _DESCRIPTION:
                self.events += 1
        elif where & _EXIT:
            self.events += 1

    def watch(self, conn: Connection) -> None:
        """Count from now on, one such message at most in each SSL_read. To be called after the handshake."""
        lib.SSL_clear_mode(conn._ssl, _AUTO_RETRY)
        lib.SSL_set_info_callback(conn._ssl, self._callback)

    def take(self) -> int:
        """Return what was counted since the last call."""
        events = self.events
        self.events = 0
        return events
