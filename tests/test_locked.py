"""Articles for paying readers: marked in words, their teaser shown, their text nowhere."""

import json
from datetime import timedelta

import pytest
from lxml import html as lxml_html
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import intake
from mailer.feeds import parse
from mailer.i18n import LANGUAGES
from mailer.issues import issues, variants
from mailer.mail import mails
from mailer.models.content import Article, Layout, Newsletter
from tests.factories import NOW, a_newsletter, the_feed

URL = "https://courrier.example/feed"
SOLD = "Ce que le site vend"
MARKS = {
    "fr": "Réservé aux abonnés",
    "en": "For paying readers",
    "ru": "По платной подписке",
    "kk": "Ақылы жазылыммен",
}
BODY = f"<p>{SOLD}.</p><img src='https://courrier.example/sold.jpg' alt='{SOLD}' width='800'>"
RSS = (
    "<rss xmlns:content='http://purl.org/rss/1.0/modules/content/'><channel><item><title>L’eau</title><guid>1</guid>"
    "<link>https://courrier.example/eau</link><description>Le chapeau.</description><category>Abonnés</category>"
    f"<category>Politique</category><content:encoded><![CDATA[{BODY}]]></content:encoded></item></channel></rss>"
)
ATOM = (
    "<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>1</id><title>L’eau</title><category term='Premium'/>"
    "<link href='https://courrier.example/eau'/><summary>Le chapeau.</summary>"
    f"<content type='html'><![CDATA[{BODY}]]></content></entry></feed>"
)
JSON_FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "x",
        "items": [
            {"id": "1", "url": "https://courrier.example/eau", "title": "L’eau", "summary": "Le chapeau."}
            | {"content_html": BODY, "content_text": SOLD, "_paywall": True}
        ],
    }
)


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


@pytest.mark.parametrize("document", [RSS, ATOM, JSON_FEED])
def test_nothing_of_what_is_sold_is_kept_or_mailed(session: Session, newsletter: Newsletter, document: str) -> None:
    article = store(session, newsletter, document)
    assert article.is_locked
    kept = {column.name: getattr(article, column.name) for column in Article.__table__.columns}
    assert SOLD not in repr(kept)
    assert "sold.jpg" not in repr(kept)
    for language in LANGUAGES:
        assert SOLD not in "".join(made(session, newsletter, language))


def test_the_mark_stands_in_words_in_mail_text_and_web_version(session: Session, newsletter: Newsletter) -> None:
    store(session, newsletter, RSS)
    for language in LANGUAGES:
        html, text, web = made(session, newsletter, language)
        assert MARKS[language] in html
        assert MARKS[language] in text
        assert MARKS["fr"] in web
        assert all("Le chapeau." in part for part in (html, text, web))


@pytest.mark.parametrize("layout", list(Layout))
def test_every_layout_has_the_mark(session: Session, newsletter: Newsletter, layout: Layout) -> None:
    store(session, newsletter, RSS)
    for part in made(session, newsletter, "fr", layout=layout):
        assert MARKS["fr"] in part


def test_the_sign_says_nothing_to_those_who_listen(session: Session, newsletter: Newsletter) -> None:
    store(session, newsletter, RSS)
    document = lxml_html.document_fromstring(made(session, newsletter, "fr")[0].encode())
    (sign,) = document.xpath("//span[contains(text(), '🔒')]")
    assert sign.get("aria-hidden") == "true"
    assert sign.getparent().text_content().endswith(MARKS["fr"])


def test_an_article_for_everybody_has_no_mark(session: Session, newsletter: Newsletter) -> None:
    store(session, newsletter, RSS.replace("Abonnés", "Eau"))
    assert MARKS["fr"] not in "".join(made(session, newsletter, "fr"))


def test_the_mark_of_a_feed_is_no_section(session: Session, newsletter: Newsletter) -> None:
    """Its category only says who may read it."""
    store(session, newsletter, RSS)
    document = lxml_html.document_fromstring(made(session, newsletter, "fr", layout=Layout.CARD)[0].encode())
    assert [one.text_content() for one in document.xpath("//h2")] == ["Politique"]


def store(session: Session, newsletter: Newsletter, document: str) -> Article:
    """Let the newsletter's feed tell it."""
    parsed = parse.parse(document.encode(), content_type=None, url=URL)
    intake.store(session, the_feed(session, newsletter).id, parsed.articles, is_whole=True, now=NOW)
    return session.execute(select(Article)).scalar_one()


def made(
    session: Session, newsletter: Newsletter, language: str, *, layout: Layout = Layout.LEAD
) -> tuple[str, str, str]:
    """Render an issue of all articles: HTML, text, and the web version, which is in the newsletter's own language."""
    later = NOW + timedelta(hours=1)
    (draft,) = issues.latest(session, newsletter.id, limit=1) or [issues.draft(session, newsletter, now=later)]
    issue = issues.get(session, draft.id)
    content = variants.edition(session, issue, [(one, layout) for one, _ in issues.placed(session, issue.id)])
    mail = mails.preview(newsletter, issue, content, language, now=later)
    return mail.html, mail.text, mails.web_version(newsletter, issue, content, now=later)
