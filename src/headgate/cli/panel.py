"""The start-up panel: one line for each listener and each certificate. Only on a terminal; logs get
events."""

import os
import sys
import time
from collections.abc import Sequence

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from headgate.app import PANEL_CERTIFICATES, CertificateLine, StartReport
from headgate.build_info import version_line
from headgate.cli.output import distance
from headgate.cli.tables import console, table


def print_panel(report: StartReport, *hints: str) -> None:
    """Print the panel to stderr; `hints` are lines below it."""
    now = time.time()
    listeners = table("listener", "address", "")
    for line in report.listeners:
        listeners.add_row(line.mode, line.address, line.note)
    parts: list[object] = [listeners]
    if report.certificates:
        shown = report.certificates[:PANEL_CERTIFICATES]
        folder = _common_folder(shown)
        certificates = table("certificate", "names", "valid", "staple")
        for certificate in shown:
            file, *rest = _certificate(certificate, now)
            certificates.add_row(str(file).removeprefix(folder), *rest)
        parts += [Text(), certificates]
        if folder:
            parts.append(Text(f"in {folder}", style="dim"))
        if (more := len(report.certificates) - PANEL_CERTIFICATES) > 0:
            parts.append(Text(f"… and {more} more; `headgate ocsp` lists them"))
    workers = f"{report.workers} worker{'s' if report.workers != 1 else ''}"
    out = console(sys.stderr)
    out.print(Panel(Group(*parts), title=f"{version_line()}, {workers}", title_align="left", expand=False))  # type: ignore[arg-type]  # every part is a renderable
    for hint in hints:
        out.print(hint, soft_wrap=True)


def _common_folder(lines: Sequence[CertificateLine]) -> str:
    """Return the folder, with its slash, that all files are in; "" when there is none, or only one file."""
    folders = {os.path.dirname(line.file) for line in lines}
    folder = folders.pop() if len(folders) == 1 and len(lines) > 1 else ""
    return f"{folder}/" if folder.strip("/") else ""


def _certificate(line: CertificateLine, now: float) -> tuple[str | Text, ...]:
    if line.problem:
        return line.file, "", "", Text(line.problem, style="red")
    names = ", ".join(line.names[:3]) + (f" and {len(line.names) - 3} more" if len(line.names) > 3 else "")
    valid = Text(f"{line.key_type}, ends {distance(line.not_after - now)}")
    if line.not_after <= now:
        valid = Text(f"ended {distance(line.not_after - now)}", style="red")
    if line.staple is not None:
        staple = Text(
            f"{line.staple.status}, {distance(line.staple.next_update - now)}",
            style="green" if line.staple.status == "good" else "red",
        )
    else:
        staple = Text("none, must-staple", style="red") if line.must_staple else Text("none yet")
    return line.file, names, valid, staple
