"""Motion parameters of one person beside the truth, whatever files they came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Parts = Mapping[str, Float[np.ndarray, "time _"]]  # exp, jaw and pose (head), radians and raw coefficients


@dataclass(frozen=True)
class ComparedMotion:
    """One person of one dialogue, everything cut to the same frames."""

    name: str  # of the person in the dialogue; diversity is drawn by it
    dialogue: str
    prediction: Parts
    truth: Parts
    partner: Parts | None  # the other person's true motion
    speaking: Bool[np.ndarray, "time"] | None = None  # this person
    keep: Bool[np.ndarray, "time"] | None = None  # where the truth is to be believed; None = everywhere
    partner_keep: Bool[np.ndarray, "time"] | None = None  # and the partner's

    @property
    def trusted(self) -> Bool[np.ndarray, "time"]:
        return np.ones(len(self.truth["jaw"]), dtype=bool) if self.keep is None else self.keep

    @property
    def both_trusted(self) -> Bool[np.ndarray, "time"]:
        return self.trusted if self.partner_keep is None else self.trusted & self.partner_keep


def frames_of(clips: Iterable[ComparedMotion]) -> dict[str, int]:
    """By name."""
    return {one.name: len(one.truth["jaw"]) for one in clips}
