"""Why a server did not take a mail, by its own words and codes, and what that means for the address.

The words decide before the codes: of the mails that servers call permanently failed (5.x.x) most are about a full mailbox, a
filter or us. A status (RFC 3463) decides where the words say nothing, a reply code (RFC 5321) where there is no status.
"""

import enum
import re
from typing import Final


class Kind(enum.StrEnum):
    """What a returned mail means. hard: the address will never work; ours: it is our sending that was refused."""

    HARD = "hard"
    SOFT = "soft"
    OURS = "ours"
    NOT_A_BOUNCE = "not a bounce"


class Reason(enum.StrEnum):
    """Why a mail came back."""

    USER_UNKNOWN = "user_unknown"
    HOST_UNKNOWN = "host_unknown"
    MOVED = "moved"
    DISABLED = "disabled"
    MAILBOX_FULL = "mailbox_full"
    TOO_BIG = "too_big"
    EXPIRED = "expired"
    NETWORK = "network"
    SYSTEM = "system"
    FILTERED = "filtered"
    BLOCKED = "blocked"
    SPAM = "spam"
    VIRUS = "virus"
    AUTHENTICATION = "authentication"
    POLICY = "policy"
    RELAYING = "relaying"
    TOO_FAST = "too_fast"
    SENDER = "sender"
    UNKNOWN = "unknown"
    # Of what is no bounce.
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"
    CHALLENGE = "challenge"
    OTHER = "other"


KINDS: Final = {
    Reason.USER_UNKNOWN: Kind.HARD,
    Reason.HOST_UNKNOWN: Kind.HARD,
    Reason.MOVED: Kind.HARD,
    Reason.DISABLED: Kind.HARD,
    Reason.MAILBOX_FULL: Kind.SOFT,
    Reason.TOO_BIG: Kind.SOFT,
    Reason.EXPIRED: Kind.SOFT,
    Reason.NETWORK: Kind.SOFT,
    Reason.SYSTEM: Kind.SOFT,
    Reason.FILTERED: Kind.SOFT,
    Reason.UNKNOWN: Kind.SOFT,
    Reason.BLOCKED: Kind.OURS,
    Reason.SPAM: Kind.OURS,
    Reason.VIRUS: Kind.OURS,
    Reason.AUTHENTICATION: Kind.OURS,
    Reason.POLICY: Kind.OURS,
    Reason.RELAYING: Kind.OURS,
    Reason.TOO_FAST: Kind.OURS,
    Reason.SENDER: Kind.OURS,
}

