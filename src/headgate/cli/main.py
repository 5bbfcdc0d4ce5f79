"""The entry point: what must be fast is answered here, everything else imports the commands first.

A gate is started by machines far more often than by people, and each time somebody waits for its port: a plain `run`
or `validate` imports nothing of the command line's libraries. The same words with options, or with a mistake in them,
go the long way, and come to the same functions.

Exit codes: 0 fine, also after a drain · 1 failure at run time · 2 usage or configuration · 3 no running gate
answers · 4 `headgate ocsp` found a must-staple certificate without a staple. A user's mistake never ends in a
traceback.
"""

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from headgate.build_info import version_line

        print(version_line())
        sys.exit(0)
    if arguments[:1] == ["run"]:
        # What is imported from here on lives as long as the gate: the collector would walk all of it over and over.
        # The supervisor turns it on again when everything runs.
        gc.disable()
    if is_plain(arguments):
        sys.exit(_run_plain(arguments))
    from headgate.cli.commands import run_commands

    sys.exit(run_commands(arguments))


def is_plain(arguments: Sequence[str]) -> bool:
    """Tell whether this is `run` or `validate` with at most the name of a file, and so needs no parser."""
    return (
        1 <= len(arguments) <= 2
        and arguments[0] in ("run", "validate")
        and not any(argument.startswith("-") or not argument for argument in arguments)
    )


def _run_plain(arguments: Sequence[str]) -> int:
    from pathlib import Path

    from headgate.cli.outcome import exit_code
    from headgate.config.defaults import CONFIG_NAME

    path = Path(arguments[1] if len(arguments) == 2 else CONFIG_NAME)

    def command() -> int:
        if arguments[0] == "run":
            from headgate.cli.running import run_file

            return run_file(path)
        from headgate.cli.validation import validate_file

        return validate_file(path, False)

    return exit_code(command)
