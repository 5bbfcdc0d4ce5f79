"""qlog files: their form, what stands in them, their bounds."""

import json

import pytest
from tests.unit.engine.quic.peers import Link, new_client
from tests.unit.engine.quic.test_migration import OTHER, exchange

from headgate.engine.quic.levels import APPLICATION
from headgate.telemetry import qlog
from headgate.telemetry.qlog import MAX_QLOG_FILE, MAX_QLOG_FILES, MAX_QLOG_OPEN, QlogDirectory

WALL = 1_790_000_000.5


def records(path):
    """The records of a JSON text sequence (RFC 7464)."""
    data = path.read_bytes()
    assert data.startswith(b"\x1e")
    assert data.endswith(b"\n")
    return [json.loads(record) for record in data.split(b"\x1e")[1:]]


def test_a_connection_from_beginning_to_end(tmp_path):
    directory = QlogDirectory(tmp_path)
    client = new_client()
    log = directory.open(b"\xab\xcd", 0.0, WALL, is_client=True)
    client.set_log(log)
    link = Link(client, loss=0.02, duplicate=0.05).shake()
    link.rest(0.5)
    link.run(exchange(link, 300_000))
    link.addresses[b"wifi"] = OTHER
    client.migrate(b"wifi", link.now)
    client.update_keys(link.now)
    link.run(exchange(link, 300_000))
    link.rest(5.0)
    client.close(0x0100, "done", link.now)
    (path,) = tmp_path.iterdir()
    assert path.name == "abcd_client.sqlog"
    head, *events = records(path)
    assert head["serialization_format"] == "application/qlog+json-seq"
    assert head["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    trace = head["trace"]
    assert trace["vantage_point"]["type"] == "client"
    assert trace["common_fields"]["group_id"] == "abcd"
    assert trace["common_fields"]["reference_time"]["epoch"] == "2026-09-21T14:13:20.500+00:00"
    assert {event["name"].removeprefix("quic:") for event in events} == {
        "packet_sent",
        "packet_received",
        "packet_dropped",
        "packet_lost",
        "recovery_metrics_updated",
        "key_updated",
        "tuple_assigned",
        "mtu_updated",
        "parameters_set",
        "connection_state_updated",
        "connection_closed",
    }
    (said,) = [event["data"] for event in events if event["name"] == "quic:parameters_set"]
    assert (said["initiator"], said["initial_max_streams_bidi"]) == ("remote", 100)
    assert "stateless_reset_token" not in said
    times = [event["time"] for event in events]
    assert times == sorted(times)
    kinds = {frame["frame_type"] for event in events for frame in event["data"].get("frames", ())}
    assert kinds >= {
        "ack",
        "crypto",
        "handshake_done",
        "max_data",
        "max_stream_data",
        "new_connection_id",
        "path_challenge",
        "path_response",
        "ping",
        "retire_connection_id",
        "stream",
    }
    assert "unknown" not in kinds
    assert events[-1]["data"] == {"initiator": "local", "application_error": 0x100, "reason": "done"}
    assert directory.errors == directory.cut == directory.refused == 0
    assert repr(log).endswith("closed>")


def test_what_did_not_change_is_not_said_again(tmp_path):
    directory = QlogDirectory(tmp_path)
    log = directory.open(b"a", 0.0, WALL, is_client=False)
    client = new_client()
    for _ in range(3):
        log.metrics(1.0, client.recovery)
    log.close()
    (_, event) = records(next(tmp_path.iterdir()))
    assert event["data"] == {"congestion_window": 12_000, "bytes_in_flight": 0, "pto_count": 0}


def test_frames_that_make_no_sense_are_no_exception(tmp_path):
    log = QlogDirectory(tmp_path).open(b"a", 0.0, WALL, is_client=False)
    log.packet_received(0.0, APPLICATION, 1, 40, b"\xff")
    log.packet_received(0.0, APPLICATION, 2, 40, b"")
    log.close()
    _, one, two = records(next(tmp_path.iterdir()))
    assert [event["data"]["frames"][0]["frame_type"] for event in (one, two)] == ["unknown", "unknown"]


def test_a_file_at_its_limit_and_one_record_more(tmp_path, monkeypatch):
    monkeypatch.setattr(qlog, "MAX_QLOG_FILE", 5000)
    directory = QlogDirectory(tmp_path)
    log = directory.open(b"a", 0.0, WALL, is_client=False)
    for _ in range(1000):
        log.packet_dropped(0.0, "duplicate")
    (path,) = tmp_path.iterdir()
    assert 4900 < path.stat().st_size <= 5000
    assert len(records(path)) > 10
    assert directory.cut == 1
    assert MAX_QLOG_FILE == 4 * 1024 * 1024


def test_open_files_at_the_limit_and_one_more(tmp_path):
    directory = QlogDirectory(tmp_path)
    logs = [directory.open(b"%d" % n, 0.0, WALL, is_client=False) for n in range(MAX_QLOG_OPEN)]
    assert all(logs)
    assert directory.open(b"more", 0.0, WALL, is_client=False) is None
    assert directory.refused == 1
    logs[0].close()
    assert directory.open(b"more", 0.0, WALL, is_client=False) is not None
    directory.close()
    assert repr(directory).endswith(f"0 open, {MAX_QLOG_OPEN + 1} kept>")


def test_files_kept_at_the_limit_and_one_more(tmp_path):
    directory = QlogDirectory(tmp_path)
    for number in range(MAX_QLOG_FILES + 1):
        directory.open(b"%04d" % number, 0.0, WALL, is_client=False).close()
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == MAX_QLOG_FILES
    assert f"{b'0000'.hex()}_server.sqlog" not in names


@pytest.mark.parametrize("name", [b"taken"])
def test_a_disk_that_takes_nothing_is_counted_and_raises_nothing(tmp_path, name):
    directory = QlogDirectory(tmp_path / "missing")
    assert directory.open(name, 0.0, WALL, is_client=False) is None
    assert directory.errors == 1
    assert "missing" in directory.error
    here = QlogDirectory(tmp_path)
    log = here.open(name, 0.0, WALL, is_client=False)
    assert here.open(name, 0.0, WALL, is_client=False) is None  # never two in one file
    log._file.close()
    log._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - the log closes it
    log.packet_dropped(0.0, "duplicate")
    here.flush()
    assert here.errors == 2
    log.packet_dropped(0.0, "duplicate")
    log.close()


def test_a_sweep_writes_what_waits(tmp_path):
    directory = QlogDirectory(tmp_path)
    log = directory.open(b"a", 0.0, WALL, is_client=False)
    log.packet_dropped(0.0, "duplicate")
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 0
    directory.flush()
    assert len(records(path)) == 2
    directory.close()
