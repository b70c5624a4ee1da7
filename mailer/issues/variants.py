"""Variants: an issue as each group of readers gets it, by language, topics, rhythm and what they have had already.

Thousands of readers share a few dozen variants; each is put together once and rendered once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import structlog
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from mailer import i18n
from mailer.articles import topics
from mailer.feeds.articles import says_locked
from mailer.feeds.text import cut
from mailer.issues import contents, corrections, grouping, handmade, selection
from mailer.issues.contents import Content, Erratum, Placed
from mailer.issues.grouping import Group, Held
from mailer.issues.selection import Candidate, Pool, View
from mailer.mail import mails, merge
from mailer.models.choices import Overflow, Place, VariantArticle
from mailer.models.content import Article, Issue, Layout, Variant
from mailer.models.corrections import VariantCorrection
from mailer.newsroom import newsletters

# Beyond it the rarest choices of topics are widened to all topics, so that an issue is rendered in time.
MOST: Final = 200
SUBJECT_LENGTH: Final = 200
PREVIEW_LENGTH: Final = 200
_FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

T = TypeVar("T", int, str)

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a group gets: articles with their layout, those beyond for which there was no room, and corrections, by id."""

    placed: Placed
    beyond: Sequence[Article]
    # The corrections of its box.
    owed: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The variants of an issue: that of the edition by language, and how many readers get nothing for which reason."""

    edition: Content
    editions: Mapping[str, int]
    not_due: int
    without_news: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the variants of one issue are made from. `had` and `carried`: canonical addresses by variant."""

    issue: Issue
    placed: Placed
    pool: Pool
    view: View
    had: Mapping[int, frozenset[str]]
    carried: Mapping[int, frozenset[str]]
    errata: Sequence[Erratum] = ()


def freeze(session: Session, issue: Issue, placed: Placed, *, now: datetime, most: int = MOST) -> Frozen:
    """Sort an issue's readers into groups, and render what each of them gets. Its articles are `placed`.

    `most` is a number of variants. Raises TemplateInvalid or InliningFailed.
    """
    if issue.body is not None:
        written = handmade.content(session, issue, placed)
        by_language, not_due = handmade.freeze(session, issue, written, now=now)
        return Frozen(edition=written, editions=by_language, not_due=not_due, without_news=0)
    until = issue.window_end or now
    view = selection.edition_view(session, issue.newsletter, at=_FOREVER, before=issue.id)
    grouping.gather(session, issue, start=view.start, until=until, now=now)
    plan = _plan(session, issue, placed, view, until=until)
    owed = corrections.note_owed(session, issue, start=view.start, now=now)
    plan = replace(plan, errata=contents.errata(session, owed))
    edition = edition_share(plan)
    own = issue.newsletter.language
    # The newsletter's own language first: it is what readers of a language that has no edition get.
    languages = [own, *(one for one in grouping.ordinary_languages(session, issue.newsletter_id) if one != own)]
    rendered_anyway = {_key(one, (), edition) for one in languages}
    shares = _shares(plan, grouping.groups(session), rendered_anyway, most=most)
    writer = _Writer(session, plan, now)
    editions = {language: writer.variant(language, (), edition, is_edition=True) for language in languages}
    grouping.assign(session, [(group, writer.variant(group.language, told, share)) for group, told, share in shares])
    counts = grouping.count_left_aside(session)
    return Frozen(
        edition=content(plan, own, (), edition),
        editions=editions,
        not_due=counts["not_due"],
        without_news=counts["without_news"],
    )


def wait_for_others(session: Session) -> None:
    """Wait until no other issue is being frozen, and keep others waiting: each must see what the one before gave whom."""
    grouping.wait_for_others(session)


def advance(session: Session, issue: Issue, *, now: datetime) -> None:
    """Move on the windows of the readers who were given this issue, after their deliveries were written down.

    One that is written by hand has no window.
    """
    if issue.body is not None:
        return
    last = newsletters.last_issue(session, issue.newsletter_id, before=issue.id)
    start = last.window_end if last and last.window_end else issue.newsletter.created_at
    grouping.advance(session, start=start, until=issue.window_end or now, now=now)


def edition(session: Session, issue: Issue, placed: Placed) -> Content:
    """Return the edition of an issue that is not sent yet, for a preview."""
    return of_group(session, issue, placed, None, frozenset())


