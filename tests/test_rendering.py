"""Rendering: three parts from a sandbox; what an editor did wrong is named by file and line."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pytest

from mailer.mail import rendering
from mailer.mail.inlining import InliningFailed
from mailer.mail.rendering import Rendered, TemplateInvalid
from tests.mails import ISSUE, PLACEHOLDERS, article

ROOT = Path(__file__).parent.parent
GOOD = {"subject.txt": "Hello", "body.txt": "Text", "body.html": "<p>Text</p>"}


@dataclass(frozen=True, kw_only=True)
class Place:
    name: str


def render_own(folder: Path, language: str = "en", context: dict[str, object] | None = None, **parts: str) -> Rendered:
    """Render an operator's own mail made of `subject`, `text` and `html`, the others being harmless."""
    names = {"subject": "subject.txt", "text": "body.txt", "html": "body.html"}
    files = GOOD | {names[key]: content for key, content in parts.items()}
    (folder / "own").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "own" / name).write_text(content, encoding="utf-8")
    return rendering.render("own", language=language, context=context or {}, folders=(folder,))


def test_a_mail_has_a_subject_html_and_text(tmp_path: Path) -> None:
    rendered = render_own(tmp_path, subject="A", text="B {{ x }}", html="<b>{{ x }}</b>", context={"x": "1 < 2 & ’"})
    assert rendered == Rendered(subject="A", text="B 1 < 2 & ’\n", html="<b>1 &lt; 2 &amp; ’</b>")


def test_styles_are_inlined(tmp_path: Path) -> None:
    assert render_own(tmp_path, html="<style>p{margin:0}</style>\n  <p>x</p>").html == '\n<p style="margin:0">x</p>'


def test_indentation_is_not_sent_but_preformatted_text_is(tmp_path: Path) -> None:
    assert render_own(tmp_path, html="<p>\n   a\n\n  b</p>").html == "<p>\na\nb</p>"
    assert render_own(tmp_path, html="<pre>\n   a</pre>").html == "<pre>\n   a</pre>"


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("  One\n two\r\nthree\tfour ", "One two three four"),
        ("Injected\r\nBcc: x@example.org", "Injected Bcc: x@example.org"),
        ("bell\x07 nul\x00 del\x7f \x85 next\u2028line", "bell nul del next line"),
        ("Prix : 3 € – « été » ’", "Prix : 3 € – « été » ’"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("<b>not</b> &amp; html", "<b>not</b> &amp; html"),
    ],
)
def test_a_subject_is_one_clean_line(title: str, subject: str, tmp_path: Path) -> None:
    assert render_own(tmp_path, subject="{{ title }}\n", context={"title": title}).subject == subject


@pytest.mark.parametrize("title", ["", " \n", "\x00"])
def test_an_empty_subject_is_refused(title: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateInvalid, match=r"own/subject.txt comes out empty"):
        render_own(tmp_path, subject="{{ title }}", context={"title": title})


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("<p>\n{{ nope }}</p>", "own/body.html, line 2: 'nope' is undefined."),
        ("\n\n{{ place.size }}", "own/body.html, line 3: .*has no attribute 'size'."),
        ("{% if x %}\n<p>", "own/body.html, line 2: Unexpected end of template"),
        ("<p>{{ 1 / 0 }}</p>", "own/body.html, line 1: division by zero."),
        ("{{ x|nofilter }}", "own/body.html, line 1: No filter named 'nofilter'."),
        ('{% include "gone.html" %}', "The mail template gone.html is missing."),
        (
            '\n{{ _("by {author}") ~ _("by {author}", writer=1) }}',
            "own/body.html, line 2: the sentence needs a value for {author}.",
        ),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "own/body.html, line 1: maximum recursion depth"),
        ("{{ 'x'|date }}", "own/body.html, line 1: “x” is not a date."),
    ],
)
def test_a_mistake_is_named_by_file_line_and_reason(html: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateInvalid, match=message):
        render_own(tmp_path, html=html, context={"place": {"name": "x"}, "x": 1})


