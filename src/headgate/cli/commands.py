"""The commands and their options; what they do is in the modules beside this one, imported when it is
needed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.outcome import exit_code
from headgate.cli.output import FAILED, OK, complain
from headgate.config.defaults import CONFIG_NAME

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An edge proxy whose OCSP staple never fails silently.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
ocsp_app = typer.Typer(
    help="Staples: a table of all certificates, or one of them.", invoke_without_command=True
)
app.add_typer(ocsp_app, name="ocsp")

DEFAULT_CONFIG = Path(CONFIG_NAME)

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", readable=False, help="The configuration file.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Talk to the gate that this file configures.")
]
RuntimeOption = Annotated[
    Path | None,
    typer.Option("--runtime-dir", help="Talk to the gate whose admin socket is in this directory."),
]
NAME_HELP = "A certificate file or the end of its path, a host name that it covers, or its serial number."
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def run_commands(arguments: list[str]) -> int:
    """Run one command line; return the exit code."""
    return exit_code(lambda: _parsed(arguments))


def _parsed(arguments: list[str]) -> int:
    try:
        # Usage errors are printed and turned into exit code 2 by the library; only our own errors come out.
        app(arguments, prog_name="headgate")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else OK if exc.code is None else FAILED
    return OK


def _version(wanted: bool) -> None:
    if wanted:
        from headgate.build_info import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def run(path: ConfigArgument = DEFAULT_CONFIG) -> None:
    """Run a gate in the foreground: SIGTERM drains it, SIGUSR1 opens the logs anew."""
    from headgate.cli.running import run_file

    raise typer.Exit(run_file(path))


@app.command()
def serve(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="The origin, such as http://127.0.0.1:3000.")
    ],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="IP address to listen on, or localhost; may be repeated. [127.0.0.1]"),
    ] = None,
    http_port: Annotated[int, typer.Option(help="Port for http.", min=0, max=65535)] = 8080,
    https_port: Annotated[int, typer.Option(help="Port for https.", min=0, max=65535)] = 8443,
    state_dir: Annotated[Path | None, typer.Option(help="Where the local CA and the state are kept.")] = None,
    runtime_dir: Annotated[Path | None, typer.Option(help="Where the admin socket is.")] = None,
) -> None:
    """A proxy in one line: http and https towards one origin, with a certificate of a local CA."""
    from headgate.cli.serving import serve_origin

    hosts = host or ["127.0.0.1"]
    raise typer.Exit(serve_origin(to, hosts, http_port, https_port, state_dir, runtime_dir))


@app.command()
def demo(
    http_port: Annotated[int, typer.Option(help="Port for http; 0: any.", min=0, max=65535)] = 8080,
    https_port: Annotated[int, typer.Option(help="Port for https; 0: any.", min=0, max=65535)] = 8443,
    metrics_port: Annotated[int, typer.Option(help="Port for metrics; 0: any.", min=0, max=65535)] = 9180,
) -> None:
    """Start a gate to play with: local CA, OCSP responder, origin; Ctrl-C removes everything."""
    from headgate.cli.demo import run_demo

    raise typer.Exit(run_demo(http_port, https_port, metrics_port))


@app.command()
def validate(path: ConfigArgument = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check a configuration and its certificates; nothing is started."""
    from headgate.cli.validation import validate_file

    raise typer.Exit(validate_file(path, as_json))


@app.command()
def status(
    config: ConfigOption = None, runtime_dir: RuntimeOption = None, as_json: JsonOption = False
) -> None:
    """Show what a running gate's processes do."""
    from headgate.cli.talking import find_gate, show_status

    raise typer.Exit(show_status(find_gate(config, runtime_dir), as_json))


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


@app.command()
def qlog(
    switch: Annotated[Switch, typer.Argument(help="Whether QUIC connections are written down.")],
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
) -> None:
    """Write QUIC connections down, one file for each, for tools that read qlog; off after a restart."""
    from headgate.cli.talking import find_gate, switch_qlog

    raise typer.Exit(switch_qlog(find_gate(config, runtime_dir), is_on=switch is Switch.ON))


