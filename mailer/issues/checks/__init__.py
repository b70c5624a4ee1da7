"""Checks of a mail before it is sent: the bytes of one copy and a few facts in, findings out.

No database here. `run` only computes (about 30 ms); `reach.ask` alone talks to the network.
"""

from collections.abc import Mapping

from mailer.issues.checks import contrast, headers, markup, reach, wording
from mailer.issues.checks.mail import Facts, Found, Mail, parse
from mailer.issues.findings import Finding, Severity


def run(raw: bytes, facts: Facts, answers: Mapping[str, reach.Answer] | None = None) -> list[Finding]:
    """Check one copy; `answers` are what its links and pictures said (reach.ask), None if they were not asked."""
    mail = parse(raw)
    every: list[Found] = [
        *headers.check(mail, facts),
        *wording.check(mail, facts),
        *markup.check(mail, facts),
        *contrast.check(mail),
        *reach.check(answers or {}, *addresses(mail)),
        *reach.weigh(answers or {}, facts.own_pictures, addresses(mail)[1]),
    ]
    findings = [_judged(one, facts) for one in every]
    return sorted(findings, key=lambda one: one.severity != Severity.BLOCK)


def addresses(mail: Mail) -> tuple[list[str], list[str]]:
    """Return the web addresses of a mail's links and of its pictures."""
    return markup.addresses(mail)


def _judged(one: Found, facts: Facts) -> Finding:
    severity = Severity.BLOCK if one.code in facts.blocking else Severity.ADVISE
    return Finding(code=one.code, severity=severity, where=one.where, values=one.values)
