"""A mail's three parts from its templates: Jinja in a sandbox, plain values in, styles inlined, one string each out.

A folder of templates/email holds subject.txt, body.txt and body.html. An operator's own folder may replace any file.
Nothing here bounds time or memory: sandbox.py does, for what operators write.
"""

import dataclasses
import functools
import hashlib
import re
import textwrap
import traceback
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from mailer import i18n
from mailer.mail import inlining

TEXT_COLUMNS: Final = 72
MOST_CHARACTERS: Final = 1_000_000
MOST_BITS: Final = 100_000
PARTS: Final = ("subject.txt", "body.txt", "body.html")
RIGHT_TO_LEFT: Final = ("ar", "fa", "he", "ps", "ug", "ur", "yi")
# Older Georgia lacks letters of these languages (ә ғ қ ң ө ұ ү ӣ ҷ) and would mix two fonts in one word.
SANS_HEADINGS: Final = ("kk", "ky", "tg", "ug")

_PLAIN: Final = (str, int, float, bool, type(None), date, datetime, time)
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# As message.field_placeholder makes them; and ten letters that no text has, of the Unicode area for private use.
_FIELD: Final = re.compile(r"q[0-9a-f]{12}f(?:[0-9a-f]{2})+q")
_STAND_IN: Final = re.compile("\uf8e5" * 10)
_HYPHENATED: Final = re.compile(r"\w+(?:-\w+)+")
_BREAKS: Final = re.compile("[ \t\r\n\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+")
# What a wrong template can raise besides Jinja's own errors.
_MISTAKES: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


class TemplateInvalid(Exception):
    """A mail template cannot be rendered; the message names file, line and what is wrong there."""


class LimitReached(jinja2.TemplateError):
    """A template wants more time or space than a mail may take; the message says of what."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One mail: a single-line subject, and the same content as HTML with inlined styles and as text."""

    subject: str
    html: str
    text: str


def render(template: str, *, language: str, context: Mapping[str, object], folders: Sequence[Path] = ()) -> Rendered:
    """Render the folder `template` with a context of plain values (dict, list, str, number, datetime, dataclass).

    `folders` are searched before the shipped templates. Raises TemplateInvalid for what an editor can mend in a
    template, InliningFailed for its CSS, and TypeError if the context holds anything that is not a plain value.
    """
    return style(template, expand(template, language=language, context=context, folders=folders))


def expand(template: str, *, language: str, context: Mapping[str, object], folders: Sequence[Path] = ()) -> Rendered:
    """Do what render does, but leave the styles where the template has them. Raises TemplateInvalid and TypeError."""
    check_context(context)
    searched = (*folders, shipped())
    environment = _environment(language, searched)
    subject, text, html = (_part(environment, f"{template}/{part}", context, searched) for part in PARTS)
    subject = _single_line(subject)
    if not subject:
        raise TemplateInvalid(f"{template}/subject.txt comes out empty: a mail needs a subject.")
    return Rendered(subject=subject, html=_without_indentation(html), text=_tidy_text(text))


def style(template: str, expanded: Rendered) -> Rendered:
    """Write the styles of what `expand` made into its style attributes. Raises InliningFailed."""
    try:
        return dataclasses.replace(expanded, html=inlining.inline(expanded.html))
    except inlining.InliningFailed as error:
        raise inlining.InliningFailed(f"{template}/body.html: {error}") from error


def check_context(context: Mapping[str, object]) -> None:
    """Raise TypeError if a context holds anything that is not a plain value."""
    _refuse_rows(context, "context")


def shipped() -> Path:
    """Find the templates: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "templates" / "email"
    return installed if installed.is_dir() else package.parent / "templates" / "email"


def fingerprint(template: str, folders: Sequence[Path] = ()) -> str:
    """Return a hash that changes when a file that the folder `template` may draw on changes. Reads these files."""
    digest = hashlib.sha256()
    for folder in (*folders, shipped()):
        for path in sorted((*folder.glob("_*"), *(folder / template).glob("*"))):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def wrap(text: str, columns: int = TEXT_COLUMNS) -> str:
    """Wrap each line at ordinary spaces; a word or address longer than a line stays whole.

    The placeholder of a merge field counts for a word about as long as a name, since it tells nothing of the value.
    """
    fill = functools.partial(textwrap.fill, width=columns, break_long_words=False, break_on_hyphens=False)
    fields = iter(_FIELD.findall(text))
    wrapped = "\n".join(fill(line) for line in _FIELD.sub(_STAND_IN.pattern, text).splitlines())
    return _STAND_IN.sub(lambda match: next(fields, match[0]), wrapped)


def unbroken(text: str) -> Markup:
    """Keep words with a hyphen ("Inscrivez-vous") on one line, in HTML."""
    return Markup(_HYPHENATED.sub(r'<span style="white-space:nowrap">\g<0></span>', str(escape(text))))  # noqa: S704


@functools.lru_cache(maxsize=32)
def _environment(language: str, folders: tuple[Path, ...]) -> jinja2.Environment:
    environment = _Sandbox(
        loader=_Folders(folders),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = language.replace("_", "-").split("-")[0].lower()
    is_rtl = code in RIGHT_TO_LEFT
    environment.globals.update(
        _=_gettext(language),
        ngettext=_ngettext(language),
        language=language,
        direction="rtl" if is_rtl else "ltr",
        start="right" if is_rtl else "left",
        end="left" if is_rtl else "right",
        sans_headings=code in SANS_HEADINGS,
    )
    environment.filters.update(
        date=functools.partial(_date, language),
        time=functools.partial(i18n.format_time, language),
        number=functools.partial(i18n.format_number, language),
        wrap=wrap,
        unbroken=unbroken,
    )
    return environment


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which no single operation makes a huge text or number either."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate, unless the result would be huge."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MOST_BITS:
                raise LimitReached("the result is too big a number")
        elif operator == "*" and not isinstance(left, float) and not isinstance(right, float):
            length = len(left) * right if hasattr(left, "__len__") else len(right) * left
            if length > MOST_CHARACTERS:
                raise LimitReached(f"it repeats a text to more than {MOST_CHARACTERS} characters")
        return super().call_binop(context, operator, left, right)


class _Folders(jinja2.FileSystemLoader):
    """Reads templates from their folders, and from nowhere else that a link there may lead to."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Read a template. Raises TemplateNotFound, and SecurityError for one that lies elsewhere."""
        source, filename, is_fresh = super().get_source(environment, template)
        real = Path(filename).resolve()
        if not any(real.is_relative_to(Path(folder).resolve()) for folder in self.searchpath):
            raise SecurityError(f"the template {template} lies outside the template folders")
        return source, filename, is_fresh


