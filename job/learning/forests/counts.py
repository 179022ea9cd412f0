"""What nodes count of the rows drawn into them, the weight of both classes and the distinct rows, as one number.

Filling histograms takes most of a forest's time, so sums of all three are had by one addition a row. They are of whole
numbers, so their order changes no bit.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Counts = npt.NDArray[Any]
"""Numbers of three fields of `BITS`, from the lowest: how often rows of class 0 were drawn, those of class 1, and how
many distinct rows. Windows too large for such fields have them in complex numbers, which sum a tenth slower and are
exact for up to 67 million rows: the first two, `COMPLEX_BITS` apart, in the real part, the last in the imaginary."""

BITS: Final = 21
COMPLEX_BITS: Final = 26
PACKED_ROWS: Final = 2**BITS
"""Windows of fewer rows fit into fields."""


def draw_counts(label: npt.NDArray[Any]) -> Counts:
    """Return what one draw of each row counts, without the row itself."""
    if len(label) < PACKED_ROWS:
        return np.where(label, np.int64(1 << BITS), np.int64(1))
    return np.where(label, 2.0**COMPLEX_BITS, 1.0).astype(np.complex128)


def row_counts(counts: Counts, draws: Ints) -> Counts:
    """Return what rows count that were drawn so often, and count `counts` a draw."""
    one_row = 1j if np.iscomplexobj(counts) else 1 << 2 * BITS
    result: Counts = counts * draws + one_row
    return result


def by_class(sums: Counts) -> tuple[Floats, Floats]:
    """Return the weight of class 0, and that of class 1."""
    if np.iscomplexobj(sums):
        up = np.floor(sums.real / 2.0**COMPLEX_BITS)
        return sums.real - up * 2.0**COMPLEX_BITS, up
    field = (1 << BITS) - 1
    return (sums & field).astype(np.float64), (sums >> BITS & field).astype(np.float64)


def distinct_rows(sums: Counts) -> Ints:
    """Return how many distinct rows were drawn."""
    return sums.imag.astype(np.intp) if np.iscomplexobj(sums) else sums >> 2 * BITS


def has_rows(sums: Counts, rows: int) -> npt.NDArray[np.bool_]:
    """Return where at least so many distinct rows were drawn; the lower fields do not change that."""
    enough: npt.NDArray[np.bool_] = sums.imag >= rows if np.iscomplexobj(sums) else sums >= rows << 2 * BITS
    return enough
