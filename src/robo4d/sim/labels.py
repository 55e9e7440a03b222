"""What the pixels of a label image show."""

import enum


class Label(enum.IntEnum):
    """What a pixel shows. The numbers are stored in episodes and never change."""

    BACKGROUND = 0
    LEFT_HAND = 1
    LEFT_LEFT_FINGER = 2
    LEFT_RIGHT_FINGER = 3
    RIGHT_HAND = 4
    RIGHT_LEFT_FINGER = 5
    RIGHT_RIGHT_FINGER = 6
    OBJECT = 7
    LEFT_ARM = 8
    RIGHT_ARM = 9


GRIPPER_LABELS = {
    "left": (Label.LEFT_HAND, Label.LEFT_LEFT_FINGER, Label.LEFT_RIGHT_FINGER),
    "right": (Label.RIGHT_HAND, Label.RIGHT_LEFT_FINGER, Label.RIGHT_RIGHT_FINGER),
}
"""The rigid parts of each arm's gripper: hand, left and right finger."""
