"""Tests are imported by path, so their shared module `toml_texts` needs this folder on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
