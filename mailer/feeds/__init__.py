"""Outside in: the bytes behind a feed's address become articles. Knows no database."""
