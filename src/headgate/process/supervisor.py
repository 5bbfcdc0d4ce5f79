"""The supervisor: binds, forks, watches, restarts. It never reads a peer's byte.

Synchronous and single-threaded: one selector over the control channels and the signal pipe, and a handful of
deadlines. Order of a start, and why:

1. directories, lock, a probe of every address: what the operator must repair ends the start here;
2. the spawner, from which keepers and applications are forked: before any private key is read (see `spawner`);
3. the keeper, which loads its libraries while we go on, and the processes of applications;
4. certificates; the first Snapshot goes to the keeper without keys, and its first fetches begin;
5. ticket contexts and the mailboxes of QUIC, which workers must inherit to share them;
6. per slot: bind, fork, close our copies, send the Snapshot;
7. LISTEN, once the keeper has tried every must-staple certificate and probed every endpoint that waits for that, and
   every application stands or has failed, or `startup_wait` is over.

A restart is steps 3 or 6 again with the Snapshot of the day, staples included. SIGTERM and SIGINT drain, a
second one ends the drain; SIGUSR1 reopens logs; SIGHUP is not built yet and says so.
"""

import gc
import os
import selectors
import signal
import socket
from collections.abc import Sequence
from typing import Final

from headgate.net.udp import RECEIVE_QUEUE
from headgate.process import slots
from headgate.process.app_plan import AppPlan
from headgate.process.cache_socket import FOLDER, bind_writer
from headgate.process.channel import Channel, ChannelError, Json, Kind, Message, encode_frame, socket_pair
from headgate.process.child import Child, Input, State
from headgate.process.directories import RUNTIME_MODE, STATE_MODE, StateLock, make_directory
from headgate.process.fork import fork_child, reap, woken
from headgate.process.parts import Parts, SupervisorSettings
from headgate.process.privileges import become
from headgate.process.purge_relay import PurgeRelay
from headgate.process.snapshot import Certificate, Snapshot
from headgate.process.sockets import BindError, bind_slot, check_free, close_all, has_fast_open, queue_of
from headgate.process.spawner import Spawner, SpawnError
from headgate.process.start import AppStart, BoundAddress, CacheWriterStart, KeeperStart, WorkerStart
from headgate.process.verdicts import merge
from headgate.server.hand_over import MailRoom

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Supervisor:
    """One gate. `run` is its whole life."""

    def __init__(self, settings: SupervisorSettings, parts: Parts) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._problems: dict[str, str] = {}
        self._parts = parts
        self._events = parts.events
        self._now = parts.clock.now
        self._workers = [Child(f"worker {slot}", slot) for slot in range(settings.workers)]
        self._keeper = Child("keeper", -1)
        self._apps = [Child(plan.name, slots.APP_SLOT + place) for place, plan in enumerate(settings.apps)]
        self._writers = [Child(slots.WRITER, slots.WRITER_SLOT)] if settings.cache_disk else []
        self._writer_socket: socket.socket | None = None
        self._apps_tried: set[str] = set()
        self._staples_tried = False
        self._addresses: Sequence[BoundAddress] = settings.addresses
        self._snapshot = Snapshot(0, parts.settings)
        self._fingerprints: dict[str, str] = {}
        self._tickets: object = None
        self._mail: MailRoom | None = None
        self._qlog = False
        self._purges = PurgeRelay(keeps=bool(settings.cache_disk))
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._lock: StateLock | None = None
        self._spawner: Spawner | None = None
        self._may_listen = False
        self._announced = False
        self._status_due = False
        self._listen_deadline: float | None = None
        self._drain_deadline: float | None = None
        self._apps_deadline: float | None = None
        self._keeper_deadline: float | None = None
        self._next_watch = 0.0
        self._next_watchdog = 0.0

    @property
    def _children(self) -> Sequence[Child]:
        return (*self._workers, *self._apps, *self._writers, self._keeper)

    # -- life

    def run(self) -> int:
        """Start, supervise, drain; return the exit code. Raises `HeadgateError` when the start fails."""
        try:
            self._prepare()
            self._start()
            while not self._finished():
                self._turn()
            self._events.event("stopped")
            return 0
        finally:
            self._end()

    def _prepare(self) -> None:
        settings = self._settings
        make_directory(settings.state_dir, STATE_MODE, settings.account, "state_dir")
        make_directory(settings.runtime_dir, RUNTIME_MODE, settings.account, "runtime_dir")
        self._lock = StateLock(settings.state_dir)
        self._addresses = self._probe(settings.addresses)
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        for number in SIGNALS:
            signal.signal(number, woken)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        # Objects of the parent are not walked in the children, so that their pages stay shared.
        gc.freeze()
        if self._writers:
            self._writer_socket = bind_writer(settings.runtime_dir, settings.account)
        self._spawner = Spawner(self._spawned_life, self._forget)

    def _probe(self, addresses: Sequence[BoundAddress]) -> Sequence[BoundAddress]:
        """Prove that the addresses are free. A UDP port that is not costs QUIC there, unless it was asked for."""
        lost: list[BindError] = []
        free = check_free(addresses, lost)
        for problem in lost:
            self._events.event(
                "quic-not-bound",
                "warning",
                address=str(problem.address),
                reason=str(problem),
                next="HTTP/3 is not offered there; everything else is",
            )
        early = next((address for address in free if address.fast_open), None)
        if early is not None and not has_fast_open():
            self._events.event(
                "fast-open-unavailable",
                "warning",
                address=str(early),
                reason="bit 1 of the sysctl net.ipv4.tcp_fastopen is not set",
                next="clients connect as ever; sysctl -w net.ipv4.tcp_fastopen=3 mends it",
            )
        first = next((address for address in free if address.quic != "off"), None)
        if first is not None and (size := queue_of(first)) < RECEIVE_QUEUE:
            self._events.event(
                "udp-queue-small",
                "warning",
                bytes=size,
                wanted=RECEIVE_QUEUE,
                reason="the system's limit (net.core.rmem_max) cuts the receive queue of UDP sockets",
                next=f"bursts are lost and sent again; sysctl -w net.core.rmem_max={RECEIVE_QUEUE} mends it",
            )
        return free

    @property
    def _has_quic(self) -> bool:
        return any(address.quic != "off" for address in self._addresses)

    def _start(self) -> None:
        self._start_keeper()
        for writer in self._writers:
            self._spawn(writer)
        for app in self._apps:
            self._start_app(app)
        if self._has_quic:
            if self._parts.quic_keys is not None:
                self._parts.quic_keys.load()
            self._mail = MailRoom(len(self._workers)) if len(self._workers) > 1 else None
        self._snapshot.health.update(self._parts.health())
        self._take_certificates(self._parts.certificates.load())
        self._note_problems()
        self._send_snapshot(self._keeper)
        now = self._now()
        self._listen_deadline = now + self._settings.startup_wait
        self._next_watch = now + self._settings.watch_interval
        self._tickets = self._parts.make_tickets()
        gc.freeze()
        for worker in self._workers:
            self._start_worker(worker, first=True)
        gc.enable()  # the command line may have turned it off for the start

    def _finished(self) -> bool:
        if self._drain_deadline is None:
            return False
        return all(child.state is State.DOWN for child in self._children)

    def _end(self) -> None:
        """Leave nothing behind, whatever happened: children of a start that failed are ended at once."""
        signal.set_wakeup_fd(-1)
        for child in self._children:
            if child.pid and not self._announced:
                child.kill()
                reap(child.pid)
            if child.channel is not None:
                child.channel.close()  # after a failure of our own: end of file makes them drain
        if self._spawner is not None:
            self._spawner.close()
            reap(self._spawner.pid)
        if self._lock is not None:
            self._lock.close()
        if self._mail is not None:
            self._mail.close()
        self._close_writer_socket()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    # -- one turn of the loop

    def _turn(self) -> None:
        if self._status_due:
            self._send_status()
        timeout = max(0.0, self._next_deadline() - self._now())
        for key, mask in self._selector.select(timeout):
            if key.data is None:
                self._read_signals()
            else:
                self._serve(key.data, mask)
        self._on_deadlines()

    def _next_deadline(self) -> float:
        waited = [self._listen_deadline, self._keeper_deadline or self._apps_deadline or self._drain_deadline]
        for child in self._children:
            waited += (child.restart_at, child.kill_at, child.answer_by)
        if self._parts.notifier.interval:
            waited.append(self._next_watchdog)
        if self._drain_deadline is None:
            waited.append(self._next_watch)
        return min(deadline for deadline in waited if deadline is not None)

    def _on_deadlines(self) -> None:
        now = self._now()
        if self._parts.notifier.interval and now >= self._next_watchdog:
            self._next_watchdog = now + self._parts.notifier.interval
            self._parts.notifier.send("WATCHDOG=1")
        for child in self._children:
            if child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                child.kill()
        if self._drain_deadline is not None:
            self._drain_further(now)
            return
        for child in (*self._workers, *self._apps):
            if child.answer_by is not None and now >= child.answer_by:
                self._give_up(child)
        if self._listen_deadline is not None and now >= self._listen_deadline:
            self._events.event(
                "startup-wait-over",
                "warning",
                seconds=self._settings.startup_wait,
                next=f"listening without {self._missing()}",
            )
            self._open_listeners()
        for worker in self._workers:
            if worker.restart_at is not None and now >= worker.restart_at:
                self._start_worker(worker)
        for app in self._apps:
            if app.restart_at is not None and now >= app.restart_at:
                self._start_app(app)
        for writer in self._writers:
            if writer.restart_at is not None and now >= writer.restart_at:
                self._spawn(writer)
        if self._keeper.restart_at is not None and now >= self._keeper.restart_at:
            self._start_keeper()
            self._send_snapshot(self._keeper)
        if now >= self._next_watch:
            self._watch()
            # Ten thousand files take a while to look at: never more than a twentieth of the time.
            spent = self._now() - now
            self._next_watch = self._now() + max(self._settings.watch_interval, 20 * spent)

    # -- signals

    def _read_signals(self) -> None:
        try:
            numbers = self._wake_in.recv(4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._begin_drain(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._events.event(
                    "reload-not-built",
                    "warning",
                    reason="reloading the configuration comes in a later release",
                    next="nothing changes; certificate files are taken up without a reload",
                )
            elif number == signal.SIGUSR1:
                self._events.event("logs-reopened")
                self._send_all(encode_frame(Kind.REOPEN_LOGS))
            elif number == signal.SIGCHLD:
                self._reap_children()

    def _reap_children(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.pid == pid:
                    self._exited(child, status)
            if self._spawner is not None and pid == self._spawner.pid:
                self._spawner_died()

    def _exited(self, child: Child, status: int) -> None:
        pid, lived = child.pid, self._now() - child.started
        self._read_last_words(child)
        self._unregister(child)
        planned = child.state is State.DRAINING
        delay = child.exited(status, self._now())
        if child.slot >= slots.APP_SLOT:
            self._app_tried(child)
        self._status_due = True
        if self._drain_deadline is not None:
            child.restart_at = None
        level = "info" if planned and status == 0 else "error"
        following = "none: draining" if child.restart_at is None else f"restart in {delay:g} s"
        self._events.event(
            "child-exited",
            level,
            child=child.name,
            pid=pid,
            how=child.last_exit,
            lived=round(lived, 3),
            next=following,
        )

    def _read_last_words(self, child: Child) -> None:
        """A child that reported and died in one breath was heard: its staples count."""
        try:
            while child.channel is not None and not child.channel.eof:
                messages = child.channel.receive()
                if not messages:
                    return
                for message in messages:
                    self._message(child, message)
        except ChannelError:
            return  # it is dead already

    def _spawner_died(self) -> None:
        self._events.event(
            "spawner-exited",
            "error",
            reason="the process that keepers are forked from is gone",
            next="this keeper goes on; should it die, staples are not renewed until headgate is started again",
        )

    # -- children

    def _start_worker(self, worker: Child, *, first: bool = False) -> None:
        """Bind, fork, close our copies, send the Snapshot. What fails at the first start is raised."""
        sockets: list[tuple[int, socket.socket]] = []
        try:
            sockets = bind_slot(self._addresses)
            datagrams = bind_slot(self._addresses, "udp")
        except BindError as exc:
            close_all(sockets)
            if first:
                raise
            self._start_failed(worker, str(exc))
            return
        ours, theirs = socket_pair()
        worker.generation += 1
        start = WorkerStart(
            worker.slot,
            worker.generation,
            theirs,
            sockets,
            worker.page,
            tickets=self._tickets,
            datagrams=datagrams,
            mail=self._mail,
            sample=worker.sample,
            health=worker.health,
            workers=len(self._workers),
        )

        def life() -> int:
            ours.close()
            self._forget()
            self._close_writer_socket()
            become(self._settings.account)
            self._parts.worker_main(start)
            return 0

        try:
            pid = fork_child(worker.name, life)
        except OSError as exc:
            ours.close()
            self._start_failed(worker, f"fork: {exc.strerror} (errno {exc.errno})")
            return
        finally:
            theirs.close()
            close_all((*sockets, *datagrams))
        self._register(worker, pid, ours)
        worker.answer_by = self._now() + self._settings.answer_timeout
        self._send_snapshot(worker)
        if self._qlog:
            self._send(worker, encode_frame(Kind.QLOG, {"on": True}))
        for frame in self._purges.frames():
            self._send(worker, frame)

    def _start_keeper(self) -> None:
        self._spawn(self._keeper)

    def _start_app(self, app: Child) -> None:
        if self._spawn(app):
            plan = self._plan(app)
            app.answer_by = self._now() + plan.spec.start_timeout + slots.EXIT_GRACE
            self._send(app, encode_frame(Kind.APPLICATION, plan.to_json()))

    def _plan(self, app: Child) -> AppPlan:
        return self._settings.apps[app.slot - slots.APP_SLOT]

    def _spawn(self, child: Child) -> bool:
        """Have a child forked that must not inherit what we hold; tell whether it was."""
        ours, theirs = socket_pair()
        child.generation += 1
        try:
            assert self._spawner is not None
            pid = self._spawner.fork(theirs, child.slot, child.generation)
        except SpawnError as exc:
            ours.close()
            self._start_failed(child, str(exc))
            return False
        finally:
            theirs.close()
        self._register(child, pid, ours)
        return True

    def _spawned_life(self, control: socket.socket, slot: int, generation: int) -> int:
        """The whole life of a keeper or an application's process, which the spawner has forked."""
        if slot == slots.WRITER_SLOT:
            become(self._settings.account)
            return self._write_cache(control, generation)
        self._close_writer_socket()
        if slot != self._keeper.slot:
            app = self._apps[slot - slots.APP_SLOT]
            become(self._settings.account)
            assert self._parts.app_main is not None
            return self._parts.app_main(AppStart(app.name, generation, control, app.page))
        self._parts.load_keeper()
        become(self._settings.account)
        pages = [worker.page for worker in self._workers]
        samples = [worker.sample for worker in self._workers]
        healths = [worker.health for worker in self._workers]
        apps = {app.name: app.page for app in (*self._apps, *self._writers)}
        start = KeeperStart(generation, control, self._keeper.page, pages, self._pid, samples, healths, apps)
        self._parts.keeper_main(start)
        return 0

    def _write_cache(self, control: socket.socket, generation: int) -> int:
        settings, listener = self._settings, self._writer_socket
        assert self._parts.cache_writer_main is not None
        assert listener is not None
        page, root = self._writers[0].page, str(settings.state_dir / FOLDER)
        return self._parts.cache_writer_main(
            CacheWriterStart(generation, control, page, listener, root, settings.cache_disk)
        )

    def _close_writer_socket(self) -> None:
        if self._writer_socket is not None:
            self._writer_socket.close()

    def _forget(self) -> None:
        """In a child: close every copy of what is the supervisor's. A control socket kept open here would
        keep another child from reading end of file when the supervisor dies."""
        for child in self._children:
            if child.channel is not None:
                child.channel.close()
        if self._spawner is not None:
            self._spawner.close()
        if self._lock is not None:
            self._lock.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _start_failed(self, child: Child, reason: str) -> None:
        delay = child.failed(self._now())
        self._status_due = True
        self._events.event(
            "child-not-started", "error", child=child.name, reason=reason, next=f"another try in {delay:g} s"
        )

    def _give_up(self, worker: Child) -> None:
        """End a child that hangs: its slot would serve nobody, and nothing else would say so."""
        worker.answer_by = None
        patience = self._settings.answer_timeout
        if worker.slot >= slots.APP_SLOT:
            patience = self._plan(worker).spec.start_timeout + slots.EXIT_GRACE
        starting = worker.state is State.STARTING
        said = "was started and is not ready" if starting else "was told to listen and does not"
        self._events.event(
            "child-stuck",
            "error",
            child=worker.name,
            pid=worker.pid,
            reason=f"it {said} after {patience:g} s",
            next="it is killed and started again",
        )
        worker.kill()

    def _register(self, child: Child, pid: int, sock: socket.socket) -> None:
        child.forked(pid, Channel(sock), self._now())
        self._selector.register(sock.fileno(), selectors.EVENT_READ, child)
        self._status_due = True
        level = "info" if child.generation == 1 else "warning"
        self._events.event("child-started", level, child=child.name, pid=pid, generation=child.generation)

    def _unregister(self, child: Child) -> None:
        if child.channel is not None and child.channel.fileno() in self._selector.get_map():
            self._selector.unregister(child.channel.fileno())

    # -- messages

    def _serve(self, child: Child, mask: int) -> None:
        channel = child.channel
        if channel is None:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                channel.flush()
                self._poll(child, channel)
            if mask & selectors.EVENT_READ:
                for message in channel.receive():
                    self._message(child, message)
        except ChannelError as exc:
            self._distrust(child, exc)
        if channel.eof:
            # It is about to exit; a child that only closed its end cannot be led any more.
            self._unregister(child)
            child.kill_at = self._now() + slots.EXIT_GRACE

    def _distrust(self, child: Child, exc: ChannelError) -> None:
        self._events.event(
            "child-distrusted", "error", child=child.name, pid=child.pid, reason=str(exc), next="it is killed"
        )
        self._unregister(child)
        child.kill()

    def _message(self, child: Child, message: Message) -> None:
        if message.kind is Kind.READY:
            starting = child.state is State.STARTING
            child.step(Input.READY)
            child.snapshot = message.integer("snapshot")
            if starting:
                child.answer_by = None
                if child.slot >= slots.APP_SLOT:
                    self._app_tried(child)
                elif child.slot >= 0 and self._may_listen:
                    self._tell_to_listen(child)
        elif message.kind is Kind.LISTENING and 0 <= child.slot < slots.APP_SLOT:
            child.step(Input.LISTENING)
            child.answer_by = None
            if self._announced:  # a successor: the first ones are told of together
                self._events.event(
                    "child-listening", child=child.name, pid=child.pid, generation=child.generation
                )
            self._announce()
        elif message.kind is Kind.STAPLE and child is self._keeper:
            self._staple(message)
        elif message.kind is Kind.HEALTH and child is self._keeper:
            merge(self._snapshot.health, message)
            self._send_workers(encode_frame(Kind.HEALTH, message.value))
        elif message.kind is Kind.STAPLES_TRIED and child is self._keeper:
            self._staples_tried = True
            self._open_if_tried()
        elif message.kind is Kind.QLOG and child is self._keeper:
            self._switch_qlog(message.item("on") is True)
        elif message.kind in (Kind.PURGE, Kind.EXPLAIN) and child is self._keeper:
            self._send_workers(self._purges.take(message))
        elif message.kind in (Kind.PURGED, Kind.EXPLAINED) and 0 <= child.slot < slots.APP_SLOT:
            self._send(self._keeper, self._purges.answered(child.slot, message))
            return
        else:
            raise ChannelError(f"{child.name} may not send {message.kind.name}")
        self._status_due = True

    def _staple(self, message: Message) -> None:
        """Keep and pass on what the keeper sent; its value is not looked into."""
        name, fingerprint = message.text("name"), message.text("fingerprint")
        if self._fingerprints.get(name) != fingerprint:
            return  # the certificate was replaced while its staple was on the way
        self._snapshot.staples[name] = message.value
        self._send_workers(encode_frame(Kind.STAPLE, message.value))

    def _switch_qlog(self, is_on: bool) -> None:
        self._qlog = is_on
        self._events.event("qlog-switched", on=is_on)
        self._send_workers(encode_frame(Kind.QLOG, {"on": is_on}))

    def _send(self, child: Child, frame: bytes) -> None:
        if child.channel is None:
            return
        try:
            child.channel.send(frame)
        except ChannelError as exc:
            self._distrust(child, exc)
            return
        self._poll(child, child.channel)

    def _send_workers(self, frame: bytes) -> None:
        for worker in self._workers:
            self._send(worker, frame)

    def _send_all(self, frame: bytes) -> None:
        for child in self._children:
            self._send(child, frame)

    def _poll(self, child: Child, channel: Channel) -> None:
        """Wait for writability exactly while something is unsent."""
        if channel.fileno() in self._selector.get_map():
            writing = selectors.EVENT_WRITE if channel.unsent else 0
            self._selector.modify(channel.fileno(), selectors.EVENT_READ | writing, child)

    def _send_snapshot(self, child: Child) -> None:
        snapshot = self._snapshot.without_keys() if child is self._keeper else self._snapshot
        self._send(child, encode_frame(Kind.SNAPSHOT, snapshot.to_json()))

    def _send_status(self) -> None:
        self._status_due = False
        self._send(self._keeper, encode_frame(Kind.STATUS, self._status()))

    def _status(self) -> Json:
        problems: dict[str, Json] = dict(self._problems)
        return {
            "supervisor": self._pid,
            "snapshot": self._snapshot.number,
            "listening": self._may_listen,
            "draining": self._drain_deadline is not None,
            "addresses": [{"listener": a.listener, "address": str(a)} for a in self._addresses],
            "workers": [worker.to_json() for worker in self._workers],
            "keeper": self._keeper.to_json(),
            "apps": [app.to_json() for app in (*self._apps, *self._writers)],
            "certificate_problems": problems,
            "qlog": self._qlog,
        }

    # -- listening, certificates, drain

    def _app_tried(self, app: Child) -> None:
        """An application stands, or its first start has failed: listening need not wait for it any more."""
        self._apps_tried.add(app.name)
        self._open_if_tried()

    def _open_if_tried(self) -> None:
        if self._staples_tried and len(self._apps_tried) == len(self._apps) and self._drain_deadline is None:
            self._open_listeners()

    def _missing(self) -> str:
        """Say what the listeners would have waited for."""
        missing = []
        if not self._staples_tried:
            missing = ["the staples of all must-staple certificates and the first probes that are waited for"]
        missing += [app.name for app in self._apps if app.name not in self._apps_tried]
        return ", ".join(missing)

    def _open_listeners(self) -> None:
        self._listen_deadline = None
        if self._may_listen:
            return
        self._may_listen = True
        for worker in self._workers:
            if worker.state is State.READY:
                self._tell_to_listen(worker)

    def _tell_to_listen(self, worker: Child) -> None:
        worker.answer_by = self._now() + self._settings.answer_timeout
        self._send(worker, encode_frame(Kind.LISTEN))

    def _announce(self) -> None:
        if self._announced or any(worker.state is not State.LISTENING for worker in self._workers):
            return
        self._announced = True
        self._events.event("listening", addresses=[str(address) for address in self._addresses])
        try:
            self._parts.listening(self._addresses, self._snapshot)
        except Exception as exc:
            self._defect("start report", exc)
        self._notify("READY=1", f"STATUS=listening on {len(self._addresses)} addresses")

    def _defect(self, where: str, exc: Exception) -> None:
        error = f"{type(exc).__name__}: {exc}"
        self._events.event("defect", "error", where=f"supervisor: {where}", error=error, next="it goes on")

    def _notify(self, *lines: str) -> None:
        problem = self._parts.notifier.send(*lines)
        if problem:
            self._events.event("notify-failed", "warning", reason=problem, lines=list(lines))

    def _watch(self) -> None:
        keys = self._parts.quic_keys
        rotated = keys is not None and keys.poll()
        certificates: Sequence[Certificate] | None = None
        try:
            certificates = self._parts.certificates.poll()
            self._note_problems()
        except Exception as exc:
            # Nothing on a disk may cost the processes that serve.
            self._defect("certificate files", exc)
        if certificates is None and not rotated:
            return
        self._take_certificates(self._snapshot.certificates if certificates is None else certificates)
        self._send_workers(encode_frame(Kind.SNAPSHOT, self._snapshot.to_json()))
        self._send_snapshot(self._keeper)
        self._status_due = True

    def _note_problems(self) -> None:
        problems = self._parts.certificates.problems()
        if problems != self._problems:
            self._problems = problems
            self._status_due = True

    def _take_certificates(self, certificates: Sequence[Certificate]) -> None:
        """Make the next Snapshot; staples of certificates that are still the same go along."""
        self._fingerprints = {item.name: item.fingerprint for item in certificates}
        staples: dict[str, Json] = {
            name: value
            for name, value in self._snapshot.staples.items()
            if isinstance(value, dict) and value.get("fingerprint") == self._fingerprints.get(name)
        }
        number = self._snapshot.number + 1
        self._snapshot = Snapshot(
            number,
            self._parts.settings,
            tuple(certificates),
            staples,
            self._snapshot.health,
            clients=self._parts.clients(),
            users=self._parts.users(),
            upstreams=self._parts.upstreams(),
            quic=self._parts.quic_keys.keys if self._parts.quic_keys is not None else None,
        )
        self._events.event("snapshot", number=number, certificates=len(certificates))

    def _begin_drain(self, cause: str) -> None:
        now = self._now()
        if self._drain_deadline is not None:
            self._events.event("drain-cut-short", "warning", cause=cause)
            self._drain_deadline = now
            if self._apps_deadline is not None:
                self._apps_deadline = now
            return
        seconds = self._settings.drain_timeout
        self._drain_deadline = now + seconds
        self._listen_deadline = None
        self._events.event("draining", cause=cause, seconds=seconds)
        self._notify("STOPPING=1", f"STATUS=draining for up to {seconds:g} s")
        for child in self._children:
            child.restart_at = child.answer_by = None
        for worker in self._workers:
            if worker.state is not State.DOWN:
                worker.step(Input.DRAIN)
                # A worker ends by itself a little earlier than it is killed: it has log lines to write.
                told = seconds - min(slots.WORKER_GRACE, seconds / 4)
                self._send(worker, encode_frame(Kind.DRAIN, {"seconds": told}))
        self._status_due = True

    def _drain_further(self, now: float) -> None:
        """Workers first, then the applications that they ask; the keeper answers `headgate status` until all are
        gone."""
        left = [worker for worker in self._workers if worker.state is not State.DOWN]
        if left and self._drain_deadline is not None and now >= self._drain_deadline:
            for worker in left:
                self._events.event("drain-killed", "warning", child=worker.name, pid=worker.pid)
                worker.kill()
            self._drain_deadline = now + 1.0
        last = [child for child in (self._keeper, *self._writers) if child.state is not State.DOWN]
        if left or not self._drain_apps(now) or not last:
            return
        if self._keeper_deadline is None:
            self._keeper_deadline = now + slots.KEEPER_GRACE
            for child in last:
                child.step(Input.DRAIN)
                self._send(child, encode_frame(Kind.DRAIN, {"seconds": slots.KEEPER_GRACE}))
        elif now >= self._keeper_deadline:
            self._keeper_deadline = now + 1.0
            for child in last:
                child.kill()

    def _drain_apps(self, now: float) -> bool:
        """Have the applications shut down; tell whether all have."""
        left = [app for app in self._apps if app.state is not State.DOWN]
        if left and self._apps_deadline is None:
            longest = max(plan.spec.stop_timeout for plan in self._settings.apps)
            self._apps_deadline = now + longest + slots.APP_GRACE
            for app in left:
                app.step(Input.DRAIN)
                self._send(app, encode_frame(Kind.DRAIN, {"seconds": longest}))
        elif left and self._apps_deadline is not None and now >= self._apps_deadline:
            for app in left:
                self._events.event("drain-killed", "warning", child=app.name, pid=app.pid)
                app.kill()
            self._apps_deadline = now + 1.0
        return not left
