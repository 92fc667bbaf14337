"""Where the measurement store lies, for those who only ask whether there is one."""

import os
from pathlib import Path

VARIABLE = "PENNYWEIGHT_STORE"


def default_path() -> Path:
    """Where the store lies: PENNYWEIGHT_STORE, or `measurements.sqlite` in the user's data directory."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("pennyweight") / "measurements.sqlite"
