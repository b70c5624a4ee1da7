"""A server of another program that webhooks call: it keeps what it was told, and answers as a test wants."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hook:
    """What was told so far, and how the next calls are answered (200 once the list is used up)."""

    url: str
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    # Before it answers.
    delay_seconds: float = 0

    def answer(self) -> tuple[int, dict[str, str]]:
        chosen = self.answers.pop(0) if self.answers else 200
        return chosen if isinstance(chosen, tuple) else (chosen, {})


@contextlib.contextmanager
def listening_hook() -> Iterator[Hook]:
    """Listen on 127.0.0.1, which MAILER_WEBHOOK_PRIVATE_NETWORKS must allow."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(hook.delay_seconds)
            status, headers = hook.answer()
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook = Hook(url=f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
