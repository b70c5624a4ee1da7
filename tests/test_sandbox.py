"""Operators' templates: what they must not reach, and what they must not use up. The worker lives on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailer.mail import rendering, sandbox
from mailer.mail.inlining import InliningFailed
from mailer.mail.rendering import Rendered, TemplateInvalid
from tests.mails import ISSUE

CANARY = "canary-7f3a9c"
# Each in place of a mail's body; `reader` and `things` are what a context holds.
INJECTIONS = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ [].__class__.__base__.__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('__cl' ~ 'ass__') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ ()|attr('__class__')|attr('__base__')|attr('__subclasses__')() }}",
    "{{ _.__globals__ }}",
    "{{ _.__globals__['os'].environ }}",
    "{{ ngettext.__globals__ }}",
    "{{ _.__closure__[0].cell_contents }}",
    "{{ _.__code__.co_consts }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum|attr('__globals__') }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ range.__class__.__mro__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self|attr('_TemplateReference__context') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(reader) }}",
    "{{ '{a.__class__}'.format_map({'a': reader}) }}",
    "{{ '%s'|format(reader.__class__) }}",
    "{{ ('{0.__class__}'|string).format(reader) }}",
    "{{ things|map(attribute='__class__')|join }}",
    "{{ things|map('attr', '__class__')|list|first }}",
    "{{ things|groupby('__class__') }}",
    "{{ things.append(1) }}",
    "{{ reader.update({'a': 1}) }}",
    "{{ reader.clear() }}",
    "{{ reader.__init__ }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{% set x = cycler.__init__ %}{{ x.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ config }}",
    "{{ settings.secret_key }}",
    "{{ request.application.__globals__ }}",
    "{{ env('CANARY') }}",
    "{{ os.environ.CANARY }}",
    "{{ newsletter.subscribers }}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% include '/etc/passwd' %}",
    "{% include '../../../../etc/passwd' %}",
    "{% include '..%2f..%2fetc/passwd' %}",
    "{% extends '../secret.txt' %}",
    "{% include '../secret.txt' %}",
    "{% include 'own/../../secret.txt' %}",
    "{% include 'link.txt' %}",
    "{% include 'secret.txt\\x00' %}",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's folder, with a secret beside it, a link to that, and one in the environment."""
    monkeypatch.setenv("CANARY", CANARY)
    (tmp_path / "secret.txt").write_text(CANARY)
    folder = tmp_path / "templates"
    (folder / "own").mkdir(parents=True)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "own" / "subject.txt").write_text("Hello")
    (folder / "own" / "body.txt").write_text("Text")
    return folder


def render(folder: Path, html: str, **context: object) -> Rendered:
    (folder / "own" / "body.html").write_text(html, encoding="utf-8")
    return sandbox.render("own", language="en", context=context, folders=(folder,))


@pytest.mark.parametrize("payload", INJECTIONS)
def test_an_injection_is_refused_and_nothing_leaks(payload: str, folder: Path) -> None:
    (folder / "own" / "body.html").write_text(payload, encoding="utf-8")
    context = {"reader": {"address": "lea@example.org"}, "things": ["a", {"b": 1}]}
    with pytest.raises(TemplateInvalid) as refused:
        # The language's own defences, without the process around them.
        rendering.expand("own", language="en", context=context, folders=(folder,))
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("place", ["subject.txt", "body.txt"])
def test_the_other_parts_are_in_the_sandbox_too(place: str, folder: Path) -> None:
    (folder / "own" / "body.html").write_text("<p>x</p>")
    (folder / "own" / place).write_text("\n{{ ''.__class__.__mro__ }}")
    with pytest.raises(TemplateInvalid, match=f"own/{place}, line 2: access to attribute '__class__'"):
        sandbox.render("own", language="en", context={}, folders=(folder,))


@pytest.mark.parametrize(
    "value", ["{{ 7*7 }}", "{% include 'own/subject.txt' %}", "${7*7}", "{# x #}", "{{ ''.__class__ }}"]
)
def test_what_readers_and_feeds_write_is_never_a_template(value: str, folder: Path) -> None:
    assert render(folder, "{{ value|replace('&#39;', '') }}", value=value).html.replace("&#39;", "'") == value


