"""The real `openssl ocsp` as a responder for tests, started with what a test wants it to say.

    with OpensslResponder(directory, authority, [leaf, other], revoked=[other]) as responder:
        with Relay(("127.0.0.1", responder.port)) as relay:
            ...the AIA of the leaves points to relay.address...

It listens on both families, answers one connection after the other, and spins when one closes without a request:
always put a `Relay` in front of it, and never knock at its own port to see whether it is there. `start` waits until
it says that it listens.
"""

import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from headgate.testing.pki import Authority, Leaf

_READY_SECONDS: Final = 20.0
_PORT: Final = re.compile(rb"ACCEPT \S*:(\d+)")


def write_index(path: Path, known: Sequence[Leaf], revoked: Sequence[Leaf] = ()) -> None:
    """Write the CA database that `openssl ocsp -index` reads; a certificate that is in neither list is unknown."""
    lines = []
    for leaf in known:
        serial = f"{leaf.certificate.serial_number:X}"
        serial = serial.rjust(len(serial) + len(serial) % 2, "0")
        gone = leaf in revoked
        when = "250101000000Z,keyCompromise" if gone else ""
        lines.append(f"{'R' if gone else 'V'}\t370101000000Z\t{when}\t{serial}\tunknown\t/CN={serial}\n")
    path.write_text("".join(lines))


class OpensslResponder:
    """One `openssl ocsp -port 0` process. `signer` answers in place of the authority; `options` are passed on, e.g.
    "-rmd", "sha1" or "-badsig". Without `minutes` the answers have no nextUpdate.

    `log` is what it has printed; `port` is where it listens, on both families."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        known: Sequence[Leaf],
        *,
        revoked: Sequence[Leaf] = (),
        signer: Leaf | None = None,
        minutes: int | None = 60,
        options: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        self.port = port
        self.log = b""
        self._directory = directory
        self._command = self._prepare(authority, known, revoked, signer or authority)
        self._command += ["-port", str(port), "-ignore_err", *options]
        if minutes is not None:
            self._command += ["-nmin", str(minutes)]
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<OpensslResponder port {self.port}{'' if self._process else ' (not running)'}>"

    def _prepare(
        self, authority: Authority, known: Sequence[Leaf], revoked: Sequence[Leaf], signer: Leaf
    ) -> list[str]:
        self._directory.mkdir(parents=True, exist_ok=True)
        write_index(self._directory / "index.txt", known, revoked)
        files = {"ca.pem": authority.pem, "signer.pem": signer.pem, "signer.key": signer.key_pem}
        for name, content in files.items():
            (self._directory / name).write_bytes(content)
        files_of = ["-index", "index.txt", "-CA", "ca.pem", "-rsigner", "signer.pem", "-rkey", "signer.key"]
        return ["openssl", "ocsp", *files_of]

    def start(self) -> Self:
        """Start it and wait until it listens. Raises RuntimeError with what it printed when it does not."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, name="openssl ocsp", daemon=True)
        self._reader.start()
        if not self._ready.wait(_READY_SECONDS) or self._process.poll() is not None:
            self.stop()
            raise RuntimeError(f"openssl ocsp does not listen: {self.log.decode(errors='replace')}")
        return self

    def stop(self) -> None:
        """End it. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        waiting = False
        while line := process.stdout.readline():
            self.log += line
            if (found := _PORT.search(line)) is not None:
                self.port = int(found.group(1))
            # The index is read after the port is open: one that is no good ends the process just after ACCEPT.
            waiting = waiting or b"aiting for OCSP client" in line
            if waiting and self.port:
                self._ready.set()
        self._ready.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answer_offline(
    directory: Path,
    authority: Authority,
    known: Sequence[Leaf],
    *,
    asked: Sequence[Leaf],
    revoked: Sequence[Leaf] = (),
    cert_id: str = "sha1",
    options: Sequence[str] = (),
) -> bytes:
    """Return what `openssl ocsp` answers to one request about all of `asked`: as many SingleResponses, with CertIDs
    in the hash `cert_id` (the responder's own option -rcid loses the serial numbers)."""
    directory.mkdir(parents=True, exist_ok=True)
    write_index(directory / "index.txt", known, revoked)
    (directory / "ca.pem").write_bytes(authority.pem)
    (directory / "ca.key").write_bytes(authority.key_pem)
    request = ["openssl", "ocsp", "-issuer", "ca.pem", "-no_nonce", "-reqout", "request.der"]
    for number, leaf in enumerate(asked):
        (directory / f"{number}.pem").write_bytes(leaf.pem)
        request += [f"-{cert_id}", "-cert", f"{number}.pem"]
    respond = [
        "openssl",
        "ocsp",
        "-index",
        "index.txt",
        "-CA",
        "ca.pem",
        "-rsigner",
        "ca.pem",
        "-rkey",
        "ca.key",
    ]
    respond += ["-nmin", "60", "-reqin", "request.der", "-respout", "response.der", *options]
    for command in (request, respond):
        done = subprocess.run(
            command, cwd=directory, capture_output=True, timeout=_READY_SECONDS, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr.decode(errors='replace')}")
    return (directory / "response.der").read_bytes()
