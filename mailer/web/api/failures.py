"""From the domain's exceptions to problems. The one place where they get a code for programs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.exceptions import RequestValidationError

from mailer import addresses
from mailer.articles import polling, topics
from mailer.audience import attributes, readers, subscriptions, wishes
from mailer.delivery import settling
from mailer.feeds.parsed import FeedInvalid
from mailer.issues import approvals, gate, issues, readings, schedules, states, trials
from mailer.issues.markdown import BodyInvalid
from mailer.mail import dkim, inlining, rendering
from mailer.newsroom import answers, newsletters, tokens, webhooks
from mailer.web.problems import Problem

# What the caller can mend by sending something else is invalid; the domain's own sentence says what.
CODES: Final[Mapping[type[Exception], str]] = {
    newsletters.NewsletterNotFound: "not_found",
    newsletters.FeedNotFound: "not_found",
    newsletters.ArticleNotFound: "not_found",
    topics.TopicNotFound: "not_found",
    issues.IssueNotFound: "not_found",
    readers.ReaderNotFound: "not_found",
    subscriptions.SubscriptionNotFound: "not_found",
    tokens.TokenNotFound: "not_found",
    webhooks.WebhookNotFound: "not_found",
    states.IssueStateForbids: "state_forbids",
    subscriptions.SubscriptionGone: "state_forbids",
    settling.BatchInUse: "state_forbids",
    approvals.ApprovalMissing: "approval_missing",
    issues.IssueEmpty: "nothing_to_send",
    readings.NothingForReader: "nothing_to_send",
    trials.TrialLimitReached: "too_many_requests",
    answers.KeyInUse: "key_in_use",
    answers.KeyReused: "key_reused",
    newsletters.NewsletterInvalid: "invalid",
    schedules.ScheduleInvalid: "invalid",
    topics.TopicInvalid: "invalid",
    tokens.TokenInvalid: "invalid",
    webhooks.WebhookInvalid: "invalid",
    wishes.WishInvalid: "invalid",
    attributes.AttributeInvalid: "invalid",
    addresses.AddressInvalid: "invalid",
    issues.IssueTextTooLong: "invalid",
    trials.TrialInvalid: "invalid",
    BodyInvalid: "invalid",
    FeedInvalid: "invalid",
    polling.PushInvalid: "invalid",
    rendering.TemplateInvalid: "invalid",
    inlining.InliningFailed: "invalid",
    dkim.KeyInvalid: "invalid",
}
KNOWN: Final[tuple[type[Exception], ...]] = (Problem, gate.ChecksFailed, RequestValidationError, *CODES)


def problem_of(error: Exception) -> Problem:
    """Return what is answered for one of KNOWN."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, gate.ChecksFailed):
        told = [{"field": one.where, "message": one.words, "code": one.code.value} for one in error.findings]
        return Problem("checks_failed", errors=told)
    code = next(code for kind, code in CODES.items() if isinstance(error, kind))
    headers = {"Retry-After": "600"} if code == "too_many_requests" else {}
    return Problem(code, "" if code == "not_found" else str(error), headers=headers)


def _invalid(errors: Sequence[Any]) -> Problem:
    told = [{"field": _field(one["loc"]), "message": str(one["msg"]).removeprefix("Value error, ")} for one in errors]
    if any(one["loc"][:1] == ("path",) for one in errors):
        return Problem("not_found")
    if any(one["type"] == "json_invalid" for one in errors):
        return Problem("malformed", "The body is not JSON (RFC 8259).", errors=told)
    return Problem("invalid", errors=told[:50])


def _field(place: Sequence[object]) -> str:
    return ".".join(str(one) for one in place)
