"""The entry point: what must be fast is answered here, everything else imports the commands first.

Exit codes: 0 fine, also after a drain · 1 failure at run time · 2 usage or configuration · 3 no running gate
answers · 4 `headgate ocsp` found a must-staple certificate without a staple. A user's mistake never ends in a
traceback.
"""

import sys
from typing import NoReturn

from headgate.build_info import version_line


def main() -> NoReturn:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(version_line())
        sys.exit(0)
    from headgate.cli.commands import run_commands

    sys.exit(run_commands(arguments))
