"""How many test rows a decision needs: before anything is spent, from assumptions; after training, from validation."""

from __future__ import annotations

import math

from .special import normal_ppf

POWER = 0.8
ASSUMED = (0.05, 0.10, 0.20)  # shares of rows on which teacher and student differ in being right


def rows_needed(*, discordance: float, drop: float, max_drop: float, alpha: float, design_effect: float = 1.0) -> int | None:
    """Return the rows with which a student of that ``drop`` passes in 80 % of draws; None where the drop is no smaller than allowed.

    The normal approximation to the score test of a paired difference: the critical value stands on the variance at the
    margin, the power on the variance at the expected drop (Tango 1998, section 4; checked by simulation).
    """
    gap = max_drop - drop
    if gap <= 0:
        return None
    discordance = max(discordance, abs(drop), 1e-4)
    at_drop = max(discordance - drop**2, 1e-12)
    at_margin = max(_discordance_at_margin(discordance, drop, max_drop) - max_drop**2, 1e-12)
    n = ((normal_ppf(1 - alpha) * math.sqrt(at_margin) + normal_ppf(POWER) * math.sqrt(at_drop)) / gap) ** 2
    return math.ceil(n * design_effect)


def _discordance_at_margin(discordance: float, drop: float, max_drop: float) -> float:
    """Return the discordance that the score test believes in when it is told that the drop is ``max_drop``: Tango's constrained estimate."""
    worse, better = (discordance + drop) / 2, (discordance - drop) / 2
    b = -worse - better + (2 - worse + better) * max_drop
    c = -better * max_drop * (1 - max_drop)
    q = (math.sqrt(max(0.0, b * b - 8 * c)) - b) / 4
    return 2 * q + max_drop


def rows_needed_assumed(max_drop: float, alpha: float) -> dict[str, int | None]:
    """Return the rows needed at a drop of 0 for assumed discordances of 5, 10 and 20 %."""
    return {f"{share:.0%}": rows_needed(discordance=share, drop=0.0, max_drop=max_drop, alpha=alpha) for share in ASSUMED}