@app.command()
def cache(
    config: ConfigOption = None, runtime_dir: RuntimeOption = None, as_json: JsonOption = False
) -> None:
    """Show what the cache of each worker holds and does."""
    from headgate.cli.caching import show_cache
    from headgate.cli.talking import find_gate

    raise typer.Exit(show_cache(find_gate(config, runtime_dir), as_json))


@app.command()
def explain(
    url: Annotated[str, typer.Argument(metavar="URL", help="What would be asked for, with scheme and host.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A field of the request, 'Name: value'.")
    ] = None,
    method: Annotated[str, typer.Option(help="The method of the request.")] = "GET",
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a gate would do with a request: route, key, policy, what is stored, and which rule says so. Without a
    running gate the configuration alone is asked."""
    from headgate.cli.explaining import explain_url

    raise typer.Exit(explain_url(config, runtime_dir, url, method, list(header or ()), as_json=as_json))


@app.command()
def purge(
    urls: Annotated[
        list[str] | None, typer.Argument(metavar="URL...", help="URLs, all variants of each.")
    ] = None,
    prefix: Annotated[list[str] | None, typer.Option(help="All URLs that begin so.")] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="All URLs of a host, with or without a port.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="All responses with this Cache-Tag or Surrogate-Key.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All that is stored.")] = False,
    soft: Annotated[
        bool, typer.Option("--soft", help="Keep it, but confirm it before its next use.")
    ] = False,
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Purge stored responses of a running gate, in all workers and on the disk."""
    from headgate.cli.caching import purge_all
    from headgate.cli.talking import find_gate

    named = [("url", item) for item in urls or ()]
    named += [("prefix", item) for item in prefix or ()]
    named += [("host", item) for item in host or ()]
    named += [("tag", item) for item in tag or ()]
    named += [("everything", "true")] if everything else []
    if not named:
        complain("nothing was named: URLs, --prefix, --host, --tag or --everything")
        raise typer.Exit(FAILED)
    raise typer.Exit(purge_all(find_gate(config, runtime_dir), named, is_soft=soft, as_json=as_json))


@app.command()
def reload(config: ConfigOption = None, runtime_dir: RuntimeOption = None) -> None:
    """Not built yet: start the gate again to change its configuration. Certificate files need no reload."""
    complain(
        "reload comes in a later release; until then start the gate again. "
        "Changed certificate files are taken up without a reload."
    )
    raise typer.Exit(FAILED)


@app.command()
def top(config: ConfigOption = None, runtime_dir: RuntimeOption = None) -> None:
    """Not built yet: `headgate status` shows the processes now, the metrics what they do."""
    complain(
        "top comes in a later release; until then see `headgate status` and the metrics ([metrics] address)"
    )
    raise typer.Exit(FAILED)


@ocsp_app.callback()
def ocsp(
    context: typer.Context,
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the staples of a running gate. Exits with 4 when a must-staple certificate has none."""
    context.obj = (config, runtime_dir, as_json)
    if context.invoked_subcommand is None:
        from headgate.cli.staples import show_staples
        from headgate.cli.talking import find_gate

        raise typer.Exit(show_staples(find_gate(config, runtime_dir), as_json))


@ocsp_app.command("show")
def ocsp_show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=NAME_HELP)],
    text: Annotated[bool, typer.Option("--text", help="Print the response itself as text.")] = False,
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything about one certificate's staple."""
    from headgate.cli.staples import show_staple
    from headgate.cli.talking import find_gate

    before = context.obj
    gate = find_gate(config or before[0], runtime_dir or before[1])
    raise typer.Exit(show_staple(gate, name, text=text, as_json=as_json or before[2]))


@ocsp_app.command("refresh")
def ocsp_refresh(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help=f"{NAME_HELP} Absent: all.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0, max=60)] = 30.0,
    config: ConfigOption = None,
    runtime_dir: RuntimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the responders now, and show what came of it."""
    from headgate.cli.staples import refresh_staples
    from headgate.cli.talking import find_gate

    before = context.obj
    gate = find_gate(config or before[0], runtime_dir or before[1])
    raise typer.Exit(refresh_staples(gate, name, wait, as_json or before[2]))
