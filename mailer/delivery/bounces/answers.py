"""Tell from failed deliveries what only looks like one: answering machines, challenges, complaints, news of a delay."""

import re
from typing import Final

from mailer.delivery.bounces.parts import Opened
from mailer.delivery.bounces.reasons import Reason

_AUTO_SUBJECT: Final = re.compile(
    r"out of (?:the )?office|automatic reply|auto(?:matic)?[- ]?(?:reply|response|respon\w+|antwort)|"
    r"autoreply|vacation|on (?:holiday|leave)|away from (?:my )?(?:mail|office|desk|e-?mail)|absence|abwesen|"
    r"r[ée]ponse automatique|absent|afwezig|автоответ|отпуск|risposta automatica|respuesta autom|"
    r"fuera de (?:la )?oficina|自動(?:返信|応答)|不在",
    re.IGNORECASE,
)
_AUTO_WORDS: Final = re.compile(
    r"i (?:am|will be|'m) (?:currently )?(?:out of|away|on (?:vacation|holiday|leave|travel))|i.ll be (?:back|"
    r"out|away)|je suis (?:absent|en cong|actuellement)|ich bin (?:derzeit|bis|im urlaub|zur zeit)|"
    r"your (?:mail|message|request) has been received|thank you for (?:your|contacting|writing)|"
    r"will (?:get back|respond|reply) to you",
    re.IGNORECASE,
)
_CHALLENGE: Final = re.compile(
    r"confirm (?:your|that you|you are)|verify (?:that )?you(?:r)? (?:are|e-?mail)|human|spam ?arrest|boxbe|"
    r"tmda|challenge|click (?:the|on|here).{0,60}(?:deliver|approve|verify)|authenticate your(?:self|"
    r" e-?mail)|quarantin",
    re.IGNORECASE | re.DOTALL,
)
_DELAY: Final = re.compile(
    r"(?:will|shall) (?:be retried|keep trying|continue (?:to )?(?:try|attempt)|retry|try (?:again )?(?:to|"
    r"for))|do (?:not|n't) need to (?:resend|take|retry)|no action is (?:required|needed)|"
    r"delivery (?:to .{0,60} )?(?:has been|is|was) delayed|has not yet been|not yet been (?:delivered|able)|"
    r"this is a warning message only|warning: (?:could not|message still|delayed)|is (?:still )?being retried|"
    r"delivery status notification \(delay",
    re.IGNORECASE | re.DOTALL,
)
_FAILURE: Final = re.compile(
    r"undeliver|unable to (?:deliver|send)|(?:could|can) ?n[o']t be (?:delivered|sent|completed)|"
    r"delivery (?:\w+ )?fail|failed (?:delivery|recipient|to deliver)|returned (?:mail|to sender)|"
    r"non[- ]?deliver|did n[o']t reach|permanent(?:ly)? (?:\w+ )?(?:error|fail)|fatal error|user unknown|"
    r"unknown user|not (?:been )?deliver(?:ed|able)|delivery (?:report|status|error|problem|has failed|"
    r"notification)|mail (?:system )?error|message (?:was )?rejected|\b55[0-4][ -]|failure notice|bounced|"
    r"delivery (?:to .{0,80} )?(?:was|has been) (?:rejected|refused|aborted)|не (?:может быть|удалось|"
    r"было) достав|non remis|[ée]chec|impossible de|fehlgeschlagen|unzustellbar|配信|送信|配送|"
    r"no (?:se )?(?:ha podido|pudo) entreg",
    re.IGNORECASE,
)
_HARMLESS: Final = ("delayed", "delivered", "relayed", "expanded", "deliverable")
_FINAL: Final = re.compile(r"permanent|giving up|gave up|fatal|could not be delivered for", re.IGNORECASE)
_ANSWERING: Final = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response-from")
_DAEMONS: Final = re.compile(
    r"mailer[-_ ]?daemon|postmaster|mail delivery|mdaemon|maildaemon|mail administrator|delivery system", re.IGNORECASE
)


def not_a_failure(mail: Opened) -> Reason | None:
    """Tell why a mail is no news of a failed delivery; None if it is, or may be, one."""
    if mail.feedback or mail.report_type == "feedback-report":
        return Reason.OTHER if mail.feedback.get("feedback-type", "").lower() == "not-spam" else Reason.COMPLAINT
    actions = [_first_word(group.get("action", "")) for group in mail.report if "final-recipient" in group]
    if actions:
        if not all(one in _HARMLESS for one in actions):
            return None
        return Reason.DELAYED if "delayed" in actions else Reason.DELIVERED
    if "x-hmxmroriginalrecipient" in mail.original:
        # Microsoft's complaints are no reports (RFC 5965), but the mail itself with this field.
        return Reason.COMPLAINT
    if _is_answer(mail):
        return Reason.AUTO_REPLY
    if _DELAY.search(_told(mail)) and not _FINAL.search(mail.prose):
        return Reason.DELAYED
    return None if _looks_failed(mail) else _talk(mail)


def _is_answer(mail: Opened) -> bool:
    """Tell whether a reader's machine answers: by its headers (RFC 3834), or by a subject that only these have."""
    headers = mail.headers
    if "x-failed-recipients" in headers or _from_a_daemon(mail):
        return bool(_AUTO_SUBJECT.search(headers.get("subject", ""))) and not _looks_failed(mail)
    return (
        headers.get("auto-submitted", "").lower().startswith(("auto-replied", "auto-notified"))
        or "auto_reply" in headers.get("precedence", "").lower()
        or any(name in headers for name in _ANSWERING)
        or bool(_AUTO_SUBJECT.search(headers.get("subject", "")))
    )


def _talk(mail: Opened) -> Reason | None:
    """Tell what a mail is that speaks of no failure; None for a few words of a mail server."""
    if _CHALLENGE.search(_told(mail)):
        return Reason.CHALLENGE
    if _AUTO_WORDS.search(mail.prose[:2000]):
        return Reason.AUTO_REPLY
    return None if _from_a_daemon(mail) and (mail.original or mail.prose.strip()) else Reason.OTHER


def _looks_failed(mail: Opened) -> bool:
    says = _FAILURE.search(mail.headers.get("subject", "")) or _FAILURE.search(mail.prose[:6000])
    return bool(says) or "x-failed-recipients" in mail.headers


def _told(mail: Opened) -> str:
    return f"{mail.headers.get('subject', '')}\n{mail.prose[:4000]}"


def _first_word(action: str) -> str:
    return action.split(" ", maxsplit=1)[0].split(";", maxsplit=1)[0].lower()


def _from_a_daemon(mail: Opened) -> bool:
    sender = mail.headers.get("return-path", "-").strip()
    return sender == "<>" or bool(_DAEMONS.search(mail.headers.get("from", "")))
