"""Checkpoints loaded by runtimes that nobody here wrote; `make test-interop`, not part of `make test`."""