def _gettext(language: str) -> Callable[..., str]:
    @jinja2.pass_eval_context
    def translate(context: EvalContext, message: str, **values: object) -> str:
        if not context.autoescape:
            return i18n.gettext(language, message, **values)
        return Markup(i18n.fill(escape(i18n.gettext(language, message)), _escaped(values)))  # noqa: S704 - escaped here

    return translate


def _ngettext(language: str) -> Callable[..., str]:
    @jinja2.pass_eval_context
    def translate(context: EvalContext, one: str, many: str, n: int, **values: object) -> str:
        if not context.autoescape:
            return i18n.ngettext(language, one, many, n, **values)
        return Markup(i18n.ngettext(language, escape(one), escape(many), n, **_escaped(values)))  # noqa: S704

    return translate


def _date(language: str, value: object, style: i18n.DateStyle = "long", *, starts_line: bool = False) -> str:
    if not isinstance(value, date):
        raise TypeError(f"“{str(value)[:40]}” is not a date")
    return i18n.format_date(language, value, style, starts_line=starts_line)


def _escaped(values: Mapping[str, object]) -> dict[str, object]:
    """Escape plain values; what a template has already marked up stays."""
    return {name: escape(value) for name, value in values.items()}


def _part(environment: jinja2.Environment, name: str, context: Mapping[str, object], folders: Sequence[Path]) -> str:
    try:
        return _CONTROL.sub("", _bounded(environment.get_template(name), context))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateInvalid(f"{error.name or name}, line {error.lineno}: {error.message}.") from error
    except jinja2.TemplateNotFound as error:
        raise TemplateInvalid(f"The mail template {error.name} is missing.") from error
    except _MISTAKES as error:
        raise TemplateInvalid(f"{_place(error, folders) or name}: {_reason(error)}.") from error


def _bounded(template: jinja2.Template, context: Mapping[str, object]) -> str:
    """Render a template piece by piece, so that what has no end is given up in time."""
    pieces, length = [], 0
    for piece in template.generate(context):
        length += len(piece)
        if length > MOST_CHARACTERS:
            raise LimitReached(f"it makes more than {MOST_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)


def _place(error: Exception, folders: Sequence[Path]) -> str | None:
    """Name the innermost template line that the error came through. Jinja puts template files into tracebacks."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for folder in folders:
            if Path(frame.filename).is_relative_to(folder):
                return f"{Path(frame.filename).relative_to(folder)}, line {frame.lineno}"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the sentence needs a value for {{{error.args[0]}}}"
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    return str(error).rstrip(".") or type(error).__name__


def _single_line(subject: str) -> str:
    line = _BREAKS.sub(" ", subject)
    return "".join(character for character in line if unicodedata.category(character) != "Cc").strip()


def _without_indentation(html: str) -> str:
    return html if re.search(r"<(?:pre|textarea)\b", html, re.IGNORECASE) else re.sub(r"[ \t]*\n[ \t\n]*", "\n", html)


def _tidy_text(text: str) -> str:
    lines = "\n".join(line.rstrip(" \t") for line in text.splitlines())
    return re.sub(r"\n{4,}", "\n\n\n", lines).strip("\n") + "\n"


def _refuse_rows(value: object, path: str) -> None:
    """A row would let a template read the database, and change while it is read."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_rows(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _refuse_rows(item, f"{path}[{number}]")
    elif not isinstance(value, _PLAIN) and (isinstance(value, type) or not dataclasses.is_dataclass(value)):
        raise TypeError(f"{path} is a {type(value).__name__}; templates get plain values only.")
