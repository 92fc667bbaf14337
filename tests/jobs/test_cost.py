"""What work cost in memory: of this work alone, whatever the process had held before."""

import numpy as np
import pytest

from pennyweight.jobs.cost import MemoryMeter, peak_memory_bytes

MIB = 1 << 20


def test_a_meter_is_blind_to_what_came_and_went_before() -> None:
    earlier = np.ones(96 * MIB, np.uint8)
    assert peak_memory_bytes() > 96 * MIB
    del earlier
    meter = MemoryMeter()
    if not meter._resets:
        pytest.skip("this system keeps no high-water mark that can be set back")
    # More than 32 MiB, or glibc may take it from what earlier tests left in the heap, resident already.
    during = np.ones(64 * MIB, np.uint8)
    del during
    assert 62 * MIB <= meter.more_bytes <= 80 * MIB
