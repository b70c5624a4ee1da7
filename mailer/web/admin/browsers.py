"""What a browser is called in the list of one's sessions: enough to recognise it, and no more than that."""

from typing import Final

# The first that is found: most say that they are also the ones below them.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def name(user_agent: str) -> str:
    """Return "Firefox, Linux", or as much of that as is known; empty if nothing is."""
    found = [next((called for part, called in known if part in user_agent), "") for known in (_BROWSERS, _SYSTEMS)]
    return ", ".join(part for part in found if part)
