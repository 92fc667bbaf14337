"""Nothing here is collected unless `make test-interop` asks for it: each loader has an environment of its own."""

import os

ASKED = "PENNYWEIGHT_INTEROP"
"""The directory that holds `.venv-interop-…`; unset in `make test`."""

collect_ignore_glob = [] if os.environ.get(ASKED) else ["test_*.py"]
