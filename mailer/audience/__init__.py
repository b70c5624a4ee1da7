"""Readers: in by form or link, what they want, and out."""
