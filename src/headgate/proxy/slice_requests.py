"""What one client's download asks for (`proxy/download`): which slice comes first, and the request for each.

A client that wants nothing but what is stored (only-if-cached, RFC 9111 section 5.2.1.7) is told so before its head
is out, or never: so for that one all slices that it needs are looked for beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from headgate.cache.conditional import drop_conditions, strong_validator
from headgate.cache.directives import ONLY_IF_CACHED, request_directives
from headgate.cache.ranges import WHOLE, parse_range, select
from headgate.connection.exchange import Downstream, Exchange
from headgate.engine.events import Request
from headgate.http.fields import CACHING, RANGE
from headgate.proxy.on_behalf import NOBODY, context_of, exchange_for

if TYPE_CHECKING:
    from headgate.proxy.slices import SliceHandler

# Slices that are looked for before an answer that may have nothing but what is stored: some 10 ms, in memory or in
# the index of the disk; of more it is not known, and the answer is 504. So many more, where the first that is asked
# for may be beyond the end.
MAX_LOOKED: Final = 256
# A first octet beyond this is in no object; the first slice says how long it is.
_FAR: Final = 1 << 53


def first_slice(request: Request, size: int) -> int:
    """Return the first slice of `size` octets that a request needs."""
    if request.method != b"GET" or request.fields.flags & RANGE == 0:
        return 0
    specs = parse_range(request.fields.get_all(b"range"))
    if specs is None or specs[0].suffix >= 0 or specs[0].first >= _FAR:
        return 0
    return specs[0].first // size


def slice_request(asked: Request, index: int, size: int) -> Request:
    """Return the request for a slice that a client's leads to."""
    fields = asked.fields.copy()
    fields.remove(b"range")
    drop_conditions(fields)
    start = index * size
    fields.add(b"range", b"bytes=%d-%d" % (start, start + size - 1), b"Range")
    request = Request(b"GET", asked.target, 11, fields)
    request.host = asked.host
    return request


@final
class SliceRequests:
    """The requests for slices on behalf of one client."""

    def __init__(self, handler: SliceHandler, client: Exchange) -> None:
        self.handler = handler
        self.client = client
        self.context = context_of(client.context)
        self.size = handler.size

    def __repr__(self) -> str:
        return f"<SliceRequests of {self.size} for {self.client!r}>"

    def first(self) -> int:
        """Return the first slice that the client needs, or one that says that it is beyond the end."""
        index = first_slice(self.client.request, self.size)
        return self._stored_before(index) if index > 0 and self._wants_stored_alone() else index

    def _stored_before(self, index: int) -> int:
        """Return a slice that is stored and says that the object ends before slice `index`: no origin is to be asked
        for what is beyond its end. Where none says so it is `index`."""
        for looked in (index, 0, *range(index - 1, max(index - MAX_LOOKED + 1, 0), -1)):
            variant = self.handler.usable(self.make(looked, NOBODY))
            if variant is not None and variant.length >= 0:
                return looked if variant.length <= index * self.size else index
        return index

    def make(self, index: int, downstream: Downstream) -> Exchange:
        """Return the exchange that asks for a slice."""
        client = self.client
        request = slice_request(client.request, index, self.size)
        exchange = exchange_for(client, self.context, downstream, request, client.started, self.handler.inner)
        exchange.slice = index
        return exchange

    def lacks_some(self, is_range: bool, length: int, validator: bytes) -> bool:
        """Tell whether the client wants what is stored alone, and not all of that is (RFC 9111 section 5.2.1.7): once
        the head is out it is too late to say so."""
        if not self._wants_stored_alone():
            return False
        spans = [(0, length)]
        if is_range:
            selection = select(self.client.request.fields.get_all(b"range"), length)
            if selection.status != WHOLE:
                spans = selection.ranges
        left = MAX_LOOKED
        for start, end in spans:
            for index in range(start // self.size, (end - 1) // self.size + 1):
                left -= 1
                if left < 0 or not self._is_stored(index, length, validator):
                    return True
        return False

    def _wants_stored_alone(self) -> bool:
        fields = self.client.request.fields
        return fields.flags & CACHING != 0 and request_directives(fields).flags & ONLY_IF_CACHED != 0

    def _is_stored(self, index: int, length: int, validator: bytes) -> bool:
        variant = self.handler.usable(self.make(index, NOBODY))
        return (
            variant is not None
            and variant.length == length
            and (length <= self.size or strong_validator(variant) == validator)
        )
