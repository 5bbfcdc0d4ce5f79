"""`python -m bench.attack`."""

import sys

from bench.attack.run import main

sys.exit(main(sys.argv[1:]))
