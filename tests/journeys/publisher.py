"""A publisher's own site, on another host than ours, whose pages hold our form."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mailer.audience import snippets
from mailer.audience.snippets import Kind, Look
from mailer.db import transaction
from mailer.newsroom import newsletters


@contextmanager
def pages(folder: Path, language: str) -> Iterator[str]:
    """Serve a page for each kind of snippet, named as the kind is. Yields the address they are under."""
    look = Look(language=language, color="#0F5C5C", source="article")
    head = f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>The publisher</title>'
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for kind in Kind:
            (folder / f"{kind}.html").write_text(head + snippets.make(newsletter, kind, look), "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass
