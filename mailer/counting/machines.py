"""Whether a request of a pixel or a link was a machine's: mail proxies, scanners, preloading. Rules only; no database.

The features that the rules look at are kept, so that other rules can judge the same requests again.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from mailer.models.tracking import MachineReason

AGENT_LENGTH: Final = 200
# Nobody follows a link this soon after the server took the mail.
AT_ONCE_SECONDS: Final = 5
# So many different links of a mail within so many seconds, by the same program of one network, is a scanner.
BURST_LINKS: Final = 5
BURST_SECONDS: Final = 10

# Programs that fetch all pictures of a mail, or fetch them for everybody.
_PROXIES: Final = (
    "googleimageproxy",
    "ggpht.com",
    "yahoomailproxy",
    "yahoocachesystem",
    "duckduckgo-favicons",
    "fastmail",
)
# What Apple's Mail Privacy Protection calls itself, and nothing more.
_BARE: Final = "mozilla/5.0"
_SCANNERS: Final = (
    "barracuda",
    "bitdefender",
    "bot",
    "crawl",
    "curl/",
    "facebookexternalhit",
    "fireeye",
    "go-http-client",
    "headless",
    "java/",
    "libwww",
    "mimecast",
    "okhttp",
    "preview",
    "proofpoint",
    "python-",
    "safelinks",
    "scanner",
    "sophos",
    "spider",
    "symantec",
    "trendmicro",
    "urlscan",
    "wget/",
    "zscaler",
)
# Apple; Barracuda; Proofpoint; Mimecast.
_APPLE: Final = ipaddress.IPv4Network("17.0.0.0/8")
_SCANNER_NETWORKS: Final = tuple(
    ipaddress.IPv4Network(one)
    for one in ("64.235.144.0/20", "209.222.80.0/21", "67.231.144.0/20", "148.163.128.0/19", "205.139.104.0/21")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What is kept of a request. `network` is cut to /24 or /48; `seconds_after` the acceptance, None if that is not known."""

    is_open: bool
    is_head: bool
    agent: str | None
    network: str | None
    seconds_after: int | None = None


def reason(seen: Features) -> MachineReason | None:
    """Tell why a request is thought to be a machine's, looking at it alone; None for a person's."""
    agent = (seen.agent or "").lower()
    if seen.is_head:
        return MachineReason.HEAD
    if seen.is_open and (agent == _BARE or any(name in agent for name in _PROXIES) or _is_in(seen.network, (_APPLE,))):
        return MachineReason.PROXY
    if not agent or agent == _BARE or any(name in agent for name in _SCANNERS):
        return MachineReason.SCANNER
    if _is_in(seen.network, _SCANNER_NETWORKS):
        return MachineReason.SCANNER
    if seen.seconds_after is not None and seen.seconds_after < AT_ONCE_SECONDS:
        return MachineReason.AT_ONCE
    return None


def _is_in(network: str | None, known: tuple[ipaddress.IPv4Network, ...]) -> bool:
    if network is None or ":" in network:
        return False
    try:
        cut = ipaddress.IPv4Network(network)
    except ValueError:
        return False
    return any(cut.subnet_of(one) for one in known)