# The first that matches decides: what is said most exactly stands first.
_WORDS: Final = (
    (
        Reason.MAILBOX_FULL,
        r"quota|(?:mail)?box (?:is |was |has been )?(?:too )?full|full mailbox|(?:mail)?box(?: size|"
        r" storage)? (?:limit )?exceeded|exceed\w* (?:\w+ ){0,4}(?:storage|mailbox|allowed space|disk)|"
        r"(?:insufficient|not enough) (?:\w+ ){0,2}(?:storage|(?:disk )?space)|no (?:space left|room|more space)|"
        r"disk (?:is )?full|maildir.{0,20}(?:over|full)|too much (?:mail )?data|over the (?:maximum )?allowed|"
        r"(?:account|inbox|folder|mail ?drop) (?:is |are |has become )?(?:currently )?full|storage (?:limit|space|"
        r"allocation)|out of (?:disk |mail ?box )?(?:space|storage)|bo[iî]te .{0,30}pleine|переполнен|"
        r"превышен.{0,20}(?:квот|разм)|postfach.{0,20}voll|almac.n.{0,20}lleno|casilla.{0,20}llena|"
        r"mailbox.{0,20}excede",
    ),
    (
        Reason.MOVED,
        r"has moved|address (?:has )?changed|new (?:e-?mail )?address|no longer at this address|user not local|"
        r"5\.1\.6\b|relocated|forwarding expired",
    ),
    (
        Reason.DISABLED,
        r"(?:account|mailbox|user|address|recipient|e-?mail|domain|box)\b.{0,40}\b(?:is |was |been |currently |"
        r"temporarily )*(?:disabled|deactivated|inactive|not active|suspended|discontinued|closed|terminated|"
        r"deleted|blocked by (?:the )?admin|cancell?ed|locked|on hold)|(?:disabled|inactive|deactivated|suspended|"
        r"closed|dormant|expired) (?:e-?mail )?(?:account|mailbox|user|recipient|address)|not? longer (?:in use|"
        r"active|available|valid|with|works?|employed|accept\w*|exists?|monitored|maintained|an? )|has left the|"
        r"hasn't been used|account has been idle",
    ),
    (
        Reason.USER_UNKNOWN,
        r"(?:user|recipient|mailbox|address|account|addressee|person|local ?part|name|alias|destination|member|"
        r"individual|id|mail ?drop)s?\b.{0,60}?\b(?:unknown|not (?:be )?(?:found|known|exist\w*|valid|"
        r"recogni[sz]ed|listed|registered|defined|local|a (?:valid|known|local))|does ?n[o']t exist|doesn't exist|"
        r"does not have|is invalid|are invalid|invalid\b|nonexist\w*|non-exist\w*|unavailable|is not a\b|"
        r"not in (?:the|our|my)|not match\w*|not on (?:the|this)|undeliverable|could not be located)|(?:unknown|"
        r"invalid|no such|nonexistent|non-existent|bad|illegal|unrouteable|unroutable|undeliverable|incorrect|"
        r"wrong|unrecogni[sz]ed|no valid|no matching|not a (?:valid|known)|cannot find|can't find|could not find|"
        r"unable to (?:find|locate)|no) (?:\w+ ){0,3}(?:user|recipient|mailbox|e-?mail|address|account|"
        r"local ?part|person|alias|destination mailbox|member|mail ?box|match|matches)\w*|address (?:rejected|"
        r"error)|recipient (?:address )?rejected(?!.*(?:greylist|policy|spam|access denied|block|relay))|"
        r"not our customer|no such person|who are you|does not like recipient|"
        r"delivery to .{0,60} failed because of|undefined (?:user|alias)|there is no (?:one|user|account|such)|"
        r"(?:doesn.t|does not) have an? \S+ account|didn.t match|is not (?:allowed to receive|accepting)|"
        r"user is unknown|unknown:? user|not listed in|sin[oó] existe|n.existe (?:pas|plus)|inconnue?|"
        r"не существует|нет такого|не найден|unbekannt|nicht (?:gefunden|bekannt)|desconocid|no existe|宛先|存在しません|"
        r"見つかりません|リストにありません|不存在|5\.1\.1\b|5\.1\.10\b|5\.1\.0\b.{0,40}rejected",
    ),
    (
        Reason.HOST_UNKNOWN,
        r"(?:host|domain|server|name)(?: name)?\b.{0,40}\b(?:not found|unknown|does ?n[o']t exist|non-?exist\w*|"
        r"invalid|not exist|(?:could|can) ?not be (?:found|resolved)|isn.t in my list|has no mail|not resolve\w*|"
        r"lookup failed)|(?:unknown|no such|bad|invalid|unresolvable|illegal|non-?existent) (?:\w+ )?(?:host|"
        r"domain|hosts)\w*|name or service not known|nxdomain|null ?mx|does not accept (?:e-?)?mail|no (?:mx|a|"
        r"mail exchanger)s? (?:records? |hosts? )?(?:found|for|exists?)|no (?:mx|a) record|couldn't find any host|"
        r"all relevant mx records|name service error|unrouteable mail domain|no (?:valid )?(?:mail )?(?:hosts?|"
        r"servers?) (?:for|found)|5\.1\.2\b|5\.4\.4\b",
    ),
    (
        Reason.AUTHENTICATION,
        r"\bspf\b|\bdkim\b|\bdmarc\b|sender policy|unauthenticated|authenticat\w+ (?:is )?(?:required|failed|checks?)|"
        r"not authenticated|5\.7\.(?:2[0-9]|7|8|9|30)\b|must be authenticated|sender id\b",
    ),
    (
        Reason.RELAYING,
        r"relay\w*\b.{0,30}(?:denied|not permitted|not allowed|prohibited|rejected|forbidden|disabled)|(?:unable|"
        r"not (?:permitted|allowed)|cannot|won't|refus\w+) to relay|(?:do|does|will) not relay|we don.t relay|"
        r"no relay",
    ),
    (
        Reason.TOO_FAST,
        r"rate[ -]?limit|too many (?:connections|messages|recipients|mails|sessions|concurrent)|too fast|throttl|"
        r"exceeded the (?:rate|maximum number)|unusual rate|receiving mail (?:at )?too|sending too|4\.7\.28|"
        r"connection frequency|over quota for sender",
    ),
    (
        Reason.BLOCKED,
        r"black ?list|block ?list|dnsbl|\brbl\b|spamhaus|spamcop|barracuda ?(?:central|networks)|sorbs|spfbl|"
        r"reputation|client host|banned|(?:ip|host|server|client|connection|network|domain|"
        r"address \[?\d).{0,30}(?:blocked|refused|denied|rejected|listed|not allowed|prohibited)|blocked (?:using|"
        r"by|for|due|from)|has been blocked|your (?:ip|host|server|network)|reverse dns|\bptr\b|rdns|"
        r"cannot find your hostname|bad helo|invalid helo|helo command rejected|dynamic ip|refused to talk|"
        r"access denied.{0,30}(?:ip|host|client)|you are not allowed to (?:send|connect)|"
        r"closing (?:transmission )?channel due",
    ),
    (
        Reason.VIRUS,
        r"virus|malware|worm\b|trojan|infected|dangerous (?:content|attachment|file)|(?:attachment|"
        r"executable).{0,30}(?:blocked|not allowed|rejected)",
    ),
    (
        Reason.SPAM,
        r"spam|unsolicited|junk mail|bulk ?mail|content (?:rejected|filter|reject|denied)|rejected (?:by|due to|"
        r"for) content|looks like|phish|undesirable|unwanted|message (?:has been )?refused|advertis|suspicious|"
        r"(?:message|mail) content|bayesian",
    ),
    (
        Reason.SENDER,
        r"sender\b.{0,40}(?:rejected|denied|refused|invalid|unknown|not (?:exist|found|verified|allowed|accepted)|"
        r"verify|blocked|unauthori[sz]ed)|(?:rejected|invalid|bad|unknown|unauthori[sz]ed|cannot (?:verify|"
        r"resolve)|denied|verify) (?:\w+ )?sender|domain of sender|mail from .{0,60}(?:rejected|refused|"
        r"not allowed)|from address|5\.1\.[78]\b|originator|return address",
    ),
    (
        Reason.TOO_BIG,
        r"(?:message|mail|size|attachment|e-?mail).{0,30}(?:too (?:big|large|long)|exceed\w*|larger than|"
        r"over the maximum)|(?:exceed\w*|larger than|maximum|too (?:big|large)).{0,40}(?:message|size)|size limit|"
        r"5\.3\.4\b|5\.2\.3\b",
    ),
    (
        Reason.POLICY,
        r"polic(?:y|ies)|access (?:was )?denied|not (?:authori[sz]ed|permitted|allowed)|prohibited|"
        r"administrative(?:ly)? (?:prohibit|refus|reject|den)\w*|security|rejected by (?:the )?(?:admin|rule|"
        r"header|recipient)|permission|restricted|restriction|violat|forbidden|rule imposed|you (?:do not|"
        r"don.t) have|refused by|unacceptable|5\.7\.\d+\b",
    ),
    (
        Reason.EXPIRED,
        r"expired?|retry time|too (?:long|old)\b|in (?:the )?queue|gave up|giving up|given up|"
        r"delivery (?:attempts|time(?:d out)?)|not (?:be )?deliver\w+ (?:for|within|in) (?:\w+ )?(?:\d+|the)|"
        r"within \d+ (?:hours|days)|for (?:the (?:last|past) )?\d+ (?:hours|days)|retries|retry (?:limit|count)|"
        r"maximum (?:delivery|number of)|could not be delivered (?:for|after)|queue(?:d)? (?:period|time)|"
        r"undeliverable for|unable to deliver .{0,30}(?:hours|days)|4\.4\.7\b|5\.4\.7\b|"
        r"too many (?:failed )?(?:delivery )?(?:attempts|tries)",
    ),
    (
        Reason.NETWORK,
        r"connect\w*.{0,40}(?:refused|timed? ?out|reset|dropped|lost|failed|closed|broken)|(?:no route to|"
        r"network (?:is )?unreachable|unable to connect|can.?t (?:be )?connect|could not connect|cannot connect|"
        r"not respond\w*|no answer|timed? ?out|timeout)|mail (?:is )?loop|too many (?:hops|received)|loops? back|"
        r"routing (?:loop|error)|hop count|host (?:is )?(?:down|unreachable)|unreachable|dns (?:error|failure|"
        r"server)|name server|starttls|tls (?:handshake|negotiation)|ssl|lost connection|not reachable",
    ),
    (
        Reason.SYSTEM,
        r"temporar|try (?:again )?later|system (?:error|problem|not|failure|resources)|local (?:error|problem|"
        r"configuration)|server (?:error|busy|overload)|service (?:not |un)available|configuration (?:error|"
        r"problem)|resources|internal|i/o error|can(?:no|')t (?:open|create|lock)|config|greylist|grey-list|"
        r"out of memory|overload|unable to (?:run|open)|error in processing|not implemented|syntax|protocol error|"
        r"unexpected",
    ),
    (
        Reason.FILTERED,
        r"filter|due to extended inactivity|rejected|refused|not accept\w*|can.?not (?:be )?accept|denied|blocked",
    ),
)
_COMPILED: Final = tuple((reason, re.compile(words, re.IGNORECASE | re.DOTALL)) for reason, words in _WORDS)

