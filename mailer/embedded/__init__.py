"""All that a try needs on one machine: PostgreSQL, Valkey, supervision, an SMTP inbox, a sample publication."""
