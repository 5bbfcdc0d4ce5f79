"""The supervisor: binds, forks, watches, restarts. It never reads a peer's byte.

Synchronous and single-threaded: one selector over the control channels and the signal pipe, and a handful of
deadlines. What it does with children is beside it: `starter` forks them, `children` speaks to them, `current` holds
their Snapshot, `opening` has them listen and `drain` has them end. Order of a start, and why:

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
from typing import Final

from headgate.cache.claims import Claims
from headgate.process import slots
from headgate.process.channel import ChannelError, Json, Kind, Message, encode_frame
from headgate.process.child import Child, Input, State
from headgate.process.children import Children
from headgate.process.current import Current
from headgate.process.directories import RUNTIME_MODE, STATE_MODE, StateLock, make_directory
from headgate.process.drain import Drain
from headgate.process.fork import reap, reap_ended, woken
from headgate.process.opening import Opening, notify
from headgate.process.parts import Parts, SupervisorSettings
from headgate.process.purge_relay import PurgeRelay
from headgate.process.sockets import probe
from headgate.process.starter import Starter
from headgate.process.verdicts import merge
from headgate.server.hand_over import MailRoom

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
SIGNALS: Final = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Supervisor:
    """One gate. `run` is its whole life."""

    def __init__(self, settings: SupervisorSettings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._events = parts.events
        self._now = parts.clock.now
        self._pid = os.getpid()
        self._children = Children(settings, parts.events, self._now)
        self._current = Current(parts)
        self._starter = Starter(settings, parts, self._children, self._pid, self._release)
        self._opening = Opening(settings, parts, self._children, self._starter, self._current)
        self._drain = Drain(settings, self._children, parts.events, self._now)
        self._purges = PurgeRelay(keeps=bool(settings.cache_disk))
        self._qlog = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._lock: StateLock | None = None
        self._next_watch = 0.0
        self._next_watchdog = 0.0

    # -- life

    def run(self) -> int:
        """Start, supervise, drain; return the exit code. Raises `HeadgateError` when the start fails."""
        try:
            self._prepare()
            self._start()
            while not self._drain.over:
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
        self._starter.addresses = probe(settings.addresses, self._events)
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._children.selector.register(self._wake_in, selectors.EVENT_READ, None)
        for number in SIGNALS:
            signal.signal(number, woken)
        signal.set_wakeup_fd(self._wake_out.fileno(), warn_on_full_buffer=False)
        # Objects of the parent are not walked in the children, so that their pages stay shared.
        gc.freeze()
        self._starter.prepare()

    def _start(self) -> None:
        children, starter = self._children, self._starter
        starter.spawn(children.keeper)
        for writer in children.writers:
            starter.spawn(writer)
        for app in children.apps:
            starter.start_app(app)
        if self._settings.asks_peers:
            starter.claims = Claims()
        if any(address.quic != "off" for address in starter.addresses):
            if self._parts.quic_keys is not None:
                self._parts.quic_keys.load()
            starter.mail = MailRoom(len(children.workers)) if len(children.workers) > 1 else None
        self._current.load()
        children.send(children.keeper, self._current.frame(keys=False))
        now = self._now()
        self._opening.deadline = now + self._settings.startup_wait
        self._next_watch = now + self._settings.watch_interval
        starter.tickets = self._parts.make_tickets()
        gc.freeze()
        for worker in children.workers:
            self._start_worker(worker, first=True)
        gc.enable()  # the command line may have turned it off for the start

    def _start_worker(self, worker: Child, *, first: bool = False) -> None:
        """Start a worker and tell it all that it missed. What cannot be bound for the first start is raised."""
        if not self._starter.start_worker(worker, first=first):
            return
        self._children.send(worker, self._current.frame(keys=True))
        if self._qlog:
            self._children.send(worker, encode_frame(Kind.QLOG, {"on": True}))
        for frame in self._purges.frames():
            self._children.send(worker, frame)

    def _end(self) -> None:
        """Leave nothing behind, whatever happened: children of a start that failed are ended at once."""
        # What comes now comes too late. The interpreter takes handlers away before it is gone itself, and by its
        # default each of these would kill it: status -15 of an orderly end. What is ignored stays so.
        for number in (*ENDING, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        for child in self._children.all:
            if child.pid and not self._opening.announced:
                child.kill()
                reap(child.pid)
        self._children.close_channels()  # after a failure of our own: end of file makes them drain
        self._starter.close()
        self._children.selector.close()
        self._release()

    def _release(self) -> None:
        """Close what is the supervisor's alone; a child does so too."""
        if self._lock is not None:
            self._lock.close()
        self._wake_in.close()
        self._wake_out.close()

    # -- one turn of the loop

    def _turn(self) -> None:
        if self._children.status_due:
            self._send_status()
        timeout = max(0.0, self._next_deadline() - self._now())
        for key, mask in self._children.selector.select(timeout):
            if key.data is None:
                self._read_signals()
            else:
                self._serve(key.data, mask)
        self._on_deadlines()

    def _next_deadline(self) -> float:
        waited = [self._opening.deadline, self._drain.deadline]
        for child in self._children.all:
            waited += (child.restart_at, child.kill_at, child.answer_by)
        if self._parts.notifier.interval:
            waited.append(self._next_watchdog)
        if not self._drain.begun:
            waited.append(self._next_watch)
        return min(deadline for deadline in waited if deadline is not None)

    def _on_deadlines(self) -> None:
        now = self._now()
        if self._parts.notifier.interval and now >= self._next_watchdog:
            self._next_watchdog = now + self._parts.notifier.interval
            self._parts.notifier.send("WATCHDOG=1")
        for child in self._children.all:
            if child.kill_at is not None and now >= child.kill_at:
                child.kill_at = None
                child.kill()
        if self._drain.begun:
            self._drain.go_on(now)
            return
        for child in (*self._children.workers, *self._children.apps):
            if child.answer_by is not None and now >= child.answer_by:
                self._give_up(child)
        self._opening.on_deadline(now)
        self._restart(now)
        if now >= self._next_watch:
            self._watch()
            # Ten thousand files take a while to look at: never more than a twentieth of the time.
            spent = self._now() - now
            self._next_watch = self._now() + max(self._settings.watch_interval, 20 * spent)

    def _restart(self, now: float) -> None:
        """Start successors of children whose time has come."""
        children, starter = self._children, self._starter
        for worker in children.workers:
            if worker.restart_at is not None and now >= worker.restart_at:
                self._start_worker(worker)
        for app in children.apps:
            if app.restart_at is not None and now >= app.restart_at:
                starter.start_app(app)
        for writer in children.writers:
            if writer.restart_at is not None and now >= writer.restart_at:
                starter.spawn(writer)
        if children.keeper.restart_at is not None and now >= children.keeper.restart_at:
            starter.spawn(children.keeper)
            children.send(children.keeper, self._current.frame(keys=False))

    def _watch(self) -> None:
        is_new, problems_changed = self._current.watch()
        if is_new:
            self._children.send_workers(self._current.frame(keys=True))
            self._children.send(self._children.keeper, self._current.frame(keys=False))
        if is_new or problems_changed:
            self._children.status_due = True

    # -- signals

    def _read_signals(self) -> None:
        try:
            numbers = self._wake_in.recv(4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            if number in ENDING:
                self._end_orderly(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._events.event(
                    "reload-not-built",
                    "warning",
                    reason="reloading the configuration comes in a later release",
                    next="nothing changes; certificate files are taken up without a reload",
                )
            elif number == signal.SIGUSR1:
                self._events.event("logs-reopened")
                self._children.send_all(encode_frame(Kind.REOPEN_LOGS))
            elif number == signal.SIGCHLD:
                self._reap_children()

    def _end_orderly(self, cause: str) -> None:
        if not self._drain.begin(cause):
            return
        self._opening.give_up()
        seconds = self._settings.drain_timeout
        notify(self._parts, "STOPPING=1", f"STATUS=draining for up to {seconds:g} s")

    def _reap_children(self) -> None:
        for pid, status in reap_ended():
            for child in self._children.all:
                if child.pid == pid:
                    self._exited(child, status)
            if self._starter.is_spawner(pid):
                self._spawner_died()

    def _exited(self, child: Child, status: int) -> None:
        pid, lived = child.pid, self._now() - child.started
        self._read_last_words(child)
        self._children.unregister(child)
        planned = child.state is State.DRAINING
        delay = child.exited(status, self._now())
        if child.slot >= slots.APP_SLOT:
            self._opening.app_tried(child)
        self._children.status_due = True
        if self._drain.begun:
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

    def _give_up(self, worker: Child) -> None:
        """End a child that hangs: its slot would serve nobody, and nothing else would say so."""
        worker.answer_by = None
        patience = self._settings.answer_timeout
        if worker.slot >= slots.APP_SLOT:
            patience = self._starter.plan(worker).spec.start_timeout + slots.EXIT_GRACE
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

    # -- messages

    def _serve(self, child: Child, mask: int) -> None:
        channel = child.channel
        if channel is None:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                channel.flush()
                self._children.poll(child, channel)
            if mask & selectors.EVENT_READ:
                for message in channel.receive():
                    self._message(child, message)
        except ChannelError as exc:
            self._children.distrust(child, exc)
        if channel.eof:
            # It is about to exit; a child that only closed its end cannot be led any more.
            self._children.unregister(child)
            child.kill_at = self._now() + slots.EXIT_GRACE

    def _message(self, child: Child, message: Message) -> None:
        if message.kind is Kind.READY:
            starting = child.state is State.STARTING
            child.step(Input.READY)
            child.snapshot = message.integer("snapshot")
            if starting:
                child.answer_by = None
                if child.slot >= slots.APP_SLOT:
                    self._opening.app_tried(child)
                elif child.slot >= 0 and self._opening.may_listen:
                    self._opening.tell_to_listen(child)
        elif message.kind is Kind.LISTENING and 0 <= child.slot < slots.APP_SLOT:
            child.step(Input.LISTENING)
            child.answer_by = None
            self._opening.listens(child)
        elif message.kind is Kind.STAPLE and child is self._children.keeper:
            if self._current.take_staple(message):
                self._children.send_workers(encode_frame(Kind.STAPLE, message.value))
        elif message.kind is Kind.HEALTH and child is self._children.keeper:
            merge(self._current.snapshot.health, message)
            self._children.send_workers(encode_frame(Kind.HEALTH, message.value))
        elif message.kind is Kind.STAPLES_TRIED and child is self._children.keeper:
            self._opening.staples_tried()
        elif message.kind is Kind.QLOG and child is self._children.keeper:
            self._switch_qlog(message.item("on") is True)
        elif message.kind in (Kind.PURGE, Kind.EXPLAIN) and child is self._children.keeper:
            self._children.send_workers(self._purges.take(message))
        elif message.kind in (Kind.PURGED, Kind.EXPLAINED) and 0 <= child.slot < slots.APP_SLOT:
            self._children.send(self._children.keeper, self._purges.answered(child.slot, message))
            return
        else:
            raise ChannelError(f"{child.name} may not send {message.kind.name}")
        self._children.status_due = True

    def _switch_qlog(self, is_on: bool) -> None:
        self._qlog = is_on
        self._events.event("qlog-switched", on=is_on)
        self._children.send_workers(encode_frame(Kind.QLOG, {"on": is_on}))

    def _send_status(self) -> None:
        self._children.status_due = False
        self._children.send(self._children.keeper, encode_frame(Kind.STATUS, self._status()))

    def _status(self) -> Json:
        children, problems = self._children, dict[str, Json](self._current.problems)
        return {
            "supervisor": self._pid,
            "snapshot": self._current.snapshot.number,
            "listening": self._opening.may_listen,
            "draining": self._drain.begun,
            "addresses": [{"listener": a.listener, "address": str(a)} for a in self._starter.addresses],
            "workers": [worker.to_json() for worker in children.workers],
            "keeper": children.keeper.to_json(),
            "apps": [app.to_json() for app in (*children.apps, *children.writers)],
            "certificate_problems": problems,
            "qlog": self._qlog,
        }
