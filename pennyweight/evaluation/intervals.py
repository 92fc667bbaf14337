"""95 % confidence intervals of a score: Wilson's for a share of right answers, the normal one where only ± is known."""

import math
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The standard normal distribution's 97.5 % quantile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The true value lies in low … high with 95 % confidence."""

    low: float
    high: float


def wilson(successes: int, count: int, z: float = Z95) -> Interval:
    """The interval of a share of `successes` in `count` ≥ 1 trials, inside 0 … 1 and honest near its ends.

        (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    With 20 of 20 right, value ± stderr is 1 ± 0; this gives 0.84 … 1.
    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    """
    p, scale = successes / count, 1 + z * z / count
    middle = (p + z * z / (2 * count)) / scale
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / scale
    # The ends are exactly 0 and 1 there; rounding leaves them 1e-17 off.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == count else middle + half
    return Interval(low=low, high=high)


def normal(value: float, stderr: float, z: float = Z95) -> Interval:
    """value ± z · stderr."""
    return Interval(low=value - z * stderr, high=value + z * stderr)
