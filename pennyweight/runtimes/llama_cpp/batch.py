"""What one `llama_decode` is given, in arrays that are made once: making them takes longer than a small token."""

from ctypes import POINTER, c_int8, c_int32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.runtimes.llama_cpp.structs import Batch

_INTEGERS = POINTER(c_int32)


class BatchArrays:
    """Room for `size` tokens, where they belong, and whose logits are wanted.

    Attributes:
        tokens, positions, sequences: int32 (size,). outputs: int8 (size,).
    """

    def __init__(self, size: int) -> None:
        self.tokens, self.positions, self.sequences = (np.zeros(size, np.int32) for _ in range(3))
        self.outputs = np.zeros(size, np.int8)
        self._one_each = np.ones(size, np.int32)  # every token belongs to one sequence
        self._owners = (self.sequences.ctypes.data + 4 * np.arange(size)).astype(np.uintp)  # seq_id[i] → sequences[i]
        self._struct = Batch(
            token=self.tokens.ctypes.data_as(_INTEGERS),
            pos=self.positions.ctypes.data_as(_INTEGERS),
            n_seq_id=self._one_each.ctypes.data_as(_INTEGERS),
            seq_id=self._owners.ctypes.data_as(POINTER(_INTEGERS)),
            logits=self.outputs.ctypes.data_as(POINTER(c_int8)),
        )

    def fill(self, tokens: NDArray[np.int32], positions: ArrayLike, sequences: ArrayLike, outputs: ArrayLike) -> Batch:
        """The first `len(tokens)` places filled, from arrays of that length or one value for all; a view of them.

        Raises: ValueError where a length differs.
        """
        count = len(tokens)
        self.tokens[:count], self.positions[:count] = tokens, positions
        self.sequences[:count], self.outputs[:count] = sequences, outputs
        self._struct.n_tokens = count
        return self._struct