def test_a_mistake_in_an_included_file_is_named_there(tmp_path: Path) -> None:
    (tmp_path / "_head.html").write_text("\n\n{{ nope }}")
    with pytest.raises(TemplateInvalid, match=r"_head.html, line 3: 'nope' is undefined"):
        render_own(tmp_path, html='{% include "_head.html" %}')


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateInvalid, match=r"The mail template nothing/subject.txt is missing"):
        rendering.render("nothing", language="en", context={}, folders=(tmp_path,))


def test_css_that_cannot_be_inlined_is_named_by_file(tmp_path: Path) -> None:
    with pytest.raises(InliningFailed, match=r"own/body.html: The style block that begins “p\{color}”: line 1"):
        render_own(tmp_path, html="<style>p{color}</style><p>x</p>")


@pytest.mark.parametrize(
    "payload",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ _.__globals__ }}",
        "{{ x.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '%s'|format(x.__class__) }}",
        "{{ things.append(1) }}",
        "{{ x|attr('__class__') }}",
        "{{ self.__init__ }}",
        '{% include "/etc/passwd" %}',
        '{% include "../../../etc/passwd" %}',
        "{{ range(10000000) }}",
    ],
)
def test_an_operators_template_cannot_leave_the_sandbox(payload: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateInvalid):
        render_own(tmp_path, html=payload, context={"x": "y", "things": []})


def test_a_sentence_cannot_be_used_to_reach_into_objects(tmp_path: Path) -> None:
    assert render_own(tmp_path, text='{{ _("{x.__class__}", x=1) }}').text == "{x.__class__}\n"


@pytest.mark.parametrize("value", [object(), Path("/"), {"a": [object()]}, Place])
def test_only_plain_values_reach_a_template(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"context.x.* templates get plain values only"):
        render_own(tmp_path, context={"x": value})


def test_plain_values_are_of_these_kinds(tmp_path: Path) -> None:
    context: dict[str, object] = {
        "a": [1, 2.5, None, True, "x", (1,)],
        "b": {"c": date(2025, 1, 2)},
        "p": Place(name="Ош"),
    }
    assert render_own(tmp_path, text="{{ a[4] }} {{ b.c|date }} {{ p.name }}", context=context).text.endswith(
        "2025 Ош\n"
    )


def test_values_of_a_sentence_are_escaped_in_html_only(tmp_path: Path) -> None:
    sentence = '{{ _("by {author}", author=who) }} {{ ngettext("{n} x & {y}", "{n} xs & {y}", 2, y=who) }}'
    rendered = render_own(tmp_path, "fr", {"who": "<b>"}, html=sentence, text=sentence)
    assert rendered.html == "par &lt;b&gt; 2 xs &amp; &lt;b&gt;"
    assert rendered.text == "par <b> 2 xs & <b>\n"


def test_markup_of_the_template_may_stand_in_a_sentence(tmp_path: Path) -> None:
    html = '{% set link %}<a href="#">{{ x }}</a>{% endset %}{{ _("by {author}", author=link) }}'
    assert render_own(tmp_path, html=html, context={"x": "&"}).html == 'by <a href="#">&amp;</a>'


def test_dates_and_numbers_are_the_languages(tmp_path: Path) -> None:
    text = '{{ day|date("full", starts_line=true) }}, {{ day|time }}, {{ 1234|number }}'
    rendered = render_own(tmp_path, "fr", {"day": datetime(2025, 11, 28, 7, 30)}, text=text)  # noqa: DTZ001 - only written
    assert rendered.text.replace("\u00a0", " ") == "Vendredi 28 novembre 2025, 7 h 30, 1 234\n"


@pytest.mark.parametrize(
    ("language", "sides"), [("fr", "ltr left right"), ("ar", "rtl right left"), ("fa-IR", "rtl right left")]
)
def test_the_language_decides_the_direction(language: str, sides: str, tmp_path: Path) -> None:
    assert render_own(tmp_path, language, text="{{ direction }} {{ start }} {{ end }}").text == sides + "\n"


