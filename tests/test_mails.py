"""From articles to what a mail shows of them."""

from datetime import timedelta

import pytest
from lxml import html as lxml_html
from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.feeds.text import shorten
from mailer.issues import corrections, issues, variants
from mailer.mail import mails
from mailer.models.content import Layout, Newsletter
from tests.factories import NOW, a_newsletter, an_article

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


def preview(session: Session, newsletter: Newsletter, layout: Layout | None = None) -> mails.Preview:
    """The next issue, each article in one layout if it is given."""
    issue = issues.get(session, issues.draft(session, newsletter, now=LATER).id)
    placed = [(article, layout or planned) for article, planned in issues.placed(session, issue.id)]
    return mails.preview(newsletter, issue, variants.edition(session, issue, placed), "fr", now=LATER)


def test_articles_without_a_topic_stand_under_the_last_section(session: Session, newsletter: Newsletter) -> None:
    topics.put(session, newsletter, "eau", names={"fr": "Eau"}, rules={"categories": ["Eau"]})
    for slug, category in [("a", "Rail"), ("b", "Eau"), ("c", "Sport"), ("d", "Eau")]:
        an_article(session, newsletter, slug, topics=[category])
    document = lxml_html.document_fromstring(preview(session, newsletter, Layout.CARD).html.encode())
    shown = [one.text_content().strip() for one in document.xpath("//h2 | //h3")]
    assert shown == ["Eau", "Le titre de b", "Le titre de d", "À lire aussi", "Le titre de a", "Le titre de c"]


def test_a_card_has_room_for_less_than_the_lead(session: Session, newsletter: Newsletter) -> None:
    words = "Le fleuve se mesure en pas, et l’an dernier il en fallait quarante pour aller de la digue à l’eau. "
    an_article(session, newsletter, "a", excerpt=(words * 3).strip())
    for layout, sentences in [(Layout.LEAD, 2), (Layout.CARD, 1)]:
        shown = preview(session, newsletter, layout)
        assert shown.text.count("se mesure en pas") == sentences
        # Once more before the mail proper: the preview text.
        assert shown.html.count("se mesure en pas") == sentences + 2


def test_a_long_title_is_cut_between_words_in_the_subject(session: Session, newsletter: Newsletter) -> None:
    an_article(session, newsletter, "a", title="Le mot {name} " * 21)
    subject = preview(session, newsletter).subject
    assert subject.endswith("…")
    assert subject.startswith("Le mot {name} Le mot {name}")
    assert len(subject) <= variants.SUBJECT_LENGTH


def test_what_an_editor_writes_keeps_its_no_break_spaces(session: Session, newsletter: Newsletter) -> None:
    article = an_article(session, newsletter, "a", title="Eau\u00a0: « l’accord » à 7\u00a0h")
    issue = issues.get(session, issues.draft(session, newsletter, now=LATER).id)
    written = issue.subject
    issues.edit(session, issue, subject=f" {written}\n", preview_text="Dès 7\u00a0h\u00a0!", introduction="", now=LATER)
    assert (issue.subject, issue.preview_text) == (written, "Dès 7\u00a0h\u00a0!")
    assert (
        corrections.write(session, article.id, "Non\u00a0: 2\u00a0212 km", by="x", now=LATER).note.count("\u00a0") == 2
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Court.", "Court."),
        ("La digue tient. Le fleuve monte encore un peu plus.", "La digue tient."),
        ("Selon M. Durand et Mme Li, le fleuve monte encore.", "Selon M. Durand…"),
        ("Il monte de 2.5 mètres, et même un peu plus encore.", "Il monte de 2.5 mètres…"),
        ("« Il monte vraiment ! » Puis rien, ou presque rien.", "« Il monte vraiment ! »"),
        ("Вода уходит опять. Саксаул растёт на дне моря давно.", "Вода уходит опять."),
        ("Oui. Le fleuve monte encore un peu plus chaque jour.", "Oui. Le fleuve monte encore…"),
    ],
)
def test_a_summary_is_shortened_to_whole_sentences_if_that_leaves_enough(words: str, shown: str) -> None:
    assert shorten(words, 29).replace("\u00a0", " ") == shown
