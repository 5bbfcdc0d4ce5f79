"""What a connection tells its log: who is called, when, with what."""

from tests.unit.engine.quic.peers import Link, new_client
from tests.unit.engine.quic.test_migration import OTHER, exchange, settled

from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.qlog import QuicLog
from headgate.engine.quic.settings import MAX_DATAGRAM

CALLS = (
    "packet_sent",
    "packet_received",
    "packet_dropped",
    "packet_lost",
    "metrics",
    "key_updated",
    "path",
    "datagram_size",
    "parameters",
    "state",
    "closed",
)


class Notebook(QuicLog):
    """A log that is a list."""

    def __init__(self):
        self.calls = []

    def named(self, name):
        return [arguments for called, *arguments in self.calls if called == name]


def _note(name):
    def call(self, *arguments, **keywords):
        self.calls.append((name, *arguments, *keywords.values()))

    return call


for _name in CALLS:
    setattr(Notebook, _name, _note(_name))


def logged(link_of=lambda client: Link(client)):
    client = new_client()
    log = Notebook()
    client.set_log(log)
    return link_of(client), log


def test_everything_that_a_log_may_be_told_is_known_here():
    assert {name for name in vars(QuicLog) if not name.startswith("_")} == set(CALLS)


def test_the_base_class_forgets_everything():
    client = new_client()
    client.set_log(QuicLog())
    link = Link(client, loss=0.05).shake()
    link.run(exchange(link))
    link.client.update_keys(link.now)
    link.client.close(0, "done", link.now)


def test_packets_and_states_of_a_handshake():
    link, log = logged()
    link.shake()
    link.rest(0.5)
    assert [arguments[1] for arguments in log.named("state")] == ["handshake_complete", "handshake_confirmed"]
    assert {arguments[1] for arguments in log.named("packet_sent")} == {INITIAL, HANDSHAKE, APPLICATION}
    assert {arguments[1] for arguments in log.named("packet_received")} >= {INITIAL, HANDSHAKE}
    ((_, said, is_ours),) = log.named("parameters")
    assert (said, is_ours) == (link.client.peer_parameters, False)
    times = [call[1] for call in log.calls]
    assert times == sorted(times)
    assert {arguments[1] for arguments in log.named("metrics")} == {link.client.recovery}


def test_losses_drops_sizes_and_keys():
    link, log = logged(lambda client: Link(client, loss=0.03, duplicate=0.1))
    link.shake()
    link.run(exchange(link, 300_000))
    link.run(lambda: link.client.update_keys(link.now))
    link.run(exchange(link, 1000))
    assert len(log.named("packet_lost")) == link.client.recovery.lost_packets > 0
    assert {arguments[1] for arguments in log.named("packet_dropped")} == {"duplicate"}
    assert log.named("datagram_size")[0][1] == MAX_DATAGRAM
    assert [(generation, ours) for _, generation, ours in log.named("key_updated")] == [(1, True), (1, False)]


def test_paths():
    link = settled()
    log = Notebook()
    link.client.set_log(log)
    link.addresses[b"wifi"] = OTHER
    link.client.migrate(b"wifi", link.now)
    link.rest(5.0)
    assert [(what, local) for _, what, _, local in log.named("path")] == [
        ("validated", b"wifi"),
        ("used", b"wifi"),
        ("left", b""),
    ]


def test_the_end():
    link, log = logged()
    link.shake()
    link.client.close(0x0100, "done", link.now)
    assert log.named("state")[-1][1] == "closing"
    ((_, reason),) = log.named("closed")
    assert reason is link.client.end
