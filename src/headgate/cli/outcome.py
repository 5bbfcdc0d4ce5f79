"""How a command ends: our own errors become one line on stderr and an exit code."""

import sys
from collections.abc import Callable

from headgate.cli.output import FAILED, NO_GATE, USAGE, complain
from headgate.errors import ConfigError, HeadgateError


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; our own errors are told, whatever else is raised is a defect."""
    try:
        return command()
    except ConfigError as error:
        from headgate.config.problems import ConfigProblems

        # Problems of a file stand alone, FILE:LINE first, as compilers write them and editors read them.
        lines = isinstance(error, ConfigProblems) and all(problem.line for problem in error.problems)
        sys.stderr.write(f"{error}\n" if lines else f"headgate: {error}\n")
        return USAGE
    except HeadgateError as error:
        from headgate.admin.client import NoGateError

        complain(str(error))
        return NO_GATE if isinstance(error, NoGateError) else FAILED
