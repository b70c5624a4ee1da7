"""What each SlotCode says of a slot's issue: the English sentences, which the catalogues translate."""

from collections.abc import Mapping
from typing import Final

from mailer.models.desk import SlotCode

SENTENCES: Final = {
    SlotCode.IN_REVIEW: "in review: drafted ahead, the newsroom is asked",
    SlotCode.APPROVED: "approved by {by}",
    SlotCode.HELD_BY_DESK: "held by {by}",
    SlotCode.DROPPED_BY_DESK: "dropped by {by}; its articles wait for the next issue",
    SlotCode.SILENCE_SENT: "nobody answered until its moment, so it left",
    SlotCode.SILENCE_HELD: "nobody answered until its moment, so it is held",
    SlotCode.PAUSE_HELD: "the newsletter was paused meanwhile, so it is held",
    SlotCode.UNREVIEWED_SENT: "made too late for a review, so it left without one",
    SlotCode.UNREVIEWED_HELD: "made too late for a review, so it is held",
    SlotCode.LATE_SENT: "found {late} late, past the {grace} allowed, and sent all the same",
    SlotCode.LATE_HELD: "found {late} late, past the {grace} allowed, so it is held",
    SlotCode.LATE_MERGED: "found {late} late; the grace is {grace}",
    SlotCode.STALE_SENT: "{stale} of {feeds} feeds could not be read for {hours} h or longer, and it left all the same",
    SlotCode.STALE_HELD: "{stale} of {feeds} feeds could not be read for {hours} h or longer, so it is held",
    SlotCode.NOT_APPROVED: "no second person has agreed to it, so it is held",
}


def say(code: SlotCode, values: Mapping[str, str]) -> str:
    """Return the English sentence with its values."""
    return SENTENCES[code].format_map(values)
