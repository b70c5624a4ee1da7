"""What somebody typed into a form that could not be taken: it is shown again and never lost."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mailer import i18n

# The fields whose text is worth keeping, as the forms call them.
LABELS: Final = {
    "subject": "Subject",
    "preview_text": "Preview text",
    "introduction": "Introduction",
    "note": "Note for readers",
    "name": "Name",
    "description": "Description",
    "site_url": "The publication’s site",
    "sender_name": "Sender’s name",
    "sender_address": "Sender’s address",
    "reply_to": "Replies go to",
    "publisher": "Publisher",
    "postal_address": "Postal address",
    "signature": "Signature",
    "cron": "Cron expression",
    "timezone": "Time zone",
    "url": "Add a feed",
    "logo_url": "Logo",
    "contact_address": "Contact address",
    "host": "Mail server",
    "username": "User name",
    "include_categories": "Only these categories",
    "exclude_categories": "Never these categories",
    "desk_addresses": "Addresses of the newsroom",
    "at": "Day and time",
    "until": "Until",
    "topic": "Short name",
    **{f"name_{code}": "Name" for code in i18n.LANGUAGES},
    "categories": "Categories of the feed",
    "include": "Words of the title or address",
    "exclude": "Words that keep an article out",
}
_SECRET: Final = ("csrf", "password", "smtp_url")
_MOST_FIELDS: Final = 80
# Only forms of the desk.
_ACTION: Final = re.compile(r"/admin/[\w/.-]{1,200}\Z")
_NAME: Final = re.compile(r"\w{1,40}\Z")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A form to be sent again: where to, and its fields without those that belong to a session."""

    action: str
    fields: Mapping[str, str]

    @property
    def texts(self) -> list[tuple[str, str, str]]:
        """Return what a person typed: name, label and text of each field."""
        return [(name, LABELS[name], text) for name, text in self.fields.items() if name in LABELS and text]

    @property
    def others(self) -> list[tuple[str, str]]:
        """Return the rest: choices, and what the page had put in."""
        shown = {name for name, *_ in self.texts}
        return [(name, value) for name, value in self.fields.items() if name not in shown]

    def packed(self) -> str:
        """Write it as one field of another form; `unpack` reads it."""
        return json.dumps({"action": self.action, "fields": dict(self.fields)})


def of_form(action: str, form: Mapping[str, str]) -> Kept:
    """Keep a form that was sent to the path `action`."""
    return Kept(action=action, fields={name: value for name, value in form.items() if name not in _SECRET})


def unpack(text: str) -> Kept | None:
    """Read a packed form; None for anything that no page of ours wrote."""
    try:
        found = json.loads(text)
        action, fields = found["action"], dict(found["fields"])
    except (ValueError, TypeError, KeyError):
        return None
    is_text = all(isinstance(one, str) for one in (action, *fields, *fields.values()))
    if not is_text or not _ACTION.match(action) or len(fields) > _MOST_FIELDS or not all(map(_NAME.match, fields)):
        return None
    return of_form(action, fields)
