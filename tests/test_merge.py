"""Merge fields: a reader's values in the subject, the text and the HTML, as nothing but the characters they are."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from html.parser import HTMLParser

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.audience import attributes
from mailer.delivery import copies, deliveries
from mailer.issues import issues
from mailer.mail import dkim, mails, merge, message, rendering
from mailer.models.audience import Subscriber
from mailer.models.content import Issue, Variant
from mailer.models.deliveries import Delivery
from tests.factories import NOW, a_newsletter, an_article, readers
from tests.test_dkim import verified

NONCE = "0123456789ab"
READER = {"nonce": NONCE, "preferences_url": "https://lettre.example/p/x"}
HOSTILE = [
    "{{7*7}}",
    "{name}",
    "<b>Léa</b><script>alert(1)</script>",
    "O’Brien \"& Co\" 'x' = ? _",
    "=?utf-8?q?spoofed?=",
    "x\r\nBcc: victim@example.org\r\n\r\nbody",
    ".",
    "..",
    "Айгерим Жаңабергенқызы Құнанбаева-Ермекова",
    "\u202eevil\u2066",
    "👩🏽‍💻 Zoë",
    "&#847; &amp; %0a",
    "q0123456789abaddressq",
    "x" * 500,
]


def copy(
    subject: str, text: str, values: dict[str, str], *, signers: tuple[dkim.Signer, ...] = (), html: str | None = None
) -> bytes:
    compiled = message.compile_message(
        nonce=NONCE,
        headers={"From": message.mailbox("Le Courrier", "lettre@courrier.example", header="From")},
        subject=merge.say(subject, READER),
        text=merge.say(text, READER) + "\n",
        html=f"<p title='{merge.say(text, READER)}'>{merge.say(html or text, READER)}</p>",
        signers=signers,
    )
    cleaned = {name: merge.clean(value) for name, value in values.items()}
    reader = message.Reader(address="lea@example.org", message_id="1.a@courrier.example", fields=cleaned)
    return compiled.fill(reader, now=datetime(2026, 11, 20, tzinfo=UTC))


def said(raw: bytes) -> tuple[str, str, str]:
    """The subject, the text and what the HTML shows."""
    parsed = message_from_bytes(raw, policy=policy.default)
    assert not parsed.defects
    plain, rich = (part.get_content() for part in parsed.iter_parts())
    shown: list[str] = []
    tags: list[str] = []

    class Reading(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
            tags.append(tag)

        def handle_data(self, data: str) -> None:
            shown.append(data)

    Reading().feed(rich)
    assert tags == ["p"]
    return str(parsed["Subject"]), plain.strip(), "".join(shown).strip()


def test_a_value_stands_in_the_subject_the_text_and_the_html() -> None:
    raw = copy("L’eau revient, {name}", "Bonjour {name}, à {city} !", {"name": "Léa", "city": "Алматы"})
    assert said(raw) == ("L’eau revient, Léa", "Bonjour Léa, à Алматы !", "Bonjour Léa, à Алматы !")


def test_a_reader_without_a_value_gets_the_fallback() -> None:
    raw = copy("{name|Vous} et l’eau", "Bonjour {name|à toutes et à tous} ({city})", {})
    assert said(raw)[:2] == ("Vous et l’eau", "Bonjour à toutes et à tous ()")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_printed_as_it_is(name: str) -> None:
    raw = copy("Bonjour {name} !", "Bonjour {name} !", {"name": name})
    wanted = f"Bonjour {merge.clean(name)} !"
    assert said(raw) == (wanted, wanted, wanted)
    assert b"victim@" not in raw.partition(b"\r\n\r\n")[0]


def test_a_value_is_one_line_of_what_can_be_seen() -> None:
    assert merge.clean(" \u202eLéa\u2066\r\n\tMartin\x00 ") == "Léa Martin"
    assert len(merge.clean("x" * 500)) == merge.VALUE_LENGTH


@given(name=st.text(max_size=60), city=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_value_leaves_a_message_well_formed(name: str, city: str) -> None:
    raw = copy("{city} – {name} {city}", "{name}{city}.", {"name": name, "city": city})
    assert said(raw)[1] == f"{merge.clean(name)}{merge.clean(city)}.".strip()
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998
        assert not line.startswith(b".")
        assert b"\n" not in line
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(len(line) <= 76 for line in head.split(b"\r\n"))
    assert all(line.strip() for line in head.split(b"\r\n"))


@pytest.mark.parametrize("name", ["", "Léa", "Айгерим Жаңабергенқызы Құнанбаева-Ермекова", "a  b", "x" * 200])
@pytest.mark.parametrize("subject", ["{name}", "Bonjour {name}", "{name} !", "  {name}  {name|a  b}  "])
def test_signatures_cover_what_was_filled_in(subject: str, name: str) -> None:
    signer = dkim.Signer(domain="courrier.example", selector="e", private_key=ed25519.Ed25519PrivateKey.generate())
    raw = copy(subject, "Bonjour {name},  ça va ?", {"name": name}, signers=(signer,))
    assert verified(raw, [signer]) == [True]


@pytest.mark.parametrize(
    "text", ["{{name}}", r"\{name}", "{7*7}", "{ name }", "{Name}", "{name.__class__}", "{}", "a{b"]
)
def test_what_is_no_field_stays_as_it_is(text: str) -> None:
    assert merge.names(text) == frozenset()
    assert merge.say(text, READER) == text.removeprefix("\\")


@given(text=st.text(alphabet="{}\\|nab ", max_size=30))
def test_a_literal_text_comes_out_unchanged(text: str) -> None:
    assert merge.say(merge.literal(text), READER) == text


def test_everybodys_copy_has_the_fallbacks() -> None:
    assert merge.say("Bonjour {name|à vous} {city}!", None) == "Bonjour à vous !"


def test_the_preferences_link_is_a_link_with_its_own_words() -> None:
    (paragraph,) = merge.paragraphs("Lisez moins : {preferences_link|vos réglages}.\nMerci {name}", READER, "fr")
    assert paragraph[1] == {"text": "vos réglages", "url": "https://lettre.example/p/x"}
    assert paragraph[2]["text"] == f".\nMerci {message.field_placeholder(NONCE, 'name', '')}"
    ((piece,),) = merge.paragraphs("{preferences_link}", READER, "ru")
    assert piece["text"] == "Изменить настройки"


def test_lines_are_wrapped_as_if_values_stood_in_them() -> None:
    text = merge.say(
        "Bonjour {name|chère lectrice, cher lecteur} de {city|chez vous}, voici nos articles de la semaine passée.",
        READER,
    )
    first, second = rendering.wrap(text).split("\n")
    assert first.endswith("de la semaine")
    assert second == "passée."
    assert f"{first} {second}" == text


def test_an_address_in_the_introduction_is_a_link() -> None:
    (paragraph,) = merge.paragraphs("Voir https://courrier.example/a?b=1&c=2.", None, "fr")
    assert [piece["url"] for piece in paragraph] == [None, "https://courrier.example/a?b=1&c=2", None]


def test_a_template_may_write_a_field_in_capitals_but_not_cut_it() -> None:
    compiled = message.compile_message(
        nonce=NONCE, headers={}, subject="S", text=merge.say("{name}", READER).upper(), html="h"
    )
    reader = message.Reader(address="a@b.example", message_id="1@b", fields={"name": "Léa"})
    assert "L=C3=A9a" in compiled.fill(reader, now=NOW).decode()
    with pytest.raises(ValueError, match="cut a placeholder"):
        message.compile_message(nonce=NONCE, headers={}, subject="S", text=merge.say("{name}", READER)[:20], html="h")


def an_issue(session: Session, *, introduction: str, subject: str = "") -> Issue:
    newsletter = a_newsletter(session)
    an_article(session, newsletter, "eau", title="L’eau", seen=NOW - timedelta(hours=1))
    (reader,) = readers(session, newsletter, 1)
    someone = session.get_one(Subscriber, reader.subscriber_id)
    attributes.change(session, someone, {"name": "Айгерим <b>", "city": "Алматы"})
    issue = issues.draft(session, newsletter, now=NOW)
    issues.edit(session, issue, subject=subject, preview_text="", introduction=introduction, now=NOW)
    return issue


def content_of(session: Session, issue: Issue) -> str:
    """What leaves for the only reader."""
    row = session.execute(select(Delivery).where(Delivery.issue_id == issue.id)).scalar_one()
    someone = session.execute(select(Subscriber)).scalar_one()
    copies.load(session, row.variant_id)
    one = deliveries.Recipient(
        delivery_id=row.id,
        variant_id=row.variant_id,
        subscription_id=row.subscription_id or 0,
        address=someone.address,
        confirmed_at=NOW,
        attempts=0,
        first_deferred_at=None,
        reason=None,
        name=someone.name,
        attributes=someone.attributes,
    )
    outgoing = copies.outgoing(copies.loaded(row.variant_id), one)
    raw = outgoing.content()
    assert len(raw) <= outgoing.size
    copies.forget()
    parsed = message_from_bytes(raw, policy=policy.default)
    return "\n".join([str(parsed["Subject"]), *(part.get_content() for part in parsed.iter_parts())])


def test_an_issue_greets_its_reader(session: Session) -> None:
    issue = an_issue(
        session, introduction="Bonjour {name|à vous}, de {city}\n\n{preferences_link|Réglages}", subject="{name}, l’eau"
    )
    issues.start(session, issue, batch_size=10, now=NOW)
    whole = content_of(session, issue)
    assert whole.startswith("Айгерим <b>, l’eau\n")
    assert "Bonjour Айгерим <b>, de Алматы" in whole
    assert "Bonjour Айгерим &lt;b&gt;, de Алматы" in whole.replace("=\n", "")
    assert ">Réglages</a>" in whole
    assert issue.web_html is not None
    assert "Bonjour à vous, de " in issue.web_html


@pytest.mark.parametrize(
    ("subject", "introduction", "named"),
    [("{citty}, l’eau", "", "{citty}"), ("", "Bonjour {prenom|toi}", "{prenom}"), ("{preferences_link}", "", "link")],
)
def test_an_unknown_field_stops_an_issue_before_anything_is_queued(
    session: Session, subject: str, introduction: str, named: str
) -> None:
    issue = an_issue(session, introduction=introduction, subject=subject)
    with pytest.raises(rendering.TemplateInvalid, match=named):
        issues.start(session, issue, batch_size=10, now=NOW)
    assert session.execute(select(func.count()).select_from(Delivery)).scalar_one() == 0


def test_a_title_with_braces_is_printed_not_read(session: Session) -> None:
    newsletter = a_newsletter(session)
    an_article(session, newsletter, "eau", title="Le modèle {nom} expliqué", seen=NOW - timedelta(hours=1))
    an_article(session, newsletter, "rail", title="{name|x}", seen=NOW - timedelta(hours=2))
    readers(session, newsletter, 1)
    issue = issues.draft(session, newsletter, now=NOW)
    issues.start(session, issue, batch_size=10, now=NOW)
    variant = session.execute(select(Variant)).scalar_one()
    assert variant.subject == "Le modèle {nom} expliqué"
    assert "Aussi : {name|x}" in variant.html.replace("\u00a0", " ")


def test_a_preview_shows_an_example_reader(session: Session) -> None:
    issue = an_issue(session, introduction="Bonjour {name}")
    issues.start(session, issue, batch_size=10, now=NOW)
    variant = session.execute(select(Variant)).scalar_one()
    assert message.field_placeholder(variant.nonce, "name", "") in variant.text
    assert merge.say("Bonjour {name}", {"name": mails.EXAMPLE_NAME}) == "Bonjour Léa Martin"


def test_attributes_are_texts_by_name(session: Session) -> None:
    an_issue(session, introduction="")
    someone = session.execute(select(Subscriber)).scalar_one()
    attributes.change(session, someone, {"city": "", "job": " maire\nadjointe "})
    assert (someone.name, someone.attributes) == ("Айгерим <b>", {"job": "maire adjointe"})
    assert attributes.in_use(session) == ["name", "preferences_link", "job"]


@pytest.mark.parametrize("name", ["", "City", "a b", "x" * 41, "preferences_link", "é"])
def test_an_attribute_with_an_odd_name_is_refused(session: Session, name: str) -> None:
    an_issue(session, introduction="")
    someone = session.execute(select(Subscriber)).scalar_one()
    with pytest.raises(attributes.AttributeInvalid):
        attributes.change(session, someone, {name: "x"})


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("Газета «Қазақ үні»", "Қазақстан су мәселесін қайта қарайды: Сырдария бойындағы егіншілер не дейді"),
        (
            "Вестник Центральной Азии",
            "Ёлка, щука и объявление: длинная тема письма, которая не помещается в одну строку",
        ),
    ],
)
def test_a_cyrillic_sender_and_subject_arrive_whole(name: str, subject: str) -> None:
    compiled = message.compile_message(
        nonce=NONCE,
        headers={"From": message.mailbox(name, "lettre@courrier.example", header="From")},
        subject=subject,
        text="t",
        html="h",
    )
    raw = compiled.fill(message.Reader(address="a@b.example", message_id="1@b.example"), now=NOW)
    parsed = message_from_bytes(raw)
    assert str(make_header(decode_header(parsed["Subject"]))) == subject
    assert str(make_header(decode_header(parsed["From"]))) == f"{name} <lettre@courrier.example>"
    assert max(len(line) for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")) <= 76
