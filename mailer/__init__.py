"""A newsletter service for newsrooms: feed to issue to inbox, with proof of every delivery."""

__version__ = "0.1.0"
