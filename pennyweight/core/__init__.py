"""core: errors, units, progress and row-parallel work; imports nothing of ours."""