def test_a_good_template_comes_out_as_without_a_process_around_it(folder: Path) -> None:
    (folder / "issue").mkdir()
    (folder / "issue" / "subject.txt").write_text("Н° {{ issue.number }} : {{ issue.title }}")
    expected = rendering.render("issue", language="fr", context=ISSUE, folders=(folder,))
    assert sandbox.render("issue", language="fr", context=ISSUE, folders=(folder,)) == expected
    assert expected.subject.startswith("Н° 129")


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("<p>\n{{ nope }}</p>", "own/body.html, line 2: 'nope' is undefined."),
        ("\n\n{{ 'a' * 10**9 }}", "own/body.html, line 3: it repeats a text to more than 1000000 characters."),
        ("\n{{ 'a'|center(10**9) }}", "own/body.html, line 2: it needs too much memory."),
        ("{{ 10**(10**10) }}", "own/body.html, line 1: the result is too big a number."),
        ("\n{{ ((7**999)**9)**9 * 7**9999 }}", "own/body.html, line 2: the result is too big a number."),
        ("{{ '%1000000000d'|format(1) }}", "own/body.html, line 1: it needs too much memory."),
        (
            "{% set x = namespace(v='aaaaaaaaaa') %}\n{% for i in range(60) %}{% set x.v = x.v ~ x.v %}{% endfor %}",
            "own/body.html, line 2: it needs too much memory.",
        ),
        ("{% for i in range(99999) %}xxxxxxxxxxx{% endfor %}", "own/body.html: it makes more than 1000000 characters."),
        ("{{ range(10**7) }}", "own/body.html, line 1: Range too big"),
        ("{% include 'own/body.html' %}", "own/body.html, line 1: maximum recursion depth exceeded"),
        ("{% macro a() %}{{ a() }}{% endmacro %}\n{{ a() }}", "own/body.html, line 1: maximum recursion depth"),
    ],
)
def test_a_greedy_template_ends_with_its_file_and_line(html: str, message: str, folder: Path) -> None:
    with pytest.raises(TemplateInvalid) as refused:
        render(folder, html)
    assert message in str(refused.value)


def test_an_endless_loop_ends_in_two_seconds_and_the_next_mail_is_made(folder: Path) -> None:
    loops = "<p>\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}</p>"
    before = time.process_time()
    with pytest.raises(TemplateInvalid, match=r"own/body.html, line 2: it takes more than 2 s of computing time"):
        render(folder, loops)
    assert time.process_time() - before < 1, "the worker itself has computed"
    assert render(folder, "<p>next</p>").html == "<p>next</p>"


def test_styles_that_cannot_be_inlined_are_named_by_file(folder: Path) -> None:
    with pytest.raises(InliningFailed, match=r"own/body.html: The style block that begins"):
        render(folder, "<style>p{color}</style><p>x</p>")


@pytest.mark.slow
def test_endless_work_for_the_inliner_ends_with_its_file(folder: Path) -> None:
    style = "".join(f".a{n} td,.b{n} > td + td{{color:#000}}" for n in range(3000))
    with pytest.raises(InliningFailed, match=r"own/body.html: its styles take too long to be inlined\."):
        render(folder, f"<style>{style}</style><table>{'<tr><td class=a0>x</td></tr>' * 3000}</table>")


def test_rows_are_refused_before_a_process_is_started(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"context.x .*templates get plain values only"):
        render(folder, "x", x=object())


def test_shipped_templates_need_no_process(folder: Path) -> None:
    assert sandbox.render("issue", language="fr", context=ISSUE) == rendering.render(
        "issue", language="fr", context=ISSUE
    )


ESCAPES = {
    "read a file beside the folder": "open({secret!r}).read()",
    "read it through a link": "open({link!r}).read()",
    "write": "open({folder!r} + '/own/subject.txt', 'w')",
    "reach the network": "__import__('socket').create_connection(('127.0.0.1', 9))",
    "start a program": "__import__('subprocess').run(['id'])",
    "start a shell": "__import__('os').system('id')",
    "fork": "__import__('os').fork()",
    "read the environment": "__import__('os').environ['CANARY']",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_code_that_got_out_of_the_template_finds_itself_confined(name: str, folder: Path) -> None:
    names = {"secret": str(folder.parent / "secret.txt"), "link": str(folder / "link.txt"), "folder": str(folder)}
    act = ESCAPES[name].format_map(names)
    program = f"import pathlib; from mailer.mail import sandbox; sandbox._confine([pathlib.Path({str(folder)!r})]); print({act})"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=sandbox.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ("PermissionError: it may not" in ran.stderr) or ("KeyError: 'CANARY'" in ran.stderr)
    assert CANARY not in ran.stdout + ran.stderr
