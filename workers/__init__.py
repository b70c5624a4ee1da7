"""The Celery workers. Nothing imports this package; it calls the domain by its entry points."""
