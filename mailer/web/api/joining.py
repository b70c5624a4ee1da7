"""Adding a reader: by the same way, and within the same limits, as the sign-up form. Nobody is ever added unasked."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import Response

from mailer import addresses, i18n, queue
from mailer.articles import topics
from mailer.audience import abuse, signups
from mailer.audience.abuse import Verdict
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.models.choices import Rhythm
from mailer.models.tokens import Scope
from mailer.web.api import access, acting
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Shape, Slug
from mailer.web.problems import Problem

router = APIRouter(prefix="/newsletters/{slug}", route_class=ApiRoute, tags=["Subscribers"])

# In the consent log, as the form’s version is: this way has no wording of ours.
FORM_VERSION = "api"


class NewSubscriber(Body):
    """Who wants the newsletter, and how. Only the link in the mail that they get confirms it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"address": "lea@example.org", "language": "fr", "source": "app"}]}
    )

    address: Annotated[str, Field(min_length=3, max_length=320)]
    language: Annotated[str, Field(max_length=10)] | None = None
    topics: list[Annotated[str, Field(max_length=63)]] = Field(default_factory=list, max_length=50)
    rhythm: Rhythm = Rhythm.EACH
    source: Annotated[str, Field(pattern=r"^[\w.:/-]{1,100}$")] | None = None


class Asked(Shape):
    """The same whether the address is new, known, or must not be mailed."""

    status: Literal["check_inbox"]


@router.post("/subscribers", status_code=202, response_model=Asked, **access.needs(Scope.SUBSCRIBERS))
def add_subscriber(call: access.Current, slug: Slug, wanted: NewSubscriber) -> Response:
    """Have somebody asked by mail to confirm. The answer never tells whether the address is known."""
    acting.look_back(call)
    with transaction() as session:
        newsletter = call.newsletter(session, slug)
        known = {one.slug for one in topics.of(session, newsletter.id)}
    asked = signups.Asked(
        address=addresses.normalise(wanted.address),
        language=wanted.language or newsletter.language,
        topics=tuple(sorted(set(wanted.topics))),
        rhythm=wanted.rhythm,
    )
    _check(asked, known)
    verdict = abuse.weigh(asked.address, call.network, now=call.now)
    if verdict == Verdict.NETWORK:
        raise Problem("too_many_requests", headers={"Retry-After": str(int(abuse.NETWORK_WINDOW.total_seconds()))})
    with acting.change(call) as session:
        if verdict == Verdict.TAKEN:
            origin = Origin(source=wanted.source or call.by, form_version=FORM_VERSION, network=call.network)
            request_id = signups.request(session, newsletter.id, asked, origin=origin, now=call.now)
        else:
            request_id = None
        answer = acting.answer(call, Asked(status="check_inbox"), status=202)
    if request_id is not None:
        acting.ring(queue.HANDLE_SIGNUP, request_id)
    return answer


def _check(asked: signups.Asked, known: set[str]) -> None:
    unknown = sorted(set(asked.topics) - known)
    errors = [{"field": "body.topics", "message": f"The newsletter has no topic “{one}”."} for one in unknown]
    if asked.language not in i18n.LANGUAGES:
        errors.append({"field": "body.language", "message": f"One of {', '.join(i18n.LANGUAGES)}."})
    if errors:
        raise Problem("invalid", errors=errors)
