"""What each PauseReason means and what to do about it: the English sentences, which the catalogues translate.

The words that go with a reason (a server's own, or who paused it) are the issue's `state_reason`.
"""

from dataclasses import dataclass
from typing import Final

from mailer.models.content import PauseReason


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Two sentences for people: what happened, and what they can do."""

    happened: str
    remedy: str


def explain(code: PauseReason | None, words: str | None) -> tuple[str, ...]:
    """Return in English what happened, what to do about it and the words that go with it, as far as they are known."""
    known = EXPLANATIONS.get(code) if code is not None else None
    return tuple(one for one in (known and known.happened, known and known.remedy, words) if one)


EXPLANATIONS: Final = {
    PauseReason.BY_HAND: Explanation(
        happened="Somebody paused it.",
        remedy="Resume it when it may go on; it continues exactly where it stopped.",
    ),
    PauseReason.TOO_MANY_REFUSED: Explanation(
        happened="The mail server refuses too many readers one after the other.",
        remedy="Read the refusals among the deliveries. If they speak of the addresses, look into where these readers "
        "come from; if they speak of us, of spam or of a list, ask the server’s operator. Resume when the cause is mended.",
    ),
    PauseReason.SENDER_REFUSED: Explanation(
        happened="The mail server does not accept our sender address.",
        remedy="Have its operator allow the newsletter’s sender address for our login, then resume. A new sender "
        "address counts from the next issue on: this one keeps the old one.",
    ),
    PauseReason.LOGIN_REFUSED: Explanation(
        happened="The mail server refuses our user name or password.",
        remedy="Correct them under Settings, or where the environment names the server and then restart the workers; then "
        "resume.",
    ),
    PauseReason.TLS_REFUSED: Explanation(
        happened="The connection to the mail server can’t be encrypted safely.",
        remedy="Check that the server offers TLS on this port, and that its certificate has not expired and bears the "
        "host name that the settings have; then resume.",
    ),
    PauseReason.MESSAGE_TOO_BIG: Explanation(
        happened="The mail is bigger than the mail server takes.",
        remedy="Have its operator raise the limit, then resume; or cancel the rest and draft a shorter issue.",
    ),
    PauseReason.SIGNING_FAILED: Explanation(
        happened="The mail can’t be signed with DKIM, so it was not sent.",
        remedy="Mend the key that is named below, restart the workers, then resume.",
    ),
    PauseReason.BLOCKED: Explanation(
        happened="The mail server refuses our mail as such (5.7.x). No reader was unsubscribed for it.",
        remedy="Check SPF, DKIM and DMARC of the sender’s domain, and the reputation of our address with the server’s "
        "operator. Resume when it is mended; going on before makes it worse.",
    ),
    PauseReason.COMPLAINTS: Explanation(
        happened="Too many readers report this mail as spam.",
        remedy="Find out whether they asked for the newsletter and how they were added. Resume only when you know the "
        "cause: more complaints get all your mail blocked.",
    ),
    PauseReason.LEDGER_MISMATCH: Explanation(
        happened="The ledger does not add up, so the issue is not called sent.",
        remedy="Keep a copy of the database and the workers’ logs and report it with the figures below. To resume only "
        "counts again; nobody is mailed twice.",
    ),
    PauseReason.TEMPLATE_INVALID: Explanation(
        happened="The mail can’t be made from its template; nobody was mailed.",
        remedy="Mend the template at the place named below, make the issue a draft again, look at the preview and send it.",
    ),
    PauseReason.NOTHING_TO_SEND: Explanation(
        happened="There is no article to send, or nobody to send it to.",
        remedy="Make the issue a draft again and add an article, or send it once a reader has confirmed.",
    ),
    PauseReason.CHECKS_FAILED: Explanation(
        happened="The checks before sending found something that readers must not get; nobody was mailed.",
        remedy="Look at the findings on the review page and mend them, or let the issue leave despite them. A scheduled "
        "issue is checked again every ten minutes and leaves by itself when nothing blocks any more.",
    ),
    PauseReason.FEEDS_STALE: Explanation(
        happened="Too many feeds could not be read for long, so the issue may lack articles; nobody was mailed.",
        remedy="Look at the errors of the feeds. It is tried again every ten minutes and leaves when the feeds are read "
        "again; to send it as it is, send it yourself.",
    ),
    PauseReason.NOT_APPROVED: Explanation(
        happened="No second person has agreed to the issue as it is now; nobody was mailed.",
        remedy="Have somebody else who may send agree to it on its review page, then send or schedule it.",
    ),
    PauseReason.SERVER_UNREACHABLE: Explanation(
        happened="The mail server can’t be reached; we keep trying.",
        remedy="There is nothing to do if it comes back: sending goes on by itself. Otherwise check the host and port in "
        "MAILER_SMTP_URL, the network and the firewall.",
    ),
    PauseReason.SERVER_SLOW: Explanation(
        happened="The mail server asks for patience, so we send more slowly.",
        remedy="There is nothing to do: the rate rises again by itself. If this happens with every issue, ask the server’s "
        "operator for its limits and set them for the transport.",
    ),
    PauseReason.QUOTA_REACHED: Explanation(
        happened="The number of mails allowed in an hour or a day is used up.",
        remedy="There is nothing to do: sending goes on when there is room again. To send sooner, raise the limit in the "
        "settings, if the server’s operator allows more.",
    ),
}
