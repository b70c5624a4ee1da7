"""What went wrong, for programs: problems (RFC 9457) with a code, a sentence for people, and where it is explained."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from mailer import settings

MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = "/api/"
# By code: the status, a title, and what to do; the reference page shows all of them.
CODES: Final = {
    "malformed": (400, "The request can’t be understood", "Send the request as the reference shows it."),
    "unauthorized": (
        401,
        "No valid token",
        "Send “Authorization: Bearer …” with a token from Settings, Tokens, or from mailer token create. "
        "It may have been revoked or have expired. Tokens in the address are never accepted.",
    ),
    "scope_missing": (403, "The token does not allow this", "Make a token that has the scope of the operation."),
    "token_too_narrow": (
        403,
        "The token is for one newsletter only",
        "This concerns all newsletters; use a token that is for all of them.",
    ),
    "not_found": (404, "There is no such thing", "Check the address. What a token may not see does not exist for it."),
    "method_not_allowed": (405, "Not with this method", "The Allow header names the methods of this address."),
    "request_timeout": (408, "The request took too long to arrive", "Send it again."),
    "state_forbids": (409, "The present state forbids it", "Read the object again and decide anew."),
    "changed_meanwhile": (409, "Somebody changed it meanwhile", "Read it again, and send its latest version along."),
    "nothing_to_send": (409, "There is nothing to send, or nobody to send it to", "Add articles or readers."),
    "approval_missing": (
        409,
        "A second person has to agree first",
        "Ask somebody who may send to approve it at the desk.",
    ),
    "checks_failed": (409, "The checks before sending hold it back", "Mend what “errors” names, or allow these codes."),
    "key_in_use": (409, "The same request is being answered", "Ask again in a moment."),
    "too_large": (413, "The request is too large", "Send less at a time."),
    "media_type": (415, "The body is not JSON", "Send “Content-Type: application/json”."),
    "invalid": (422, "Something in the request can’t be used", "“errors” names each field and what is wrong."),
    "key_reused": (422, "The Idempotency-Key was used for another request", "Choose a new key for each request."),
    "too_many_requests": (429, "Too many requests", "Wait as long as Retry-After says."),
    "internal": (500, "A problem on our side", "Ask again; if it stays, give the operator the incident’s name."),
    "unavailable": (503, "The service is interrupted for a moment", "Ask again in a minute."),
}
_BY_STATUS: Final = {status: code for code, (status, _, _) in reversed(CODES.items())}


class Problem(Exception):
    """The answer is a problem; `code` is one of CODES, `errors` are sentences with the field that each is about."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[Mapping[str, object]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or CODES[code][1])
        self.code, self.detail, self.errors, self.headers = code, detail, errors, headers or {}


def answer(problem: Problem) -> Response:
    """Build the answer of a problem. Talks to nobody."""
    status, title, advice = CODES[problem.code]
    content: dict[str, object] = {
        "type": f"{settings.load().public_url}{PREFIX}v1/docs#problem-{problem.code}",
        "title": title,
        "status": status,
        "detail": problem.detail or advice,
        "code": problem.code,
        "docs": f"{settings.load().public_url}{PREFIX}v1/docs#problem-{problem.code}",
    }
    if problem.errors:
        content["errors"] = list(problem.errors)
    headers = dict(problem.headers)
    if status == 401:
        headers.setdefault("WWW-Authenticate", 'Bearer realm="mailer"')
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def of_status(status: int, *, incident: str | None = None) -> Response:
    """Build the answer for a status of which nothing else is known; `incident` is a name that the operator finds in the log."""
    code = _BY_STATUS.get(status, "malformed" if status < 500 else "internal")
    return answer(Problem(code, f"{CODES[code][2]} Incident {incident}." if incident else ""))
