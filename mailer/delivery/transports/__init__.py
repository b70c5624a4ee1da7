"""Outside out: a message becomes accepted, deferred, refused or uncertain. Knows no database."""
