"""The text of an issue that is written by hand, and the database: which articles and pictures its lines stand for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from mailer import links
from mailer.articles import pictures
from mailer.feeds import urls
from mailer.issues import contents, markdown
from mailer.issues.contents import Content
from mailer.issues.markdown import ArticleBlock, BodyInvalid, Image, Passage, Problem
from mailer.models.content import Article, Issue, Layout, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus
from mailer.models.pictures import Picture

Parts = Sequence[Passage | ArticleBlock]
Described = Callable[[Article, Layout], dict[str, object]]

_WIDEST_FIRST: Final = (Layout.LEAD, Layout.CARD)


def articles(session: Session, newsletter: Newsletter, parts: Parts) -> list[tuple[Article, Layout]]:
    """Return the articles that a text holds, in its order. Raises BodyInvalid, which names the line."""
    found: list[tuple[Article, Layout]] = []
    seen: set[str] = set()
    for block in _blocks(parts):
        article = find(session, newsletter, block)
        if article is None:
            raise BodyInvalid(Problem.UNKNOWN, line=block.line, article=block.name)
        if article.status != ArticleStatus.READY:
            raise BodyInvalid(Problem.NOT_READY, line=block.line, article=block.name)
        if article.canonical_url in seen:
            raise BodyInvalid(Problem.TWICE, line=block.line, article=block.name)
        seen.add(article.canonical_url)
        found.append((article, block.layout))
    return found


def find(session: Session, newsletter: Newsletter, block: ArticleBlock) -> Article | None:
    """Return the article that a line stands for; of several with its address, the newsletter's own first."""
    if block.number is not None:
        return session.get(Article, block.number)
    address = str(block.url)
    own = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    statement = (
        select(Article)
        .where(or_(Article.canonical_url == urls.canonical_url(address), Article.url == address))
        .order_by((Article.status == ArticleStatus.READY).desc(), Article.feed_id.in_(own).desc(), Article.id)
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def unknown(session: Session, newsletter: Newsletter, parts: Parts) -> list[ArticleBlock]:
    """List the lines with addresses that no article has."""
    return [one for one in _blocks(parts) if one.url and find(session, newsletter, one) is None]


def images(session: Session, newsletter: Newsletter, body: str) -> Mapping[str, Picture]:
    """Return the pictures in the words of a text, as far as they were entered, by address."""
    return contents.images(session, markdown.images(markdown.parse(body), newsletter.site_url))


def blocks(
    issue: Issue, content: Content, language: str, reader: Mapping[str, object] | None, described: Described
) -> list[dict[str, object]]:
    """Return what templates see of a text, in order: {"html", "text"} of words, or {"article", "layout"}.

    An article that `content` does not hold (any more) is left out.
    """
    if issue.body is None:
        return []
    setting = markdown.Setting(
        reader=reader, language=language, base=issue.newsletter.site_url, images=_shown(content.images)
    )
    made: list[dict[str, object]] = []
    for part in markdown.parse(issue.body):
        if isinstance(part, Passage):
            words = {"html": markdown.html(part, setting), "text": markdown.text(part, setting)}
            made.append({**words, "article": None, "layout": None})
            continue
        entry = next((one for one in content.placed if _is_meant(part, one[0])), None)
        if entry is not None:
            made.append({"html": "", "text": "", "article": described(*entry), "layout": entry[1].value})
    return made


def _blocks(parts: Parts) -> list[ArticleBlock]:
    return [one for one in parts if isinstance(one, ArticleBlock)]


def _is_meant(block: ArticleBlock, article: Article) -> bool:
    if block.number is not None:
        return article.id == block.number
    return urls.canonical_url(str(block.url)) in (article.canonical_url, urls.canonical_url(article.url))


def _shown(found: Mapping[str, Picture]) -> dict[str, Image]:
    shown: dict[str, Image] = {}
    for address, picture in found.items():
        for layout in _WIDEST_FIRST:
            file = pictures.shown(picture, layout)
            if file is not None:
                shown[address] = Image(url=links.url(file.path), width=file.width, height=file.height)
                break
    return shown
