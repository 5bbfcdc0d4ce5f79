"""Rivals that are here for their caches: Traffic Server and Varnish, each as it comes from Debian, with one thread.

What neither writes is an access log; Varnish writes its log into shared memory all the same, for that is how it is
built. Both take the plain port alone.
"""

import shutil
from pathlib import Path
from typing import Final

from bench.proxies import Job, Rival, accepts

_CACHE: Final = frozenset(("cache",))
# Where Debian has what Traffic Server loads; the rest of its layout is the job's own.
_PROGRAMS: Final = (
    "prefix: /usr",
    "bindir: /usr/bin",
    "sbindir: /usr/sbin",
    "libdir: /usr/lib/trafficserver",
    "libexecdir: /usr/lib/trafficserver/modules",
)
_FOLDERS: Final = ("runtimedir", "logdir", "cachedir", "localstatedir", "datadir")
_ETC: Final = Path("/etc/trafficserver")
# Explicit lifetimes only, as by default; Via is left out, which the others do not write either. A hit "from disk" is
# one that its memory does not hold: nothing above 64 KiB is kept there.
_RECORDS: Final = """
CONFIG proxy.config.http.server_ports STRING {port}
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.http.cache.http INT {cache}
CONFIG proxy.config.http.wait_for_cache INT 1
CONFIG proxy.config.cache.ram_cache.size INT {memory}
CONFIG proxy.config.cache.ram_cache_cutoff INT {cutoff}
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.http.insert_request_via_str INT 0
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.diags.debug.enabled INT 0
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.admin.user_id STRING trafficserver
"""
_CUTOFFS: Final = {"": 4 << 20, "memory": 4 << 20, "disk": 64 << 10}


class TrafficServer(Rival):
    """Traffic Server: one thread, 2 GiB on disk, memory before it."""

    program = "traffic_server"
    stable = _CACHE

    def absent(self) -> str | None:
        if (reason := super().absent()) is not None:
            return reason.replace("traffic_server)", "trafficserver)")
        return None if _ETC.is_dir() else f"no {_ETC}"

    def command(self, job: Job) -> list[str]:
        layout = job.directory / "ats"
        etc = layout / "etc"
        shutil.copytree(_ETC, etc)
        places = [f"{name}: {layout / name}" for name in _FOLDERS]
        runroot = layout / "runroot.yaml"
        runroot.write_text("\n".join([*_PROGRAMS, f"sysconfdir: {etc}", *places]) + "\n")
        kind = job.profile.cache
        (etc / "records.config").write_text(
            _RECORDS.format(
                port=job.port,
                cache=int(bool(kind)),
                memory=job.profile.cache_mib << 20,
                cutoff=_CUTOFFS[kind],
            )
        )
        (etc / "storage.config").write_text(f"{layout}/cachedir 2G\n")
        origin = f"http://127.0.0.1:{job.origin_port}/"
        (etc / "remap.config").write_text(f"map http://127.0.0.1:{job.port}/ {origin}\n")
        for name in _FOLDERS:
            (layout / name).mkdir()
        for path in (layout, *layout.rglob("*")):
            shutil.chown(path, "trafficserver")
        return ["env", f"TS_RUNROOT={runroot}", *self.argv()]

    def is_up(self, job: Job) -> bool:
        return accepts(job.port)


class Varnish(Rival):
    """Varnish: one pool of threads; its rules are the ones that are built in."""

    program = "varnishd"
    stable = _CACHE

    def absent(self) -> str | None:
        if (reason := super().absent()) is not None:
            return reason.replace("varnishd)", "varnish)")
        # Its rules are compiled by the C compiler.
        return (
            None if shutil.which("gcc") or shutil.which("cc") else "varnishd needs a C compiler (Debian: gcc)"
        )

    def command(self, job: Job) -> list[str]:
        rules = job.directory / "rules.vcl"
        passing = "" if job.profile.cache else "sub vcl_recv { return (pass); }\n"
        rules.write_text(
            f'vcl 4.1;\nbackend origin {{ .host = "127.0.0.1"; .port = "{job.origin_port}"; }}\n{passing}'
        )
        store = f"malloc,{job.profile.cache_mib}M"
        if job.profile.cache == "disk":
            store = f"file,{job.directory}/varnish.store,2G"
        options = ("-F", "-j", "none", "-T", "none", "-n", f"{job.directory}/varnish", "-f", str(rules))
        pool = ("-p", "thread_pools=1", "-p", "timeout_idle=60")
        return self.argv(*options, "-a", f"127.0.0.1:{job.port}", "-s", store, *pool)

    def is_up(self, job: Job) -> bool:
        return accepts(job.port)
