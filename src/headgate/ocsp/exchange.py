"""One round for one certificate: its responders are asked in turn until one is believed.

A round holds at most one conversation with each responder, each in a lane of that responder's host. It begins with
the responder after the one that failed last, and a responder whose host is failing is left for the end, so that a
certificate with a living responder never queues behind a dead one.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, final
from urllib.parse import urlsplit

from headgate.clock import Clock
from headgate.errors import HeadgateError
from headgate.http.fetch import Fetch
from headgate.ocsp.conversation import Contact, Conversation, ConversationFailed, Failure, Success
from headgate.ocsp.lanes import HostFailing, Lanes, Overran, Urgency
from headgate.ocsp.settings import OcspSettings
from headgate.ocsp.subject import Subject

OVERRUN_GRACE: Final = 1.0
"""How long after its timeout a fetch is given up that did not end by itself."""


class RoundFailed(HeadgateError):
    """No responder gave a staple; `failures` has one for each that was asked, in order."""

    def __init__(self, failures: tuple[Failure, ...]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = failures


@dataclass(slots=True)
class Memory:
    """What one certificate's rounds have learnt; `start` is the index of the responder to begin with."""

    start: int = 0
    contacts: dict[str, Contact] = field(default_factory=dict)


def host_of(url: str) -> str:
    """Return the lower-case host of a URL: what the limits per host count by."""
    return (urlsplit(url).hostname or "").lower()


@final
class Exchange:
    """Asks responders. Holds nothing about certificates: that is in the `Memory` handed in."""

    def __init__(self, fetch: Fetch, clock: Clock, settings: OcspSettings, lanes: Lanes) -> None:
        self._fetch = fetch
        self._clock = clock
        self._settings = settings
        self._lanes = lanes

    async def round(self, subject: Subject, memory: Memory, urgency: Urgency) -> Success:
        """Ask the subject's responders, from `memory.start` on, until one is believed.

        Raises: RoundFailed."""
        responders = subject.responders
        first = memory.start % max(len(responders), 1)
        waiting = deque(responders[first:] + responders[:first])
        postponed: set[str] = set()
        failures: list[Failure] = []
        while waiting:
            responder = waiting.popleft()
            may_leave = bool(waiting) and responder not in postponed
            try:
                success = await self._converse(subject, responder, memory, urgency, may_leave=may_leave)
            except HostFailing:
                postponed.add(responder)
                waiting.append(responder)
            except ConversationFailed as error:
                failures.append(error.failure)
                memory.start = responders.index(responder) + 1
            else:
                memory.start = responders.index(responder)
                return replace(success, failures=tuple(failures))
        raise RoundFailed(tuple(failures))

    async def _converse(
        self, subject: Subject, responder: str, memory: Memory, urgency: Urgency, *, may_leave: bool
    ) -> Success:
        host, timeout = host_of(responder), (subject.settings or self._settings).timeout
        contact = memory.contacts.setdefault(responder, Contact())

        async def work() -> Success:
            conversation = Conversation(self._fetch, self._clock, subject, responder, contact)
            return await conversation.hold(timeout)

        try:
            limit = timeout + OVERRUN_GRACE
            success = await self._lanes.run(host, urgency, limit, work, may_leave=may_leave)
        except ConversationFailed as error:
            self._lanes.report(host, failed=error.failure.blames_host)
            raise
        except Overran as error:
            self._lanes.report(host, failed=True)
            failure = Failure(responder, "overran", "overran", str(error), milliseconds=limit * 1000.0)
            raise ConversationFailed(failure) from error
        self._lanes.report(host, failed=False)
        return success
