"""The articles of an issue before it is sent: their order, their layout, which are out, which are added."""

from fastapi import APIRouter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer.db import transaction
from mailer.feeds import urls
from mailer.issues import bodies, handwriting, issues, markdown, selection
from mailer.issues.markdown import BodyInvalid
from mailer.models.content import Article, Feed, Issue, Layout, NewsletterFeed
from mailer.models.intake import ArticleStatus
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

Entries = list[tuple[Article, Layout]]


@router.post("/articles")
def arrange(desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Move, exclude, add or lay out one article."""
    with transaction() as database:
        issue = composing.open_for(database, desk, issue_id)
        before = composing.in_order(issues.placed(database, issue_id))
        after = _changed(database, desk, before, issue)
        if after != before:
            issues.arrange(database, issue, after, now=desk.now)
    if desk.typed("act") == "exclude" and len(after) < len(before):
        return screens.back(f"/admin/issues/{issue_id}", done="excluded", was=_where(before, desk.typed("article")))
    return screens.back(f"/admin/issues/{issue_id}", done="arranged")


@router.post("/automatic")
def arrange_automatically(desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Choose and order the articles anew, as if the issue were made now."""
    with transaction() as database:
        issue = composing.open_for(database, desk, issue_id)
        chosen = selection.select_articles(database, issue.newsletter, now=desk.now).chosen
        articles = [(choice.article, choice.layout) for choice in chosen if choice.layout is not None]
        issues.arrange(database, issue, articles, now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="automatic")


@router.post("/add")
def add(desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Add an article by its address; its page is read if no feed gave it. Talks to the network."""
    typed, path = desk.typed("address"), f"/admin/issues/{issue_id}"
    if urls.web_address(typed) is None:
        return screens.back(path, done="no-address")
    text = f"[[article {typed}]]"
    try:
        with transaction() as database:
            newsletter_id = composing.open_for(database, desk, issue_id).newsletter_id
        handwriting.look_up(newsletter_id, text)
        with transaction() as database:
            issue = composing.open_for(database, desk, issue_id)
            before = composing.in_order(issues.placed(database, issue_id))
            (found, _), *_ = bodies.articles(database, issue.newsletter, markdown.parse(text))
            if found.id in {article.id for article, _ in before}:
                return screens.back(path, done="there-already")
            issues.arrange(database, issue, composing.in_order([*before, (found, Layout.CARD)]), now=desk.now)
    except BodyInvalid:
        return screens.back(path, done="no-article")
    return screens.back(path, done="added")


def _changed(database: Session, desk: session.Desk, placed: Entries, issue: Issue) -> Entries:
    act, article_id = desk.typed("act"), desk.typed("article")
    index = next((at for at, (article, _) in enumerate(placed) if str(article.id) == article_id), None)
    if index is None:
        return _added(database, desk, placed, issue, article_id) if act in ("add", "restore") else placed
    if act == "exclude":
        return placed[:index] + placed[index + 1 :]
    if act in ("up", "down"):
        other = index - 1 if act == "up" else index + 1
        if other in range(len(placed)) and placed[other][1] == placed[index][1]:
            placed = list(placed)
            placed[index], placed[other] = placed[other], placed[index]
        return placed
    if act == "place":
        return _put(placed, index, _number(desk.typed("place")) - 1)
    if act == "layout" and desk.typed("layout") in tuple(Layout):
        return _laid_out(placed, index, Layout(desk.typed("layout")))
    return placed


def _put(placed: Entries, index: int, place: int) -> Entries:
    """Put an article where another stands, with that one's layout; where the lead stands, it becomes the lead."""
    if place not in range(len(placed)):
        return placed
    layout = placed[place][1]
    if layout == Layout.LEAD:
        return _laid_out(placed, index, Layout.LEAD)
    moved = list(placed)
    article, _ = moved.pop(index)
    moved.insert(place, (article, layout))
    return composing.in_order(moved)


def _laid_out(placed: Entries, index: int, wanted: Layout) -> Entries:
    """Give one article a layout; there is one lead, so the old one becomes a card."""
    changed = [
        (article, Layout.CARD if wanted == Layout.LEAD and layout == Layout.LEAD else layout)
        for article, layout in placed
    ]
    changed[index] = (placed[index][0], wanted)
    return composing.in_order(changed)


def _added(database: Session, desk: session.Desk, placed: Entries, issue: Issue, article_id: str) -> Entries:
    """Add an article of the newsletter's feeds at the end, or where it stood before it was excluded."""
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == issue.newsletter_id)
    by_hand = select(Feed.id).where(Feed.url == handwriting.FEED_URL)
    chosen = (Article.id == _number(article_id), Article.status == ArticleStatus.READY)
    ours = or_(Article.feed_id.in_(drawn), Article.feed_id.in_(by_hand))
    found = database.execute(select(Article).where(*chosen, ours)).scalar_one_or_none()
    if found is None or found.canonical_url in {article.canonical_url for article, _ in placed}:
        return placed
    layout = Layout(desk.typed("layout")) if desk.typed("layout") in tuple(Layout) else Layout.CARD
    place = _number(desk.typed("place")) if desk.typed("act") == "restore" else len(placed)
    if layout == Layout.LEAD:
        return _laid_out([*placed, (found, Layout.CARD)], len(placed), Layout.LEAD)
    return composing.in_order([*placed[:place], (found, layout), *placed[place:]])


def _where(placed: Entries, article_id: str) -> str:
    """Write where an article stood, for the button that undoes its exclusion: "812.3.card"."""
    for at, (article, layout) in enumerate(placed):
        if str(article.id) == article_id:
            return f"{article_id}.{at}.{layout}"
    return ""


def _number(typed: str) -> int:
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 19 else 0
