"""The tabs of Settings: which pages there are, in order, and the name by which a page says where it stands."""

from typing import Final

PAGES: Final = (
    ("general", "/admin/settings/general", "General"),
    ("brand", "/admin/settings/brand", "Brand"),
    ("sending", "/admin/settings/sending", "Sending mail"),
    ("privacy", "/admin/settings/privacy", "Privacy and tracking"),
    ("team", "/admin/settings/team", "Team"),
    ("tokens", "/admin/settings/tokens", "Tokens"),
    ("webhooks", "/admin/settings/webhooks", "Webhooks"),
    ("audit", "/admin/settings/audit", "Audit log"),
    ("system", "/admin/settings/system", "System"),
)