def of_group(session: Session, issue: Issue, placed: Placed, group: Group | None, had: frozenset[str]) -> Content:
    """Return what a group who had these addresses would get of an issue that is not sent yet; None: the edition."""
    if issue.body is not None:
        return handmade.content(session, issue, placed)
    view = selection.edition_view(session, issue.newsletter, at=_FOREVER)
    until = issue.window_end or issue.updated_at
    start = min(view.start, group.start) if group and group.start and view.start else view.start
    pool = selection.read_pool(session, issue.newsletter, replace(view, start=start), until=until)
    plan = Plan(issue=issue, placed=placed, pool=pool, view=view, had={0: had}, carried={})
    if group is None:
        return content(plan, issue.newsletter.language, (), edition_share(plan))
    return content(plan, group.language, group.topics, group_share(plan, group, group.topics))


def edition_share(plan: Plan) -> Share:
    """Return what readers of every topic get who get every issue: what the newsroom arranged."""
    return Share(placed=plan.placed, beyond=_beyond(plan, plan.view, {one.canonical_url for one, _ in plan.placed}))


def group_share(plan: Plan, group: Group, told: tuple[str, ...]) -> Share:
    """Put together what a group gets that chose the topics `told`; nobody is given what they have had."""
    if group.owed and not told and not group.had and group.start == plan.view.start:
        # Only for their corrections they are a group of their own.
        return edition_share(plan)
    had = frozenset().union(*(plan.had.get(one, frozenset()) for one in group.had))
    carried = frozenset(plan.view.carried).union(*(plan.carried.get(one, frozenset()) for one in group.had))
    view = View(start=group.start, topics=frozenset(told), had=had, carried=carried, is_reader=True)
    chosen: list[tuple[Article, Layout]] = []
    seen: set[str] = set()
    for article, layout in plan.placed:
        is_wanted = not told or view.topics.intersection(plan.pool.topics_of(article))
        if is_wanted and article.canonical_url not in had and article.canonical_url not in seen:
            chosen.append((article, layout))
            seen.add(article.canonical_url)
    if not told and group.start == plan.view.start:
        # The newsroom decided how much the edition holds.
        return Share(placed=laid_out(plan.placed, chosen), beyond=_beyond(plan, view, seen) if chosen else [])
    beyond = _beyond(plan, view, seen)
    room = max(plan.issue.newsletter.max_articles - len(chosen), 0)
    chosen += [(article, Layout.CARD) for article in beyond[:room]]
    return Share(placed=laid_out(plan.placed, chosen), beyond=beyond[room:])


def content(plan: Plan, language: str, told: tuple[str, ...], share: Share) -> Content:
    """Say a share in a language: with its own subject, if the automatic one tells of an article that is not in it."""
    issue = plan.issue
    subject, preview_text = issue.subject, issue.preview_text
    made = headline(plan.placed, issue.newsletter.language)
    followed = {"subject": subject == made[0], "preview_text": preview_text == made[1]}
    if share.placed and [one.id for one, _ in share.placed] != [one.id for one, _ in plan.placed]:
        own = headline(share.placed, language)
        subject = own[0] if followed["subject"] else subject
        preview_text = own[1] if followed["preview_text"] else preview_text
    return Content(
        subject=subject,
        preview_text=preview_text,
        placed=share.placed,
        topics=_topic_names(plan.pool, language, told, share),
        more=len(share.beyond) if _place_of_rest(plan) == Place.LISTED else 0,
        automatic=frozenset(name for name, is_so in followed.items() if is_so),
        corrections=[one for one in plan.errata if one.correction_id in share.owed],
    )


def headline(articles: Placed, language: str) -> tuple[str, str]:
    """Return the subject (the lead's title) and the preview text (the next titles) of an automatic issue."""
    lead = next((article for article, layout in articles if layout == Layout.LEAD), articles[0][0])
    others = [article.title for article, _ in articles if article is not lead][:3]
    also = i18n.gettext(language, "Also: {titles}", titles=" · ".join(others)) if others else lead.excerpt
    return _literal(lead.title, SUBJECT_LENGTH), _literal(also, PREVIEW_LENGTH)


