"""What webhooks are told of and how a call went: the English sentences, which the catalogues translate."""

from typing import Final

from mailer.models.webhooks import CallState, CallTrouble, WebhookEvent, WebhookOff

EVENTS: Final = {
    WebhookEvent.SUBSCRIBER_CONFIRMED: "A reader confirmed, or came back",
    WebhookEvent.SUBSCRIBER_UNSUBSCRIBED: "A reader left",
    WebhookEvent.SUBSCRIBER_BOUNCED: "A reader’s address does not exist any more",
    WebhookEvent.ISSUE_SCHEDULED: "An issue was scheduled",
    WebhookEvent.ISSUE_SENDING: "An issue began to be sent, or went on",
    WebhookEvent.ISSUE_PAUSED: "An issue was paused",
    WebhookEvent.ISSUE_SENT: "An issue was sent",
    WebhookEvent.ISSUE_CANCELLED: "An issue was cancelled",
    WebhookEvent.TEST: "A test",
}
STATES: Final = {
    CallState.WAITING: "Waiting",
    CallState.ANSWERED: "Answered",
    CallState.GIVEN_UP: "Given up",
}
TROUBLES: Final = {
    CallTrouble.STATUS: "It answered {status}.",
    CallTrouble.REDIRECT: "It answered {status} and led elsewhere; webhooks follow no redirects. Enter the address it leads to.",
    CallTrouble.PRIVATE_ADDRESS: "The address is inside a private network (MAILER_WEBHOOK_PRIVATE_NETWORKS allows some).",
    CallTrouble.NAME_UNKNOWN: "The DNS does not know this host.",
    CallTrouble.TIMEOUT: "It did not answer in time.",
    CallTrouble.UNREACHABLE: "No connection could be made, or it broke off.",
    CallTrouble.SWITCHED_OFF: "The webhook was switched off.",
}
OFF: Final = {
    WebhookOff.BY_HAND: "Switched off by hand.",
    WebhookOff.FAILING: "Switched off after five days without any success.",
    WebhookOff.GONE: "Switched off: it answered that it is gone for good (410).",
}
