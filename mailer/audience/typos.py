"""Addresses that were probably mistyped: lea@gmial.com. A suggestion only; nobody is kept from an address by it."""

from typing import Final

from mailer import addresses

# Where most readers have their mail, in the languages that we speak. What is here is never taken for a slip.
_PROVIDERS: Final = """
gmail.com googlemail.com outlook.com outlook.fr hotmail.com hotmail.fr hotmail.co.uk hotmail.be hotmail.de
hotmail.it live.com live.fr live.be msn.com yahoo.com yahoo.fr yahoo.co.uk ymail.com rocketmail.com aol.com
icloud.com me.com mac.com proton.me protonmail.com pm.me orange.fr wanadoo.fr free.fr sfr.fr neuf.fr bbox.fr
numericable.fr laposte.net aliceadsl.fr club-internet.fr gmx.com gmx.fr gmx.de gmx.net gmx.at gmx.ch web.de
t-online.de bluewin.ch mail.com email.com fastmail.com zoho.com tutanota.com mail.ru inbox.ru list.ru bk.ru
internet.ru yandex.ru yandex.com yandex.kz ya.ru rambler.ru mail.kz nur.kz mail.kg mail.uz skynet.be telenet.be
videotron.ca sympatico.ca btinternet.com comcast.net verizon.net
"""
PROVIDERS: Final = frozenset(_PROVIDERS.split())
# Short names have real neighbours (gmx.fr, gmx.de, me.com, pm.me); of the others a slip of one or two letters is likely.
_LONG_ENOUGH: Final = tuple(sorted(one for one in PROVIDERS if len(one.partition(".")[0]) >= 5))
_TWO_SLIPS_FROM: Final = 7
# Endings that do not exist, each a slip of one that does.
_ENDINGS: Final = {
    "con": "com",
    "cmo": "com",
    "ocm": "com",
    "vom": "com",
    "xom": "com",
    "comm": "com",
    "coom": "com",
    "cim": "com",
    "cpm": "com",
    "ner": "net",
    "nte": "net",
    "ogr": "org",
    "orgg": "org",
    "frr": "fr",
    "rf": "fr",
}
# Endings that exist, but hardly after a provider's name.
_CUT_ENDINGS: Final = {
    "co": "com",
    "cm": "com",
    "om": "com",
    "c": "com",
    "m": "com",
    "f": "fr",
    "r": "fr",
    "u": "ru",
    "ne": "net",
}
# Cyrillic and Greek letters that look like ours, and the digits that do.
_LOOKALIKES: Final = str.maketrans("асеорхуіјѕԁһкмтнвοανρτυι01", "aceopxyijsdhkmthboavptuiol")


def suggestion(address: str) -> str | None:
    """Return what a normalised address was probably meant to be; None if nothing speaks for a slip."""
    local, _, domain = address.rpartition("@")
    meant = _meant(domain)
    if meant is None or meant == domain:
        return None
    try:
        return addresses.normalise(f"{local}@{meant}")
    except addresses.AddressInvalid:
        return None


def _meant(domain: str) -> str | None:
    if domain in PROVIDERS:
        return None
    shown = _shown(domain)
    alike = shown.translate(_LOOKALIKES)
    if alike in PROVIDERS:
        return alike
    if not domain.isascii() or "xn--" in domain:
        return None
    name, _, ending = domain.rpartition(".")
    if ending in _ENDINGS:
        corrected = f"{name}.{_ENDINGS[ending]}"
        return _nearest(corrected) or corrected
    return _nearest(domain) or _nearest(f"{name}.{_CUT_ENDINGS.get(ending, ending)}")


def _nearest(domain: str) -> str | None:
    """Return the provider that a domain is a slip of: one letter wrong, missing, doubled or swapped; two in a long name."""
    if domain in PROVIDERS:
        return domain
    name, _, ending = domain.partition(".")
    found = []
    for one in _LONG_ENOUGH:
        right, _, its_ending = one.partition(".")
        most = 2 if len(right) >= _TWO_SLIPS_FROM else 1
        # A right name with another country's ending may be another provider.
        if ending == its_ending and abs(len(name) - len(right)) <= most and name != right:
            slips = _distance(name, right)
            if slips <= most:
                found.append((slips, one))
    return min(found)[1] if found else None


def _distance(one: str, other: str) -> int:
    """Count the slips between two words; two letters swapped are one (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        line = [row]
        for column, wanted in enumerate(other, start=1):
            is_same = letter == wanted
            best = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + (not is_same))
            is_swapped = row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted
            line.append(min(best, before[column - 2] + 1) if is_swapped else best)
        before, last = last, line
    return last[-1]


def _shown(domain: str) -> str:
    """Return a domain as people see it: A-labels decoded where they can be."""
    labels = []
    for label in domain.split("."):
        try:
            labels.append(label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else label)
        except (UnicodeError, ValueError):
            labels.append(label)
    return ".".join(labels)
