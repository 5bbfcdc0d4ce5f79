"""How children come to life: workers are forked by the supervisor itself, all others by the spawner (see there).

A child closes every copy of what is the supervisor's before anything else (`_forget`): a control socket that is kept
open there would keep another child from reading end of file when the supervisor dies.
"""

import socket
from collections.abc import Callable, Sequence
from typing import final

from headgate.cache.claims import Claims
from headgate.process import slots
from headgate.process.app_plan import AppPlan
from headgate.process.cache_socket import FOLDER, WriterSocket
from headgate.process.channel import Kind, encode_frame, socket_pair
from headgate.process.child import Child
from headgate.process.children import Children
from headgate.process.fork import fork_child, reap
from headgate.process.parts import Parts, SupervisorSettings
from headgate.process.privileges import become
from headgate.process.sockets import BindError, bind_slot, close_all
from headgate.process.spawner import Spawner, SpawnError
from headgate.process.start import AppStart, BoundAddress, CacheWriterStart, KeeperStart, WorkerStart
from headgate.server.hand_over import MailRoom


@final
class Starter:
    """Forks the children of one supervisor, whose process id is `pid`; `release` closes in a child what only the
    supervisor holds.

    `addresses`, `mail`, `claims` and `tickets` are what workers inherit, and are set before the first one.
    """

    def __init__(
        self,
        settings: SupervisorSettings,
        parts: Parts,
        children: Children,
        pid: int,
        release: Callable[[], None],
    ) -> None:
        self.addresses: Sequence[BoundAddress] = settings.addresses
        self.mail: MailRoom | None = None
        self.claims: Claims | None = None
        self.tickets: object = None
        self._settings = settings
        self._parts = parts
        self._children = children
        self._pid = pid
        self._release = release
        self._now = parts.clock.now
        self._writer_socket: WriterSocket | None = None
        self._spawner: Spawner | None = None

    def __repr__(self) -> str:
        return f"<Starter {self._spawner}>"

    # -- life

    def prepare(self) -> None:
        """Fork the spawner; to be called before anything secret is read. Raises `OSError`."""
        if self._children.writers:
            self._writer_socket = WriterSocket(self._settings.runtime_dir, self._settings.account)
        self._spawner = Spawner(self._spawned_life, self._forget)

    def close(self) -> None:
        """End the spawner and close what was kept for children to come."""
        if self._spawner is not None:
            self._spawner.close()
            reap(self._spawner.pid)
        if self.mail is not None:
            self.mail.close()
        if self.claims is not None:
            self.claims.close()
        self._close_writer_socket()

    def is_spawner(self, pid: int) -> bool:
        """Tell whether this process is the spawner."""
        return self._spawner is not None and pid == self._spawner.pid

    # -- workers

    def start_worker(self, worker: Child, *, first: bool = False) -> bool:
        """Bind, fork, close our copies; tell whether it runs. What cannot be bound for the first start is raised."""
        sockets: list[tuple[int, socket.socket]] = []
        try:
            sockets = bind_slot(self.addresses)
            datagrams = bind_slot(self.addresses, "udp")
        except BindError as exc:
            close_all(sockets)
            if first:
                raise
            self._children.start_failed(worker, str(exc))
            return False
        ours, theirs = socket_pair()
        worker.generation += 1
        start = WorkerStart(
            worker.slot,
            worker.generation,
            theirs,
            sockets,
            worker.page,
            tickets=self.tickets,
            datagrams=datagrams,
            mail=self.mail,
            sample=worker.sample,
            health=worker.health,
            workers=len(self._children.workers),
            claims=self.claims,
        )
        try:
            pid = fork_child(worker.name, lambda: self._worker_life(start, ours))
        except OSError as exc:
            ours.close()
            self._children.start_failed(worker, f"fork: {exc.strerror} (errno {exc.errno})")
            return False
        finally:
            theirs.close()
            close_all((*sockets, *datagrams))
        self._children.register(worker, pid, ours)
        worker.answer_by = self._now() + self._settings.answer_timeout
        return True

    def _worker_life(self, start: WorkerStart, parents_end: socket.socket) -> int:
        parents_end.close()
        self._forget()
        self._close_writer_socket()
        become(self._settings.account)
        self._parts.worker_main(start)
        return 0

    # -- all others

    def start_app(self, app: Child) -> None:
        """Have an application's process forked, and tell it what to run."""
        if self.spawn(app):
            plan = self.plan(app)
            app.answer_by = self._now() + plan.spec.start_timeout + slots.EXIT_GRACE
            self._children.send(app, encode_frame(Kind.APPLICATION, plan.to_json()))

    def plan(self, app: Child) -> AppPlan:
        """Return what an application's process runs."""
        return self._settings.apps[app.slot - slots.APP_SLOT]

    def spawn(self, child: Child) -> bool:
        """Have a child forked that must not inherit what we hold; tell whether it was."""
        ours, theirs = socket_pair()
        child.generation += 1
        try:
            assert self._spawner is not None
            pid = self._spawner.fork(theirs, child.slot, child.generation)
        except SpawnError as exc:
            ours.close()
            self._children.start_failed(child, str(exc))
            return False
        finally:
            theirs.close()
        self._children.register(child, pid, ours)
        return True

    def _spawned_life(self, control: socket.socket, slot: int, generation: int) -> int:
        """The whole life of a child that the spawner has forked."""
        if slot == slots.WRITER_SLOT:
            become(self._settings.account)
            return self._write_cache(control, generation)
        self._close_writer_socket()
        if slot != self._children.keeper.slot:
            app = self._children.apps[slot - slots.APP_SLOT]
            become(self._settings.account)
            assert self._parts.app_main is not None
            return self._parts.app_main(AppStart(app.name, generation, control, app.page))
        self._parts.load_keeper()
        become(self._settings.account)
        self._parts.keeper_main(self._keeper_start(control, generation))
        return 0

    def _keeper_start(self, control: socket.socket, generation: int) -> KeeperStart:
        children = self._children
        pages = [worker.page for worker in children.workers]
        samples = [worker.sample for worker in children.workers]
        healths = [worker.health for worker in children.workers]
        apps = {app.name: app.page for app in (*children.apps, *children.writers)}
        return KeeperStart(
            generation, control, children.keeper.page, pages, self._pid, samples, healths, apps
        )

    def _write_cache(self, control: socket.socket, generation: int) -> int:
        settings, door = self._settings, self._writer_socket
        assert self._parts.cache_writer_main is not None
        assert door is not None
        page, root = self._children.writers[0].page, str(settings.state_dir / FOLDER)
        return self._parts.cache_writer_main(
            CacheWriterStart(generation, control, page, door, root, settings.cache_disk)
        )

    def _close_writer_socket(self) -> None:
        if self._writer_socket is not None:
            self._writer_socket.close()

    def _forget(self) -> None:
        """In a child: close every copy of what is the supervisor's, the writer's socket aside."""
        self._children.close_channels()
        if self._spawner is not None:
            self._spawner.close()
        self._children.selector.close()
        self._release()