def test_an_operators_folder_replaces_single_files(tmp_path: Path) -> None:
    (tmp_path / "issue").mkdir()
    (tmp_path / "issue" / "subject.txt").write_text("[Hebdo] {{ issue.title }}")
    rendered = rendering.render("issue", language="fr", context=ISSUE, folders=(tmp_path,))
    assert rendered.subject.startswith("[Hebdo] Le Kazakhstan")
    assert "Le Courrier" in rendered.html


def test_a_fingerprint_changes_with_every_file_that_a_mail_draws_on(tmp_path: Path) -> None:
    before = rendering.fingerprint("confirm", (tmp_path,))
    assert before == rendering.fingerprint("confirm", (tmp_path,))
    (tmp_path / "_parts.html").write_text("x")
    layout = rendering.fingerprint("confirm", (tmp_path,))
    (tmp_path / "confirm").mkdir()
    (tmp_path / "confirm" / "subject.txt").write_text("x")
    assert len({before, layout, rendering.fingerprint("confirm", (tmp_path,))}) == 3


def test_text_is_wrapped_but_no_address_or_placeholder_is_cut() -> None:
    long = "https://courrier.example/" + "a-b." * 40
    wrapped = rendering.wrap(f"{'mot ' * 30}{long} q5f1c9a02b7d3addressq, a non-breaking\u00a0space -- x\n\nnext")
    assert {long, "q5f1c9a02b7d3addressq,"} <= set(wrapped.split())
    assert "non-breaking\u00a0space" in wrapped
    assert max(len(line) for line in wrapped.splitlines() if long not in line) <= 72
    assert wrapped.endswith("\n\nnext")


def test_placeholders_come_through_byte_for_byte() -> None:
    word = PLACEHOLDERS["address"]
    lead = article(f"Titre {word}", f"x/{word}?q={word}", excerpt=f"a {word}, " * 12, author=word, topic=word)
    context = {
        **ISSUE,
        "lead": lead,
        "issue": {**ISSUE["issue"], "title": f"Pour {word}", "web_url": f"https://l.example/{word}"},
    }
    rendered = rendering.render("issue", language="fr", context=context)
    assert rendered.subject == f"Pour {word}"
    assert rendered.html.count(word) >= 18
    assert rendered.text.count(word) >= 18
    assert f'href="https://courrier.example/x/{word}?q={word}?a=1&amp;b=2"' in rendered.html
    assert f"\nhttps://courrier.example/x/{word}?q={word}?a=1&b=2\n" in rendered.text
    for name in ("preferences", "unsubscribe"):
        assert f'/{name[0]}/{PLACEHOLDERS[name]}"' in rendered.html
        assert f"/{name[0]}/{PLACEHOLDERS[name]}\n" in rendered.text


def test_templates_are_found_inside_an_installed_package(tmp_path: Path) -> None:
    """As hatch's force-include lays them out: the module beside its own templates/email."""
    package = tmp_path / "mailer"
    package.mkdir()
    for name in ("__init__", "i18n"):
        shutil.copy(ROOT / "mailer" / f"{name}.py", package)
    shutil.copytree(ROOT / "mailer" / "mail", package / "mail")
    shutil.copytree(ROOT / "mailer" / "locale", package / "locale")
    shutil.copytree(ROOT / "templates" / "email", package / "templates" / "email")
    program = (
        "import mailer, mailer.mail.rendering as r, datetime;"
        f"assert mailer.__file__.startswith({str(tmp_path)!r});"
        "n = dict(name='N', description='', url='https://x.example', publisher='P', postal_address='A',"
        "brand_color='#0F5C5C', brand_color_dark='#7CC7BD', logo=None, font='serif');"
        "print(r.render('confirm', language='fr', "
        "context=dict(newsletter=n, address='a', confirm_url='https://x', days=7)).subject)"
    )
    ran = run_python(program, tmp_path)
    assert ran == "Confirmez votre inscription\u00a0: N\n"


def run_python(program: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PYTHONUTF8": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
