"""Send test: an issue to one's own inbox, with the mail server's answer on the page."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.issues import issues, readings, trials
from mailer.mail import dkim, inlining, rendering
from mailer.models.trials import Trial, TrialVerdict
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}/test", route_class=screens.DeskRoute)

# What each answer of a mail server means, and what to do; the server's own words stand below.
MEANINGS: Final = {
    TrialVerdict.ACCEPTED: "The mail server took it. If it does not arrive, look into the folder for unwanted mail.",
    TrialVerdict.DEFERRED: "The mail server did not want it now. A real issue would be tried again; a test is not.",
    TrialVerdict.REFUSED: "The mail server does not take mail for this address. Check how it is written.",
    TrialVerdict.BLOCKED: "The mail server refuses our mail as such, whoever it is for. Check the sender’s address, SPF, "
    "DKIM and DMARC.",
    TrialVerdict.UNCERTAIN: "The connection broke after the mail was handed over, before the answer came. It may arrive.",
    TrialVerdict.WAITING: "No mail server took it. A real issue would wait and be tried again.",
}


@router.api_route("", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Ask where the test is to go, and show what became of the last ones."""
    return _page(request, desk, issue_id, typed={"addresses": desk.email})


@router.post("")
def send(request: Request, desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Send it, and show what the mail server answered. What can't be used stays in the form."""
    typed = {name: desk.typed(name) for name in ("addresses", "as_reader", "is_as_reader")}
    as_reader = typed["as_reader"] if typed["is_as_reader"] else None
    wanted = [one for one in typed["addresses"].replace(",", " ").replace(";", " ").split() if one]
    errors: dict[str, str] = {}
    told: Sequence[Trial] = ()
    try:
        if typed["is_as_reader"] and not as_reader:
            raise addresses.AddressInvalid("No address.")
        told = trials.send(issue_id, wanted, as_reader=as_reader, by=desk.name, now=desk.now)
    except trials.TrialInvalid:
        errors["addresses"] = "Enter one to five addresses, such as camille@courrier.example"
    except trials.TrialLimitReached:
        errors["addresses"] = "Too many tests left within the hour. Wait a while, then try again."
    except (addresses.AddressInvalid, subscriptions.SubscriptionNotFound):
        errors["as_reader"] = "This address is no reader of the newsletter."
    except readings.NothingForReader:
        errors["as_reader"] = "Nothing of this issue is left that this reader wants and has not had."
    except (rendering.TemplateInvalid, inlining.InliningFailed, dkim.KeyInvalid) as error:
        return _page(request, desk, issue_id, typed=typed, problem=str(error))
    return _page(request, desk, issue_id, typed=typed, errors=errors, told=told)


def _page(
    request: Request,
    desk: session.Desk,
    issue_id: int,
    *,
    typed: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    told: Sequence[Trial] = (),
    problem: str | None = None,
) -> Response:
    with transaction() as database:
        issue = issues.get(database, issue_id)
        if issue.state not in issues.EDITABLE_STATES:
            raise issues.IssueStateForbids(f"Issue {issue.id} is {issue.state}; its mails have left.")
        new = {one.id for one in told}
        earlier = [one for one in trials.latest(database, issue_id) if one.id not in new]
    return screens.render(
        request,
        desk,
        "test",
        here="issues",
        status=422 if errors or problem else 200,
        issue=issue,
        newsletter=issue.newsletter,
        typed={"addresses": "", "as_reader": "", "is_as_reader": "", **typed},
        errors=errors or {},
        problem=problem,
        told=told,
        earlier=earlier,
        meanings=MEANINGS,
    )
