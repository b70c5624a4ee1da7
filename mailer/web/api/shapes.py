"""What comes in and goes out: strict on the way in, the same names everywhere, moments in UTC."""

from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path
from pydantic import BaseModel, ConfigDict, model_validator

T = TypeVar("T")

Slug = Annotated[
    str, Path(pattern=r"^[a-z0-9-]{1,63}$", description="The newsletter’s short name.", examples=["hebdo"])
]
Id = Annotated[int, Path(ge=1, lt=2**63, examples=[129])]


class Shape(BaseModel):
    """What an answer holds."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, json_schema_serialization_defaults_required=True)


class Body(BaseModel):
    """What a request may hold; a field that is not there is refused, so that nobody sets what is not theirs to set."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, given: Any) -> Any:
        _refuse_no_text(given)
        return given


class Page(Shape, Generic[T]):
    """Part of a list. `next` is the cursor of the next part, null at the end; the Link header has its address."""

    data: list[T]
    next: str | None


class Listed(Shape, Generic[T]):
    """A whole list."""

    data: list[T]


def _refuse_no_text(value: Any) -> None:
    """Refuse what no database and no mail can hold: NUL, and halves of characters. Raises ValueError."""
    if isinstance(value, str):
        if "\0" in value or (not value.isprintable() and any(0xD800 <= ord(one) <= 0xDFFF for one in value)):
            raise ValueError("NUL and unpaired surrogates are not text.")
    elif isinstance(value, dict):
        for name, one in value.items():
            _refuse_no_text(name)
            _refuse_no_text(one)
    elif isinstance(value, list):
        for one in value:
            _refuse_no_text(one)
