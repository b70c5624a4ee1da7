"""Issues written by hand: from Markdown to what each reader gets, and what is noted of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as some
from lxml.html import fragment_fromstring
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.audience import subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.issues import gate, handwriting, issues, markdown, variants
from mailer.issues.findings import Code
from mailer.issues.handwriting import Draft
from mailer.issues.markdown import BodyInvalid, Problem
from mailer.mail import message
from mailer.models.audience import Subscription
from mailer.models.choices import Place, Rhythm, VariantArticle
from mailer.models.content import Issue, Layout, Newsletter, Variant
from mailer.models.deliveries import Delivery
from mailer.models.intake import ArticleStatus
from tests.factories import NOW, a_newsletter, an_article, readers

DAY = timedelta(days=1)
LATER = NOW + DAY


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


def write(session: Session, newsletter: Newsletter, body: str, **others: object) -> Issue:
    wanted = Draft(subject="Le numéro spécial", body=body, **others)
    return handwriting.draft(session, newsletter, wanted, now=NOW)


def send(session: Session, issue: Issue) -> Issue:
    issues.start(session, issue, batch_size=10, now=LATER)
    session.expire_all()
    return issues.get(session, issue.id)


def variant(session: Session, issue: Issue, language: str = "fr") -> Variant:
    chosen = (Variant.issue_id == issue.id, Variant.language == language)
    return session.execute(select(Variant).where(*chosen)).scalar_one()


def recipients(session: Session, issue: Issue) -> set[int | None]:
    return set(session.execute(select(Delivery.subscription_id).where(Delivery.issue_id == issue.id)).scalars())


def problem(session: Session, newsletter: Newsletter, body: str) -> tuple[Problem, dict[str, object]]:
    with pytest.raises(BodyInvalid) as caught:
        write(session, newsletter, body)
    return caught.value.problem, caught.value.values


def want(session: Session, reader: Subscription, **wanted: object) -> None:
    wish = replace(wishes.of(reader), **wanted)
    wishes.choose(session, reader.id, wish, origin=Origin(), now=NOW)


# --- what is written


def test_a_text_with_articles_becomes_the_mail_in_its_order(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    eau, rail = (an_article(session, newsletter, slug) for slug in ("eau", "rail"))
    body = f"# Bonjour\n\nUn **mot** d’abord.\n\n[[article {eau.id} lead]]\nPuis ceci :\n\n[[article {rail.url} brief]]"
    made = variant(session, send(session, write(session, newsletter, body, preview_text="Aperçu")))
    for part in (made.html, made.text):
        places = [part.index(one) for one in ("Bonjour", "d’abord", "Le titre de eau", "Puis ceci", "Le titre de rail")]
        assert places == sorted(places)
    assert "<strong>mot</strong>" in made.html
    assert "Un mot d’abord." in made.text
    assert made.subject == "Le numéro spécial"


def test_no_feed_and_no_article_is_needed(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = send(session, write(session, newsletter, "Seulement des mots."))
    assert issue.recipients == 1
    assert "Seulement des mots." in variant(session, issue).text
    assert "Seulement des mots." in (issue.web_html or "")


def test_links_lead_to_the_site_and_stand_alone_in_the_text(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    made = variant(session, send(session, write(session, newsletter, "Lire [la suite](/suite?a=1&b=2) ici.")))
    assert 'href="https://courrier.example/suite?a=1&amp;b=2"' in made.html
    assert "Lire la suite ici.\nhttps://courrier.example/suite?a=1&b=2\n" in made.text


def test_merge_fields_in_the_text_are_filled_for_each_reader(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = send(session, write(session, newsletter, "Bonjour *{name|chère lectrice}*, {preferences_link|vos choix}."))
    made = variant(session, issue)
    field = message.field_placeholder(made.nonce, "name", "chère lectrice")
    assert f"<em>{field}</em>" in made.html
    assert field in made.text
    assert ">vos choix</a>" in made.html
    assert "Bonjour <em>chère lectrice</em>" in (issue.web_html or "")


def test_a_field_that_nobody_has_is_refused_before_anything_is_sent(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = write(session, newsletter, "À {ville|vous}.")
    with pytest.raises(Exception, match="ville"):
        send(session, issue)


def test_the_frame_is_in_each_readers_language_and_the_text_as_it_was_written(
    session: Session, newsletter: Newsletter
) -> None:
    readers(session, newsletter, 1)
    for address, language in (("en@example.org", "en"), ("ru@example.org", "ru"), ("kk@example.org", "kk")):
        subscriptions.add(session, newsletter, address, language=language, proof="test", now=NOW)
    issue = send(session, write(session, newsletter, "Un mot."))
    frames = {"fr": "Se désinscrire", "en": "Unsubscribe", "ru": "Отписаться", "kk": "Жазылымнан"}
    for language, word in frames.items():
        made = variant(session, issue, language)
        assert (word in made.html, "Un mot." in made.text) == (True, True), language


def test_the_checks_find_nothing_that_blocks(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    eau = an_article(session, newsletter, "eau")
    body = f"## Bonjour\n\n- un\n- [deux](https://courrier.example/deux)\n\n> cité\n\n***\n\n[[article {eau.id}]]"
    issue = send(session, write(session, newsletter, body))
    assert [one.words for one in gate.of_issue(issue) if one.severity == "block"] == []


def test_what_the_text_leads_to_is_known_before_it_leaves(session: Session, newsletter: Newsletter) -> None:
    parts = markdown.parse('[a](/a) et [b](https://b.example/?x=1 "t") ![c](/c.jpg) [d](mailto:d@d.example) [a](/a)')
    assert markdown.addresses(parts, "https://s.example") == ["https://s.example/a", "https://b.example/?x=1"]
    assert markdown.images(parts, "https://s.example") == ["https://s.example/c.jpg"]


# --- hostile text

HOSTILE = (
    "[x](javascript:alert(1)) [y](data:text/html;base64,AAAA) [z](vbscript:x) ![p](data:image/png;base64,AAAA)\n\n"
    "<script>alert(2)</script><img src=x onerror=alert(3)> <a href='javascript:alert(4)'>a</a>\n\n"
    "<div style='position:fixed'>\n\n{{7*7}} {% for x in y %} {{ reader.address }} {{ ''.__class__ }}\n\n"
    "[ref]: javascript:alert(5)\n\n[ref] &lt;script&gt; &#106;avascript:alert(6)\n\n<javascript:alert(7)>"
)


def test_hostile_text_stays_inert(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue = write(session, newsletter, HOSTILE)
    # Of themselves the checks would hold it back: it looks like a template that was not filled in.
    issues.let_pass(session, issue, tuple(Code), now=NOW)
    made = variant(session, send(session, issue))
    words = made.html[made.html.index("[x]") - 200 :]
    for tag in ("<script", '<div style="position', "onerror=alert(3)>", 'href="javascript', 'src="data', 'href="data'):
        assert tag not in words, tag
    assert "{{7*7}}" in made.html
    assert "{{7*7}}" in made.text
    assert "49" not in made.text.split("--")[0]


PIECES = (
    *(
        "[x](",
        "](",
        ")",
        "[",
        "]",
        "!",
        "<",
        ">",
        "</",
        "<a href=",
        "<img src=x onerror=",
        "javascript:",
        "data:text/html,",
    ),
    *(
        "\n",
        "\n\n",
        "> ",
        "- ",
        "1. ",
        "```",
        "`",
        "**",
        "_",
        "~~",
        "# ",
        "|",
        "\\",
        "&lt;",
        "&#x6a;",
        "&",
        '"',
        "'",
        "(",
    ),
    *("{name}", "{name|", "}", "{{7*7}}", "{preferences_link|x}", "[[article 1]]", "[[article", "https://a.example/"),
    *("\0", "\t", "    ", "é", "\u202e", "mot", " ", ":", "[r]: "),
)


@given(some.lists(some.sampled_from(PIECES), max_size=40).map("".join))
def test_whatever_is_written_is_well_formed_and_harmless(body: str) -> None:
    setting = markdown.Setting(
        reader={"name": "<b>Léa</b>", "preferences_url": "https://p.example"},
        language="fr",
        base="https://s.example",
        images={},
    )
    try:
        parts = markdown.parse(body)
    except BodyInvalid:
        return
    for part in parts:
        if isinstance(part, markdown.Passage):
            markdown.text(part, setting)
            said = markdown.html(part, setting)
            assert nh3.clean(said, url_schemes={"http", "https", "mailto"}, link_rel=None) == said
            root = fragment_fromstring(said, create_parent="div")
            assert not {node.tag for node in root.iter()} & {"script", "style", "img", "iframe", "b"}
            for node in root.iter("a"):
                assert (node.get("href") or "https:").startswith(("https:", "http:", "mailto:"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", Problem.EMPTY),
        (" \n\t\n", Problem.EMPTY),
        ("é" * 100_001, Problem.TOO_LONG),
        ("\n".join(f"[[article {n}]]" for n in range(101)), Problem.TOO_MANY_BLOCKS),
        ("[" * 20_000, Problem.TOO_MANY_BRACKETS),
        ("Un mot\n" + "> " * 25 + "profond", Problem.TOO_DEEP),
    ],
)
def test_a_text_that_can_be_no_issue_is_refused(
    session: Session, newsletter: Newsletter, body: str, expected: Problem
) -> None:
    assert problem(session, newsletter, body)[0] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[[article 999999]]", Problem.UNKNOWN),
        ("[[article https://courrier.example/inconnu]]", Problem.UNKNOWN),
        ("[[article]]", Problem.NOT_READ),
        ("[[article douze]]", Problem.NOT_READ),
        ("[[article 12 huge]]", Problem.NOT_READ),
        ("[[article javascript:alert(1)]]", Problem.NOT_READ),
    ],
)
def test_an_article_that_is_none_is_told_by_its_line(
    session: Session, newsletter: Newsletter, line: str, expected: Problem
) -> None:
    found, values = problem(session, newsletter, f"Un mot.\n\nUn autre.\n{line}\nEt la fin.")
    assert (found, values["line"]) == (expected, 4)


def test_an_article_twice_or_withdrawn_is_refused(session: Session, newsletter: Newsletter) -> None:
    eau = an_article(session, newsletter, "eau")
    found, values = problem(session, newsletter, f"[[article {eau.id}]]\n\n[[article {eau.url}]]")
    assert (found, values["line"]) == (Problem.TWICE, 3)
    eau.status, eau.status_code = ArticleStatus.HELD, "held_by_hand"
    session.flush()
    assert problem(session, newsletter, f"[[article {eau.id}]]")[0] == Problem.NOT_READY


def test_inside_code_and_quotes_a_block_is_only_text(session: Session, newsletter: Newsletter) -> None:
    parts = markdown.parse("```\n[[article 1]]\n```\n\n> [[article 2]]\n\n- [[article 3]]\n\n    [[article 4]]")
    assert [type(one).__name__ for one in parts] == ["Passage"]


def test_a_text_that_is_refused_changes_nothing(session: Session, newsletter: Newsletter) -> None:
    eau = an_article(session, newsletter, "eau")
    issue = write(session, newsletter, f"Un mot.\n\n[[article {eau.id}]]")
    with pytest.raises(BodyInvalid):
        handwriting.rewrite(session, issue, "[[article 999999]]", now=LATER)
    assert (issue.body, issue.updated_at) == (f"Un mot.\n\n[[article {eau.id}]]", NOW)
    assert [one.id for one, _ in issues.placed(session, issue.id)] == [eau.id]


def test_an_issue_of_articles_has_no_text_and_one_of_text_is_not_arranged(
    session: Session, newsletter: Newsletter
) -> None:
    eau = an_article(session, newsletter, "eau")
    automatic = issues.draft(session, newsletter, now=LATER)
    with pytest.raises(issues.IssueStateForbids):
        handwriting.rewrite(session, automatic, "Un mot.", now=LATER)
    with pytest.raises(issues.IssueStateForbids):
        issues.arrange(session, write(session, newsletter, "Un mot."), [(eau, Layout.CARD)], now=LATER)


# --- who gets it


def test_it_goes_to_everybody_who_has_not_paused_whatever_they_chose(session: Session, newsletter: Newsletter) -> None:
    lea, tom, ann = readers(session, newsletter, 3)
    an_article(session, newsletter, "eau")
    send(session, issues.draft(session, newsletter, now=NOW + timedelta(hours=1)))
    want(session, lea, rhythm=Rhythm.MONTHLY)
    want(session, tom, paused_until=NOW + 9 * DAY)
    issue = send(session, write(session, newsletter, "Un mot."))
    assert recipients(session, issue) == {lea.id, ann.id}
    assert issue.readers_not_due == 1


def test_it_keeps_to_the_readers_rhythm_if_it_is_told_to(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    an_article(session, newsletter, "eau")
    send(session, issues.draft(session, newsletter, now=NOW + timedelta(hours=1)))
    want(session, lea, rhythm=Rhythm.MONTHLY)
    issue = send(session, write(session, newsletter, "Un mot.", respects_rhythm=True))
    assert recipients(session, issue) == {tom.id}


def given_to(session: Session, reader: Subscription) -> Sequence[int]:
    return (
        session.execute(
            select(VariantArticle.article_id)
            .join(Delivery, Delivery.variant_id == VariantArticle.variant_id)
            .where(Delivery.subscription_id == reader.id, VariantArticle.place == Place.GIVEN)
        )
        .scalars()
        .all()
    )


def test_its_articles_count_as_given_and_come_no_second_time(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    eau, rail = (an_article(session, newsletter, slug) for slug in ("eau", "rail"))
    send(session, write(session, newsletter, f"Un mot.\n\n[[article {eau.id}]]"))
    assert given_to(session, lea) == [eau.id]
    issue = issues.draft(session, newsletter, now=LATER)
    assert [one.id for one, _ in issues.placed(session, issue.id)] == [rail.id]


def test_a_readers_window_stays_open_for_the_next_issue(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    want(session, lea, rhythm=Rhythm.WEEKLY)
    send(session, write(session, newsletter, "Un mot."))
    an_article(session, newsletter, "eau", seen=NOW)
    issue = send(session, issues.draft(session, newsletter, now=LATER))
    assert recipients(session, issue) == {lea.id}


def test_an_article_that_is_withdrawn_before_it_leaves_is_left_out(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    eau = an_article(session, newsletter, "eau")
    issue = write(session, newsletter, f"Un mot.\n\n[[article {eau.id}]]")
    eau.status, eau.status_code = ArticleStatus.HELD, "held_by_hand"
    session.flush()
    made = variant(session, send(session, issue))
    assert ("Un mot." in made.text, "Le titre de eau" in made.text) == (True, False)


def test_the_preview_shows_the_same(session: Session, newsletter: Newsletter) -> None:
    eau = an_article(session, newsletter, "eau")
    issue = write(session, newsletter, f"Un mot.\n\n[[article {eau.id}]]")
    content = variants.edition(session, issue, issues.placed(session, issue.id))
    assert [one.id for one, _ in content.placed] == [eau.id]
    assert issue.preview_text == "Un mot."


def test_the_first_words_below_the_heading_are_the_preview_text(session: Session, newsletter: Newsletter) -> None:
    issue = write(session, newsletter, "# Le titre\n\n[Un lien](https://x.example) et *la suite*.")
    assert issue.preview_text == "Un lien et la suite."
    assert write(session, newsletter, "Un mot.", preview_text="Aussi").preview_text == "Aussi"
