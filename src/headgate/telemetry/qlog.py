"""qlog: what the QUIC connections of a worker did, one file for each, to be read by people and tools.

The format is that of draft-ietf-quic-qlog-main-schema and -quic-events ("qlog 0.4") as JSON text sequences (RFC
7464): each record begins with RS and ends with a line feed; the first describes the trace. Times are milliseconds
since the beginning of the file, which is in the first record.

It is for finding out what went wrong with a few connections, not for all of a busy server: it reads each packet's
frames a second time. So there are bounds: how large a file becomes, how many are written at once, and how many are
kept; the oldest of this process are removed. A disk that takes no more ends a file and is counted; a log never
raises into the data path.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from headgate.engine.quic import frames
from headgate.engine.quic.closing import CloseReason
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.path import Address
from headgate.engine.quic.qlog import QuicLog
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.transport_parameters import TransportParameters

# 4 MiB are some 20,000 packets; 256 files of them one GiB. A file holds a descriptor while its connection lives.
MAX_QLOG_FILE: Final = 4 * 1024 * 1024
MAX_QLOG_OPEN: Final = 64
MAX_QLOG_FILES: Final = 256
# Octets that wait for a write.
_BUFFER: Final = 64 * 1024

_TYPES: Final = {INITIAL: "initial", EARLY: "0RTT", HANDSHAKE: "handshake", APPLICATION: "1RTT"}
_NAMES: Final = {
    frames.FRAME_PING: "ping",
    frames.FRAME_ACK: "ack",
    frames.FRAME_ACK_ECN: "ack",
    frames.FRAME_RESET_STREAM: "reset_stream",
    frames.FRAME_STOP_SENDING: "stop_sending",
    frames.FRAME_CRYPTO: "crypto",
    frames.FRAME_NEW_TOKEN: "new_token",
    frames.FRAME_STREAM: "stream",
    frames.FRAME_MAX_DATA: "max_data",
    frames.FRAME_MAX_STREAM_DATA: "max_stream_data",
    frames.FRAME_MAX_STREAMS_BIDI: "max_streams",
    frames.FRAME_MAX_STREAMS_UNI: "max_streams",
    frames.FRAME_DATA_BLOCKED: "data_blocked",
    frames.FRAME_STREAM_DATA_BLOCKED: "stream_data_blocked",
    frames.FRAME_STREAMS_BLOCKED_BIDI: "streams_blocked",
    frames.FRAME_STREAMS_BLOCKED_UNI: "streams_blocked",
    frames.FRAME_NEW_CONNECTION_ID: "new_connection_id",
    frames.FRAME_RETIRE_CONNECTION_ID: "retire_connection_id",
    frames.FRAME_PATH_CHALLENGE: "path_challenge",
    frames.FRAME_PATH_RESPONSE: "path_response",
    frames.FRAME_CONNECTION_CLOSE: "connection_close",
    frames.FRAME_APPLICATION_CLOSE: "connection_close",
    frames.FRAME_HANDSHAKE_DONE: "handshake_done",
    frames.FRAME_DATAGRAM: "datagram",
}
_PARAMETERS: Final = (
    "max_idle_timeout",
    "max_udp_payload_size",
    "ack_delay_exponent",
    "max_ack_delay",
    "active_connection_id_limit",
    "initial_max_data",
    "initial_max_stream_data_bidi_local",
    "initial_max_stream_data_bidi_remote",
    "initial_max_stream_data_uni",
    "initial_max_streams_bidi",
    "initial_max_streams_uni",
    "max_datagram_frame_size",
    "disable_active_migration",
    "grease_quic_bit",
)
_CLOSING_STATES: Final = ("closing", "draining", "closed")
Json = dict[str, object]


def _describe(reader: frames.FrameReader) -> Json:
    """Return a frame as the draft has it."""
    kind = reader.kind
    said: Json = {"frame_type": _NAMES.get(kind, "unknown")}
    if kind in (frames.FRAME_STREAM, frames.FRAME_CRYPTO):
        said["offset"] = reader.offset
        said["raw"] = {"length": reader.length}
        if kind == frames.FRAME_STREAM:
            said["stream_id"] = reader.stream
            said["fin"] = reader.fin
    elif kind in (frames.FRAME_ACK, frames.FRAME_ACK_ECN):
        ranges = reader.ranges
        said["acked_ranges"] = [[ranges[at + 1], ranges[at]] for at in range(0, len(ranges), 2)]
        if kind == frames.FRAME_ACK_ECN:
            said.update(ect0=reader.ect0, ect1=reader.ect1, ce=reader.ce)
    elif kind in (frames.FRAME_RESET_STREAM, frames.FRAME_STOP_SENDING):
        said.update(stream_id=reader.stream, error_code=reader.code)
        if kind == frames.FRAME_RESET_STREAM:
            said["final_size"] = reader.value
    elif frames.FRAME_MAX_DATA <= kind <= frames.FRAME_STREAMS_BLOCKED_UNI:
        _describe_credit(said, reader)
    elif kind in (frames.FRAME_CONNECTION_CLOSE, frames.FRAME_APPLICATION_CLOSE):
        space = "transport" if kind == frames.FRAME_CONNECTION_CLOSE else "application"
        said.update(
            error_space=space, error_code=reader.code, reason=reader.content.decode("utf-8", "replace")
        )
    elif kind == frames.FRAME_NEW_CONNECTION_ID:
        said.update(sequence_number=reader.sequence, retire_prior_to=reader.retire_prior_to)
        said["connection_id"] = reader.content.hex()
    elif kind == frames.FRAME_RETIRE_CONNECTION_ID:
        said["sequence_number"] = reader.sequence
    elif kind in (frames.FRAME_PATH_CHALLENGE, frames.FRAME_PATH_RESPONSE):
        said["data"] = reader.content.hex()
    elif kind == frames.FRAME_DATAGRAM:
        said["raw"] = {"length": reader.length}
    return said


def _describe_credit(said: Json, reader: frames.FrameReader) -> None:
    kind = reader.kind
    if kind in (frames.FRAME_MAX_STREAM_DATA, frames.FRAME_STREAM_DATA_BLOCKED):
        said["stream_id"] = reader.stream
    if kind in (frames.FRAME_MAX_STREAMS_UNI, frames.FRAME_STREAMS_BLOCKED_UNI):
        said["stream_type"] = "unidirectional"
    elif kind in (frames.FRAME_MAX_STREAMS_BIDI, frames.FRAME_STREAMS_BLOCKED_BIDI):
        said["stream_type"] = "bidirectional"
    is_blocked = kind >= frames.FRAME_DATA_BLOCKED
    said["limit" if is_blocked else "maximum"] = reader.value


class QlogFile(QuicLog):
    """The log of one connection."""

    def __init__(
        self,
        directory: "QlogDirectory",
        file: BinaryIO,
        name: bytes,
        now: float,
        now_wall: float,
        *,
        is_client: bool,
    ) -> None:
        self._directory = directory
        self._file: BinaryIO | None = file
        self._began = now
        self._pending: list[bytes] = []
        self._waiting = 0
        self._size = 0
        self._state = ""
        self._seen: Json = {}
        # Frames come from both sides.
        self._readers = frames.FrameReader(is_server=False, max_datagram=1 << 16)
        self._write(
            {
                "file_schema": "urn:ietf:params:qlog:file:sequential",
                "serialization_format": "application/qlog+json-seq",
                "qlog_version": "0.4",
                "qlog_format": "JSON-SEQ",
                "title": "headgate",
                "trace": {
                    "vantage_point": {"name": "headgate", "type": "client" if is_client else "server"},
                    "common_fields": {
                        "group_id": name.hex(),
                        "time_format": "relative_to_epoch",
                        "reference_time": {
                            "clock_type": "system",
                            "epoch": datetime.fromtimestamp(now_wall, UTC).isoformat(timespec="milliseconds"),
                        },
                    },
                    "event_schemas": ["urn:ietf:params:qlog:events:quic-12"],
                },
            }
        )

    def __repr__(self) -> str:
        return f"<QlogFile {self._size} octets{'' if self._file else ', closed'}>"

    def _write(self, record: Json) -> None:
        if self._file is None:
            return
        line = b"\x1e" + orjson.dumps(record) + b"\n"
        self._size += len(line)
        if self._size > MAX_QLOG_FILE:
            self._directory.cut += 1
            self.close()
            return
        self._pending.append(line)
        self._waiting += len(line)
        if self._waiting >= _BUFFER:
            self.flush()

    def _event(self, now: float, name: str, data: Json) -> None:
        self._write({"time": round((now - self._began) * 1000, 3), "name": f"quic:{name}", "data": data})

    def flush(self) -> None:
        """Write what waits."""
        file = self._file
        if file is None or not self._pending:
            return
        pending, self._pending = self._pending, []
        self._waiting = 0
        try:
            file.write(b"".join(pending))
            file.flush()
        except OSError as error:
            self._directory.failed(error)
            self._end()

    def close(self) -> None:
        """Write what waits, and no more than that."""
        self.flush()
        self._end()

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._directory.gone(self)
            try:
                file.close()
            except OSError as error:
                self._directory.failed(error)

    # What the connection tells

    def _frames(self, level: int, content: bytes) -> list[Json]:
        reader = self._readers
        said: list[Json] = []
        try:
            reader.begin(content, level)
            while reader.next():
                said.append(_describe(reader))
        except QuicError as error:
            said.append(
                {"frame_type": "unknown", "frame_type_bytes": reader.frame_type, "reason": error.detail}
            )
        return said

    def _packet(self, now: float, name: str, level: int, number: int, size: int, content: bytes) -> None:
        if self._file is None:
            return
        header = {"packet_type": _TYPES[level], "packet_number": number}
        described = self._frames(level, content)
        self._event(now, name, {"header": header, "raw": {"length": size}, "frames": described})

    def packet_sent(self, now: float, level: int, number: int, size: int, content: bytes) -> None:
        """See `QuicLog`."""
        self._packet(now, "packet_sent", level, number, size, content)

    def packet_received(self, now: float, level: int, number: int, size: int, content: bytes) -> None:
        """See `QuicLog`."""
        self._packet(now, "packet_received", level, number, size, content)

    def packet_dropped(self, now: float, reason: str) -> None:
        """See `QuicLog`."""
        self._event(now, "packet_dropped", {"details": reason})

    def packet_lost(self, now: float, level: int, number: int) -> None:
        """See `QuicLog`."""
        self._event(now, "packet_lost", {"header": {"packet_type": _TYPES[level], "packet_number": number}})

    def metrics(self, now: float, recovery: Recovery) -> None:
        """See `QuicLog`."""
        rtt, controller = recovery.rtt, recovery.controller
        found: Json = {
            "congestion_window": controller.window,
            "bytes_in_flight": recovery.bytes_in_flight,
            "pto_count": recovery.pto_count,
        }
        if controller.threshold != NEVER:
            found["ssthresh"] = int(controller.threshold)
        if rtt.first_sample_at != NEVER:
            for name, seconds in (
                ("min_rtt", rtt.minimum),
                ("smoothed_rtt", rtt.smoothed),
                ("latest_rtt", rtt.latest),
                ("rtt_variance", rtt.variation),
            ):
                found[name] = round(seconds * 1000, 3)
        new = {name: value for name, value in found.items() if self._seen.get(name) != value}
        if new:
            self._seen = found
            self._event(now, "recovery_metrics_updated", new)

    def key_updated(self, now: float, generation: int, *, is_ours: bool) -> None:
        """See `QuicLog`."""
        who = "local" if is_ours else "remote"
        self._event(now, "key_updated", {"key_phase": generation, "trigger": f"{who}_update"})

    def path(self, now: float, what: str, peer: Address, local: bytes) -> None:
        """See `QuicLog`."""
        remote = {"ip": peer[0], "port": peer[1]}
        data: Json = {
            "tuple_id": f"{peer[0]} {peer[1]} {local.hex()}",
            "tuple_remote": remote,
            "details": what,
        }
        self._event(now, "tuple_assigned", data)

    def datagram_size(self, now: float, size: int) -> None:
        """See `QuicLog`."""
        self._event(now, "mtu_updated", {"new": size})

    def parameters(self, now: float, said: TransportParameters, *, is_ours: bool) -> None:
        """See `QuicLog`."""
        data: Json = {"initiator": "local" if is_ours else "remote"}
        for name in _PARAMETERS:
            data[name] = getattr(said, name)
        self._event(now, "parameters_set", data)

    def state(self, now: float, state: str) -> None:
        """See `QuicLog`."""
        data: Json = {"new": state}
        if self._state:
            data["old"] = self._state
        self._state = state
        self._event(now, "connection_state_updated", data)
        if state in _CLOSING_STATES:
            self.flush()

    def closed(self, now: float, reason: CloseReason) -> None:
        """See `QuicLog`."""
        error = "application_error" if reason.is_application else "connection_error"
        data: Json = {"initiator": "local" if reason.is_ours else "remote", error: reason.code}
        if reason.reason:
            data["reason"] = reason.reason
        self._event(now, "connection_closed", data)
        self.close()


class QlogDirectory:
    """Where the logs of one process go. `cut`: files that reached their size; `refused`: connections without a log
    because too many had one; `errors`: what the disk did not take, `error` the last of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cut = 0
        self.refused = 0
        self.errors = 0
        self.error = ""
        self._open: dict[QlogFile, None] = {}
        self._kept: list[Path] = []

    def __repr__(self) -> str:
        return f"<QlogDirectory {self.directory}, {len(self._open)} open, {len(self._kept)} kept>"

    def open(self, name: bytes, now: float, now_wall: float, *, is_client: bool) -> QlogFile | None:
        """Begin the log of a connection, named by the first destination ID of its client; None: it gets none."""
        if len(self._open) >= MAX_QLOG_OPEN:
            self.refused += 1
            return None
        path = self.directory / f"{name.hex()}_{'client' if is_client else 'server'}.sqlog"
        try:
            file = path.open("xb", buffering=0)
        except OSError as error:
            self.failed(error)
            return None
        self._kept.append(path)
        log = QlogFile(self, file, name, now, now_wall, is_client=is_client)
        self._open[log] = None
        if len(self._kept) > MAX_QLOG_FILES:
            self._remove(self._kept.pop(0))
        return log

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self.failed(error)

    def failed(self, error: OSError) -> None:
        """Note what the disk did not take."""
        self.errors += 1
        self.error = str(error)

    def gone(self, log: QlogFile) -> None:
        """A log was closed."""
        self._open.pop(log, None)

    def flush(self) -> None:
        """Write what waits in all of them: with each sweep of the worker."""
        for log in list(self._open):
            log.flush()

    def close(self) -> None:
        """End all of them."""
        for log in list(self._open):
            log.close()
