"""What the newsroom knows of a reader besides the address: a name, and texts by name, for merge fields."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from mailer.mail import merge
from mailer.models.audience import Subscriber

MOST: Final = 30
_BUILT_IN: Final = frozenset({merge.NAME, merge.PREFERENCES_LINK})


class AttributeInvalid(ValueError):
    """An attribute's name or value can't be kept; the message says why."""


def change(session: Session, subscriber: Subscriber, values: Mapping[str, str]) -> None:
    """Set a reader's `name` and other attributes; an empty value removes one. Raises AttributeInvalid, changing nothing."""
    kept = dict(subscriber.attributes)
    for name, value in values.items():
        if not merge.FIELD_NAME.match(name) or name == merge.PREFERENCES_LINK:
            raise AttributeInvalid(
                f"“{name[:40]}” can't be an attribute: small letters, digits and _, a letter first, at most 40, not ours."
            )
        if name != merge.NAME:
            kept[name] = merge.clean(value)
    kept = {name: value for name, value in kept.items() if value}
    if len(kept) > MOST:
        raise AttributeInvalid(f"A reader has at most {MOST} attributes.")
    if merge.NAME in values:
        subscriber.name = merge.clean(values[merge.NAME]) or None
    subscriber.attributes = kept
    session.flush()


def unknown(session: Session, names: Collection[str]) -> list[str]:
    """Return those of a text's fields that no reader has a value for, and that are none of ours."""
    return [
        name
        for name in sorted(set(names) - _BUILT_IN)
        if not session.execute(select(exists().where(Subscriber.attributes.op("?")(name)))).scalar_one()
    ]


def in_use(session: Session) -> list[str]:
    """List the fields that texts may use: ours, and the attributes that readers have. Reads all readers."""
    keys = select(func.jsonb_object_keys(Subscriber.attributes)).distinct()
    return [*sorted(_BUILT_IN), *sorted(session.execute(keys).scalars())]