# Only the exact ones: 5.0.0, 5.3.0 or 5.5.0 say no more than that it failed (RFC 3463 section 3).
_STATUSES: Final = {
    "1.0": Reason.USER_UNKNOWN,
    "1.1": Reason.USER_UNKNOWN,
    "1.2": Reason.HOST_UNKNOWN,
    "1.3": Reason.USER_UNKNOWN,
    "1.4": Reason.USER_UNKNOWN,
    "1.6": Reason.MOVED,
    "1.7": Reason.SENDER,
    "1.8": Reason.SENDER,
    "1.10": Reason.USER_UNKNOWN,
    "2.0": Reason.FILTERED,
    "2.1": Reason.DISABLED,
    "2.2": Reason.MAILBOX_FULL,
    "2.3": Reason.TOO_BIG,
    "3.4": Reason.TOO_BIG,
    "4.4": Reason.HOST_UNKNOWN,
    "4.7": Reason.EXPIRED,
}
_BY_SUBJECT: Final = {
    "2": Reason.FILTERED,
    "3": Reason.SYSTEM,
    "4": Reason.NETWORK,
    "6": Reason.POLICY,
    "7": Reason.POLICY,
}
STATUS: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_REPLY: Final = re.compile(r"(?<![\d.])([45][0-7]\d)(?=[\s#-])")


def of_words(words: str) -> Reason | None:
    """Tell the reason that a server's words give; None if they give none."""
    for reason, pattern in _COMPILED:
        if pattern.search(words):
            return reason
    return None


def of_status(status: str | None) -> Reason | None:
    """Tell the reason that an enhanced status code (RFC 3463) such as 5.1.1 gives; None for the general ones."""
    if not status:
        return None
    _, subject, detail = status.split(".")
    return _STATUSES.get(f"{subject}.{int(detail)}") or _BY_SUBJECT.get(subject)


def reply_code(words: str) -> str | None:
    """Find an SMTP reply code that says no, such as 550."""
    found = _REPLY.search(f"{words} ")
    return found.group(1) if found else None


def kind(reason: Reason, status: str | None) -> Kind:
    """Tell what a reason means for the address. A status of 4.x.x was never final, whatever the words."""
    meant = KINDS.get(reason, Kind.NOT_A_BOUNCE)
    return Kind.SOFT if meant == Kind.HARD and status is not None and status.startswith("4") else meant
