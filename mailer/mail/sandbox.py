"""Operators' own templates, rendered in a process of its own: bounded in time, memory and output, and without secrets.

The process gets an empty environment, opens no file outside the template folders and the installation, and no network.
Shipped templates alone are rendered in this process: they are as trusted as the code beside them.
"""

import contextlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import structlog

from mailer.mail import inlining, rendering

CPU_SECONDS: Final = 2.0
INLINING_SECONDS: Final = 5.0
MEMORY_BYTES: Final = 256 * 1024 * 1024
ANSWER_BYTES: Final = 16 * 1024 * 1024
OPEN_FILES: Final = 24
# A machine that is busy with other things may need this long for the seconds above.
PATIENCE_SECONDS: Final = 60.0
_FORBIDDEN: Final = (
    "socket.",
    "subprocess.",
    "ctypes.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.mkdir",
    "os.chmod",
    "os.putenv",
    "sys.addaudithook",
)

log = structlog.get_logger()


def render(
    template: str, *, language: str, context: Mapping[str, object], folders: Sequence[Path] = ()
) -> rendering.Rendered:
    """Do what rendering.render does; templates from `folders` get a process of their own, which takes about 0.3 s.

    Raises TemplateInvalid also for a template that reaches a limit, InliningFailed, and TypeError for the context.
    """
    if not folders:
        return rendering.render(template, language=language, context=context)
    rendering.check_context(context)
    real = [folder.resolve() for folder in folders]
    request = {"template": template, "language": language, "context": dict(context), "folders": real}
    answer = _ask(pickle.dumps(request), template)
    if "message" in answer:
        kind = inlining.InliningFailed if answer["kind"] == "inlining" else rendering.TemplateInvalid
        raise kind(answer["message"])
    return rendering.Rendered(subject=answer["subject"], html=answer["html"], text=answer["text"])


def environment() -> dict[str, str]:
    """Return all that the process learns from its environment: where its modules are."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"}


def main() -> None:
    """Be that process: read a request from standard input, write the answer to standard output as JSON."""
    # From our own parent: its plain values, checked there.
    request = pickle.load(sys.stdin.buffer)  # noqa: S301
    _confine(request["folders"])
    json.dump(_answer(**request), sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def _ask(request: bytes, template: str) -> dict[str, str]:
    command = [sys.executable, "-s", "-P", "-m", "mailer.mail.sandbox"]
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command,
                input=request,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment(),
                timeout=PATIENCE_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        answer = _read(output) if code == 0 else None
    if answer is None:
        log.warning("sandbox stopped", template=template, code=code)
        raise rendering.TemplateInvalid(
            f"The mail template {template} was stopped: it may take {CPU_SECONDS:.0f} s of computing time and "
            f"{MEMORY_BYTES // 1024**2} MB of memory. Look for endless loops and huge texts in it."
        )
    return answer


def _read(output: IO[bytes]) -> dict[str, str] | None:
    """Return the answer if it has its form: it comes from where strangers' templates run."""
    output.seek(0)
    try:
        answer = json.loads(output.read(ANSWER_BYTES))
    except ValueError:
        return None
    is_known = isinstance(answer, dict) and set(answer) in ({"kind", "message"}, {"subject", "html", "text"})
    return answer if is_known and all(isinstance(value, str) for value in answer.values()) else None


def _answer(template: str, language: str, context: Mapping[str, object], folders: Sequence[Path]) -> dict[str, str]:
    try:
        with _cpu_time(CPU_SECONDS, f"it takes more than {CPU_SECONDS:.0f} s of computing time"):
            expanded = rendering.expand(template, language=language, context=context, folders=folders)
    except rendering.TemplateInvalid as error:
        return {"kind": "template", "message": str(error)}
    except rendering.LimitReached as error:
        # It came while another mistake was being described.
        return {"kind": "template", "message": f"{template}: {error}."}
    try:
        with _cpu_time(INLINING_SECONDS, "its styles take too long to be inlined"):
            rendered = rendering.style(template, expanded)
    except inlining.InliningFailed as error:
        return {"kind": "inlining", "message": str(error)}
    except rendering.LimitReached as error:
        return {"kind": "inlining", "message": f"{template}/body.html: {error}."}
    except (MemoryError, RecursionError):
        return {"kind": "inlining", "message": f"{template}/body.html: its styles need too much memory."}
    return {"subject": rendered.subject, "html": rendered.html, "text": rendered.text}


@contextlib.contextmanager
def _cpu_time(seconds: float, complaint: str) -> Iterator[None]:
    """Raise LimitReached where the program stands when the time is used up, which names the template's line."""

    def give_up(_signal: int, _frame: object) -> None:
        raise rendering.LimitReached(complaint)

    # Within one long step of C no signal is seen; then this ends the process.
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 2, hard))
    signal.signal(signal.SIGPROF, give_up)
    # Again and again, since a filter may swallow the first.
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _confine(folders: Sequence[Path]) -> None:
    """Give up, for good, what rendering does not need."""
    last_second = int(time.process_time() + CPU_SECONDS + INLINING_SECONDS) + 4
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: last_second,
        resource.RLIMIT_FSIZE: ANSWER_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for which, limit in limits.items():
        # Some systems do not know every limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (limit, limit))
    paths = sysconfig.get_paths()
    installation = (
        paths["stdlib"],
        paths["platstdlib"],
        paths["purelib"],
        paths["platlib"],
        Path(__file__).parent.parent,
    )
    roots = tuple(
        os.path.realpath(one) for one in (*map(str, installation), str(rendering.shipped()), *map(str, folders))
    )
    sys.addaudithook(lambda event, arguments: _refuse(event, arguments, roots))


def _refuse(event: str, arguments: tuple[object, ...], roots: Sequence[str]) -> None:
    if event == "open":
        path, mode = arguments[0], arguments[1]
        is_reading = mode is None or str(mode) in ("r", "rb")
        if not is_reading or not isinstance(path, str | bytes) or not _is_within(os.fsdecode(path), roots):
            raise PermissionError("it may not open files")
    elif event.startswith(_FORBIDDEN):
        raise PermissionError(f"it may not do {event}")


def _is_within(path: str, roots: Sequence[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == root or real.startswith(root + os.sep) for root in roots)


if __name__ == "__main__":
    main()
