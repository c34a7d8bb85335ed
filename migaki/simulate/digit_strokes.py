"""Skeletons of handwritten digits: for each class several hands, as strokes of the pen.

A stroke is written as its points in order, `x,y` in hundredths of the digit's box (x right, y down). A smooth curve
runs through them; `!` after a point makes a corner there. Strokes that share a point are still drawn separately, as if
the hand lifted the pen. The weight is the frequency of a hand relative to the others of its class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HANDS: dict[int, list[tuple[float, list[str]]]] = {
    0: [
        (3, ["50,0 20,14 3,50 18,88 50,100 82,86 97,50 82,12 50,0"]),
        (2, ["78,10 46,0 14,20 2,55 20,92 52,100 86,82 98,45 85,12 60,1 38,8"]),  # ends overlap
        (1, ["38,6 12,25 3,60 25,97 65,98 95,65 92,25 66,4 52,10"]),  # not quite closed
        (0.15, ["50,0 18,14 3,50 18,88 50,100 82,86 97,50 82,12 50,0", "90,2 50,50 10,98"]),  # slashed
    ],
    1: [
        (3, ["50,0 50,50 50,100"]),
        (1.5, ["54,0 52,50 45,100"]),
        (2, ["28,24! 54,0! 53,50 52,100"]),  # short upstroke
        (1.2, ["6,40! 58,0! 57,50 56,100"]),  # long upstroke
        (1, ["30,20! 52,0! 52,50 52,99", "18,100 50,99 84,100"]),  # upstroke and base
        (1, ["18,18! 50,0! 50,50 50,98", "16,98 60,98 118,99"]),  # base drawn out to the right
        (0.5, ["50,0 50,50 50,99", "20,100 50,99 80,100"]),  # base alone
        (0.4, ["30,8! 50,0! 50,50 50,100! 66,92"]),
    ],
    2: [
        (3, ["5,25 20,5 50,0 82,10 88,32 62,62 5,99! 50,98 100,98"]),
        (2, ["8,22 30,2 65,2 85,22 72,55 38,86 14,97 6,86 24,78 55,92 100,99"]),  # looped foot
        (1.5, ["4,20 38,0 80,12 78,44 42,76 3,100! 38,90 68,100 98,88"]),  # wavy foot
        (1, ["5,8! 50,2 90,10! 52,55 5,98! 50,97 96,98"]),  # angular
        (0.7, ["15,38 10,15 45,0 88,18 82,48 45,80 8,100! 60,98 98,92"]),  # hooked start
    ],
    3: [
        (3, ["8,12 40,0 80,8 86,28 68,43 34,48! 75,54 95,75 75,97 40,100 5,88"]),
        (1, ["10,3! 50,3 86,3! 42,42! 80,50 93,74 70,98 35,100 5,90"]),  # flat top
        (1.5, ["8,12 45,0 86,15 74,41 46,50 36,45 48,42 82,55 95,78 65,100 5,90"]),  # small loop in the middle
        (2, ["10,16 45,0 84,18 58,46! 95,70 56,100 5,86"]),
        (1, ["5,6 50,0 88,16 76,40 52,48! 80,58 84,82 48,100 4,97"]),
    ],
    4: [
        (2, ["20,0 12,30 5,58! 50,59 100,56", "76,4 73,50 70,100"]),  # open
        (2, ["68,0 35,38 2,68! 50,69 100,68", "70,2 70,50 70,100"]),  # closed
        (1.5, ["14,4 8,40 26,58 62,55 86,38", "90,0 82,50 72,100"]),  # rounded, open
        (1.5, ["56,0 32,32 4,62! 50,62 98,61", "66,34 63,66 60,100"]),  # short upright across the bar
        (1.2, ["52,0 24,34 4,60! 50,64 98,58", "88,22 72,60 50,100"]),  # slanting upright, begun low
        (1, ["72,100! 72,50 72,0! 38,35 2,68! 50,70 100,70"]),  # in one go
        (0.7, ["20,6 14,36 22,52 60,54 84,42! 86,0! 80,50 74,100"]),
    ],
    5: [
        (2.5, ["86,2! 50,2 20,2! 15,42! 50,36 88,50 92,75 60,100 5,92"]),
        (2, ["22,4 15,45! 55,38 92,60 80,95 40,100 5,88", "22,3 60,2 96,0"]),  # hat drawn last
        (1.2, ["28,4 18,40! 52,38 74,58 70,84 44,100 12,94", "26,4 66,3 112,0"]),  # long hat, small belly
        (1.5, ["92,4 45,1 18,20 30,42 75,55 88,80 50,100 5,90"]),  # like an S
        (1, ["90,0! 30,4! 22,38! 62,40 84,60 72,90 10,100"]),
    ],
    6: [
        (3, ["75,0 35,25 8,60 15,92 50,100 88,85 85,62 50,52 12,70"]),
        (2, ["60,0 25,30 5,70 30,100 70,98 90,75 65,55 30,62 10,80"]),
        (1.5, ["40,0 14,40 6,75 30,100 72,96 92,74 65,56 12,70"]),  # upright stem
        (0.8, ["84,10 55,0 22,24 5,62 18,95 55,100 88,82 78,58 42,54 10,74"]),  # hooked top
        (0.6, ["30,0 16,45 14,80 42,100 80,92 78,66 50,62 24,84"]),
    ],
    7: [
        (2.5, ["3,5! 50,4 95,3! 62,50 42,100"]),
        (1.5, ["3,5! 50,4 95,3! 62,50 42,100", "24,52 55,50 88,48"]),  # barred
        (1, ["5,22! 8,4! 50,4 95,3! 56,50 40,100"]),  # serif
        (0.7, ["5,22! 8,4! 50,4 95,3! 60,50 45,100", "26,50 58,50 90,49"]),
        (1, ["8,14 26,2 52,8 82,2! 56,52 40,100", "14,54 56,52 104,48"]),  # wavy top, long bar
        (1, ["3,14 28,4 60,11 95,2! 66,45 50,100"]),  # wavy top
        (0.7, ["8,6! 60,2 88,8 86,24 66,60 54,100"]),  # rounded shoulder
    ],
    8: [
        (3, ["82,12 50,0 18,15 25,38 60,52 92,75 66,100 26,98 6,78 36,52 75,35 86,15 60,0"]),
        (1.5, ["50,0 22,8 18,30 50,47 82,30 78,8 50,0", "50,47 16,60 10,84 50,100 90,84 84,60 50,47"]),  # two rings
        (1.5, ["90,5 50,2 16,20 40,45 88,72 52,100 8,76 45,48 86,16 93,4"]),  # open at the top
        (1, ["60,46 25,32 24,8 56,0 84,14 70,38 24,62 10,86 44,100 86,90 84,64 56,44"]),  # begun in the middle
    ],
    9: [
        (2.5, ["86,12 50,0 12,15 10,40 45,52 82,35 89,8! 86,55 80,100"]),  # straight tail
        (2, ["85,15 50,0 10,18 15,45 55,50 85,25 89,12! 93,55 75,92 35,100 10,90"]),  # curved tail
        (1.5, ["80,22 50,2 15,22 30,48 70,42 84,14! 72,55 36,100"]),  # slanting tail
        (1, ["70,6 30,4 8,28 36,50 76,36 84,10 82,4! 80,50 78,100"]),
        (0.8, ["92,6 50,0 14,18 22,46 62,46 90,12! 86,60 64,96 20,100"]),
    ],
}


class Skeletons(NamedTuple):
    """All hands of all classes in flat arrays, so that compiled code can walk them.

    `points` (P, 2) in units of the box; `corner` (P,) is 1 where the curve breaks; stroke s has the points
    `stroke[s]` to `stroke[s + 1]`; hand h has the strokes `hand[h]` to `hand[h + 1]`; class c has the hands
    `digit[c]` to `digit[c + 1]`; `chance` (number of hands,) is cumulated within the class and ends at 1.
    """

    points: npt.NDArray[np.float64]
    corner: npt.NDArray[np.uint8]
    stroke: npt.NDArray[np.int64]
    hand: npt.NDArray[np.int64]
    digit: npt.NDArray[np.int64]
    chance: npt.NDArray[np.float64]


def skeletons() -> Skeletons:
    """Parse `HANDS` into flat arrays."""
    points: list[tuple[float, float]] = []
    corner: list[bool] = []
    stroke, hand, digit, chance = [0], [0], [0], []
    for hands in (HANDS[label] for label in range(10)):
        weights = np.array([weight for weight, _ in hands])
        chance += list(np.cumsum(weights) / weights.sum())
        for _, strokes in hands:
            for place in (place for text in strokes for place in [*text.split(), None]):
                if place is None:
                    stroke.append(len(points))
                    continue
                x, y = place.rstrip("!").split(",")
                points.append((float(x) / 100, float(y) / 100))
                corner.append(place.endswith("!"))
            hand.append(len(stroke) - 1)
        digit.append(len(hand) - 1)
    return Skeletons(np.array(points), np.array(corner, dtype=np.uint8), np.array(stroke), np.array(hand),
                     np.array(digit), np.array(chance))
