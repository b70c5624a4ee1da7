"""The schema's history: forward only. Run by `mailer migrate`."""