def _literal(words: str, limit: int) -> str:
    """Cut what no merge field is read in; each brace may cost a character more."""
    return merge.literal(cut(words, max(limit - words.count("{"), limit // 2)))


def _plan(session: Session, issue: Issue, placed: Placed, view: View, *, until: datetime) -> Plan:
    carried = _carried(session, issue, until=until)
    every = frozenset(view.carried).union(*(found for _, found in carried.values()))
    longest = grouping.longest_window(session)
    start = None if view.start is None else min(view.start, longest or view.start)
    pool = selection.read_pool(session, issue.newsletter, View(start=start, carried=every), until=until)
    new_at = {
        one.article.canonical_url: _FOREVER if _comes_again(one, every) else one.counts_from for one in pool.candidates
    }
    new_at |= {article.canonical_url: _FOREVER for article, _ in placed}
    had: dict[int, set[str]] = {}
    issues: dict[int, int] = {one: found[0] for one, found in carried.items()}
    for variant_id, issue_id, url in _given(session, new_at):
        had.setdefault(variant_id, set()).add(url)
        issues[variant_id] = issue_id
    held = [
        Held(
            variant_id=one,
            issue_id=issue_id,
            latest=_FOREVER if one in carried else max(new_at[url] for url in had[one]),
        )
        for one, issue_id in issues.items()
    ]
    inside = {article.canonical_url for article, _ in placed}
    of_edition = {one for one, urls in had.items() if urls & inside}
    grouping.note_what_they_had(session, issue, held=held, edition=of_edition, start=view.start)
    return Plan(
        issue=issue,
        placed=placed,
        pool=pool,
        view=view,
        had={one: frozenset(urls) for one, urls in had.items()},
        carried={one: found for one, (_, found) in carried.items()},
    )


def _shares(
    plan: Plan, groups: Sequence[Group], editions: Collection[tuple[object, ...]], *, most: int
) -> list[tuple[Group, tuple[str, ...], Share]]:
    """Put together what every group gets; the groups that get nothing are left out. `editions` are rendered anyway."""
    known = {one.slug for one in plan.pool.topics}
    told = {group: tuple(slug for slug in group.topics if slug in known) for group in groups}
    owed = {group: group.owed for group in groups}
    while True:
        shares = [
            (group, told[group], replace(group_share(plan, group, told[group]), owed=owed[group])) for group in groups
        ]
        kept = [one for one in shares if one[2].placed]
        count = len({*editions, *(_key(group.language, chosen, share) for group, chosen, share in kept)})
        if count <= most or not (any(told.values()) or any(owed.values())):
            return kept
        if any(owed.values()):
            _clear_rarer_half(owed)
            log.warning("corrections wait for the next issue", issue=plan.issue.id, variants=count, most=most)
        else:
            _clear_rarer_half(told)
            log.warning("topics widened", issue=plan.issue.id, variants=count, most=most)


def _clear_rarer_half(chosen: dict[Group, tuple[T, ...]]) -> None:
    """Empty the rarer half of what groups chose, or are owed."""
    readers: dict[tuple[T, ...], int] = {}
    for group, one in chosen.items():
        if one:
            readers[one] = readers.get(one, 0) + group.readers
    rarest = sorted(readers, key=lambda one: (readers[one], one))
    cleared = set(rarest[: (len(rarest) + 1) // 2])
    chosen.update({group: () for group, one in chosen.items() if one in cleared})


def _key(language: str, told: tuple[str, ...], share: Share) -> tuple[object, ...]:
    return (
        language,
        told,
        tuple((one.id, layout) for one, layout in share.placed),
        tuple(one.id for one in share.beyond),
        share.owed,
    )


class _Writer:
    """Renders each distinct variant once, and notes what it held."""

    def __init__(self, session: Session, plan: Plan, now: datetime) -> None:
        self._session, self._plan, self._now = session, plan, now
        self._made: dict[tuple[object, ...], int] = {}

    def variant(self, language: str, told: tuple[str, ...], share: Share, *, is_edition: bool = False) -> int:
        key = _key(language, told, share)
        if key not in self._made:
            self._made[key] = self._write(language, told, share, is_edition=is_edition)
        return self._made[key]

    def _write(self, language: str, told: tuple[str, ...], share: Share, *, is_edition: bool) -> int:
        issue = self._plan.issue
        made = mails.issue_variant(
            self._session,
            issue.newsletter,
            issue,
            content(self._plan, language, told, share),
            language,
            now=self._now,
        )
        made.is_edition = is_edition
        places = {article.id: Place.GIVEN for article, _ in share.placed}
        rest = _place_of_rest(self._plan)
        if rest is not None:
            places |= {article.id: rest for article in share.beyond if article.id not in places}
        rows = [{"variant_id": made.id, "article_id": one, "place": place} for one, place in places.items()]
        if rows:
            self._session.execute(insert(VariantArticle), rows)
        if share.owed:
            told_of = [{"variant_id": made.id, "correction_id": one} for one in share.owed]
            self._session.execute(insert(VariantCorrection), told_of)
        return made.id


def _place_of_rest(plan: Plan) -> Place | None:
    """Say what becomes of the articles beyond; None for what was there before the first issue, an archive."""
    if plan.view.start is None:
        return None
    return Place.CARRIED if plan.issue.newsletter.overflow == Overflow.CARRIED else Place.LISTED


def _beyond(plan: Plan, view: View, inside: Collection[str]) -> list[Article]:
    """List what else a view could have, in order."""
    seen = set(inside)
    found = []
    for one in plan.pool.candidates:
        if selection.is_in_window(one, view) and selection.reason_against(one, plan.pool, view, seen) is None:
            seen.add(one.article.canonical_url)
            found.append(one.article)
    return found


def laid_out(edition: Placed, chosen: Placed) -> Placed:
    """Keep the newsroom's layouts as long as its lead is there; otherwise lay the articles out anew."""
    leads = {article.id for article, layout in edition if layout == Layout.LEAD}
    if not any(article.id in leads for article, _ in chosen):
        articles = [article for article, _ in chosen]
        return list(zip(articles, selection.layouts(articles), strict=True))
    kept = {article.id for article, _ in edition}
    return [
        (article, layout if article.id in kept or index <= selection.CARDS else Layout.BRIEF)
        for index, (article, layout) in enumerate(chosen)
    ]


def _topic_names(pool: Pool, language: str, told: tuple[str, ...], share: Share) -> dict[int, str]:
    """Name the topic that each article stands under: the best-ranked one, of those that the readers chose."""
    names: dict[int, str] = {}
    by_slug = {one.slug: one for one in pool.topics}
    for article, _ in share.placed:
        about = pool.topics_of(article)
        chosen = [slug for slug in about if slug in told] or list(about)
        if chosen:
            names[article.id] = topics.name(by_slug[chosen[0]], language)
            continue
        categories = [] if by_slug else [one for one in article.topics if not says_locked(one)]
        if categories:
            names[article.id] = categories[0]
    return names


def _comes_again(one: Candidate, carried: Collection[str]) -> bool:
    """Tell whether a candidate is one whatever the window."""
    return one.pinned_until is not None or one.article.canonical_url in carried


def _given(session: Session, urls: Collection[str]) -> list[tuple[int, int, str]]:
    """List the earlier variants, of all newsletters, that held one of these articles: variant, issue, address."""
    rows = session.execute(
        select(VariantArticle.variant_id, Variant.issue_id, Article.canonical_url)
        .join(Variant, Variant.id == VariantArticle.variant_id)
        .join(Article, Article.id == VariantArticle.article_id)
        .where(Article.canonical_url.in_(urls), VariantArticle.place == Place.GIVEN, Variant.issue_id.is_not(None))
    )
    return [(row[0], row[1], row[2]) for row in rows if row[1] is not None]


def _carried(session: Session, issue: Issue, *, until: datetime) -> dict[int, tuple[int, frozenset[str]]]:
    """Return what earlier variants of the newsletter carried over: issue and addresses, by variant."""
    longest = max(selection.LONGEST_WAIT, timedelta(days=issue.newsletter.max_age_days))
    rows = session.execute(
        select(VariantArticle.variant_id, Issue.id, Article.canonical_url)
        .join(Variant, Variant.id == VariantArticle.variant_id)
        .join(Issue, Issue.id == Variant.issue_id)
        .join(Article, Article.id == VariantArticle.article_id)
        .where(Issue.newsletter_id == issue.newsletter_id, Issue.started_at > until - longest)
        .where(VariantArticle.place == Place.CARRIED)
    )
    found: dict[int, tuple[int, frozenset[str]]] = {}
    for variant_id, issue_id, url in rows:
        found[variant_id] = (issue_id, found.get(variant_id, (issue_id, frozenset()))[1] | {url})
    return found
