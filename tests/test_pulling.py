"""Articles pulled or put anew while their issue is being sent: who gets which, and that the ledger knows."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from mailer import clock, db, settings
from mailer.articles import topics
from mailer.db import transaction
from mailer.delivery import deliveries, journal, ledger, runs, sending, settling
from mailer.issues import amending, contents, corrections, explanations, handwriting, issues, pulling
from mailer.issues.amending import Act
from mailer.issues.handwriting import Draft
from mailer.models.choices import IssueExclusion, Place, VariantArticle
from mailer.models.content import Article, Issue, IssueState, Layout, Newsletter, Variant, WhenUncertain
from mailer.models.corrections import ChangeKind
from mailer.models.deliveries import Batch, Deferral, Delivery, DeliveryOutcome, Outcome, SettledAs
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, an_article, readers
from tests.smtp_server import DROP, scripted_server
from tests.started import equation, state, use_server
from tests.test_variants import DAY, MONDAY, choose, given, send, settle

ACT = Act(by="Camille", now=MONDAY + timedelta(minutes=5))


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


def started(session: Session, newsletter: Newsletter, *slugs: str) -> tuple[Issue, list[Article]]:
    """An issue of these articles, the first of them leading, that is about to be sent."""
    made = [
        an_article(session, newsletter, slug, seen=NOW + timedelta(minutes=len(slugs) - n))
        for n, slug in enumerate(slugs)
    ]
    return send(session, newsletter, now=MONDAY), made


def claim(session: Session) -> deliveries.Claim:
    """What a worker takes next, with the variants as they are now."""
    found = deliveries.claim(session, owner="here.1", lease_seconds=60, now=MONDAY + DAY)
    assert found is not None

    runs.begin(session, found, None)
    return found


def present(session: Session, issue: Issue) -> list[Variant]:
    """The variants that are still sent."""
    alive = (Variant.replaced_by.is_(None), Variant.withdrawn_at.is_(None))
    return list(session.execute(select(Variant).where(Variant.issue_id == issue.id, *alive)).scalars())


def test_the_rest_gets_the_issue_without_the_article(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 2)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    pulling.pull(session, issue, dam.id, ACT)
    (variant,) = present(session, issue)
    assert "Le titre de train" in variant.html
    assert "barrage" not in variant.html + variant.text + variant.subject
    assert variant.is_edition
    assert issue.subject == "Le titre de train", "the automatic subject follows"
    assert issue.revision == 1
    assert [(one.guid, layout) for one, layout in issues.placed(session, issue.id)] == [("train", Layout.LEAD)]


def test_who_had_the_old_one_has_the_article_and_the_others_have_not(session: Session, newsletter: Newsletter) -> None:
    lea, tom = readers(session, newsletter, 2)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    first = session.execute(select(Delivery.id).where(Delivery.subscription_id == lea.id)).scalar_one()
    session.add(DeliveryOutcome(delivery_id=first, outcome=Outcome.ACCEPTED, recorded_at=MONDAY))
    session.execute(update(Batch).values(accepted=1))
    pulling.pull(session, issue, dam.id, ACT)
    claim(session)
    assert (given(session, lea), given(session, tom)) == ([["barrage", "train"]], [["train"]])
    (change,) = amending.history(session, issue)
    assert (change.kind, change.title, change.by, change.had) == (ChangeKind.PULLED, dam.title, "Camille", 1)


def test_an_open_delivery_that_no_worker_took_yet_does_not_count_for_the_pulled_article(
    session: Session, newsletter: Newsletter
) -> None:
    (lea,) = readers(session, newsletter, 1)
    other = a_newsletter(session, "autre")
    readers(session, other, 2)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    pulling.pull(session, issue, dam.id, ACT)
    for guid, slug in (("b", "barrage"), ("t", "train"), ("n", "neuf")):
        url = f"https://courrier.example/{slug}"
        an_article(session, other, guid, seen=NOW, url=url, canonical_url=dam.canonical_url.replace("barrage", slug))
    send(session, other, now=MONDAY + timedelta(hours=1))
    assert given(session, lea)[1:] == [["b", "n"]]


def test_no_later_issue_takes_a_pulled_article_by_itself(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    pulling.pull(session, issue, dam.id, ACT)
    settle(session, Outcome.ACCEPTED)
    assert session.execute(select(IssueExclusion.article_id)).scalars().all() == [dam.id]
    (tom,) = readers(session, newsletter, 2)[1:]
    an_article(session, newsletter, "pont", seen=MONDAY + DAY)
    send(session, newsletter, now=MONDAY + 7 * DAY)
    assert given(session, tom) == [["pont"]]


def test_the_web_copy_is_without_it_and_says_so(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    pulling.pull(session, issue, dam.id, Act(by="Camille", now=MONDAY, note="Cet article était faux."))
    assert "barrage" not in issue.web_html
    said = "Un article a été retiré de ce numéro le 23\u00a0novembre\u00a02026."
    assert said in issue.web_html
    assert "Cet article était faux." in issue.web_html


def test_a_group_with_nothing_left_is_skipped_with_the_reason(session: Session, newsletter: Newsletter) -> None:
    topics.put(session, newsletter, "eau", names={"fr": "Eau"}, rules={"include": ["barrage"]})
    lea, tom = readers(session, newsletter, 2)
    choose(session, lea, now=NOW, topics=("eau",))
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    pulling.pull(session, issue, dam.id, ACT)

    found = deliveries.claim(session, owner="here.1", lease_seconds=60, now=MONDAY + DAY)
    run = runs.begin(session, found, None)
    assert [one.reply for one in run.settled] == ["an article was pulled, and nothing else was in it"]
    assert [one.subscription_id for one in run.open.values()] == [tom.id]


def test_pulling_all_that_there_is_is_refused(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue, (dam,) = started(session, newsletter, "barrage")
    with pytest.raises(issues.IssueEmpty):
        pulling.pull(session, issue, dam.id, ACT)


def test_two_articles_can_be_pulled_one_after_the_other(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    issue, (dam, train, _) = started(session, newsletter, "barrage", "train", "pont")
    pulling.pull(session, issue, dam.id, ACT)
    pulling.pull(session, issue, train.id, ACT)
    claim(session)
    assert given(session, lea) == [["pont"]]
    with pytest.raises(amending.ArticleNotFound):
        pulling.pull(session, issue, dam.id, ACT)


def test_only_an_issue_on_its_way_can_be_changed(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam, _ = (an_article(session, newsletter, slug, seen=NOW) for slug in ("barrage", "train"))
    issue = issues.draft(session, newsletter, now=MONDAY)
    with pytest.raises(issues.IssueStateForbids):
        pulling.pull(session, issue, dam.id, ACT)
    with pytest.raises(amending.ArticleNotFound):
        pulling.pull(session, issue, 10**9, ACT)


def test_an_edited_subject_stays_unless_another_is_given(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam, _, _ = (an_article(session, newsletter, slug, seen=NOW) for slug in ("barrage", "train", "pont"))
    issue = issues.draft(session, newsletter, now=MONDAY)
    issues.edit(session, issue, subject="Le barrage cède", preview_text="x", introduction="", now=MONDAY)
    issues.start(session, issue, batch_size=10, now=MONDAY)
    pulling.pull(session, issue, dam.id, ACT)
    assert issue.subject == "Le barrage cède"
    train = session.execute(select(Article).where(Article.guid == "train")).scalar_one()
    pulling.pull(session, issue, train.id, Act(by="Camille", now=MONDAY, subject="Cette semaine"))
    assert [issue.subject, *(one.subject for one in present(session, issue))] == ["Cette semaine"] * 2


def test_the_corrected_article_is_put_in_for_the_rest_and_those_before_are_told(
    session: Session, newsletter: Newsletter
) -> None:
    lea, tom = readers(session, newsletter, 2)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    first = session.execute(select(Delivery.id).where(Delivery.subscription_id == lea.id)).scalar_one()
    session.add(DeliveryOutcome(delivery_id=first, outcome=Outcome.ACCEPTED, recorded_at=MONDAY))
    dam.title, dam.revision = "Le barrage, corrigé", 1
    session.flush()
    pulling.replace_article(session, issue, dam.id, Act(by="Camille", now=ACT.now, note="Le nom était faux."))
    claim(session)
    settle(session, Outcome.ACCEPTED)
    assert (given(session, lea), given(session, tom)) == ([["barrage", "train"]],) * 2
    assert "Le barrage, corrigé" in present(session, issue)[0].html
    assert "Le nom était faux." in issue.web_html
    an_article(session, newsletter, "pont", seen=MONDAY + DAY)
    following = send(session, newsletter, now=MONDAY + 7 * DAY)
    rows = session.execute(
        select(Delivery.subscription_id, Variant.html)
        .join(Variant, Variant.id == Delivery.variant_id)
        .where(Delivery.issue_id == following.id)
    )
    assert {row[0]: "Le nom était faux." in row[1] for row in rows} == {lea.id: True, tom.id: False}


def test_a_replacement_needs_a_note(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    with pytest.raises(corrections.CorrectionInvalid):
        pulling.replace_article(session, issue, dam.id, ACT)


def test_a_box_of_corrections_stays_in_what_is_rendered_anew(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    _, (dam, _) = started(session, newsletter, "barrage", "train")
    settle(session, Outcome.ACCEPTED)
    amending.correct(session, dam.id, "Le nom était faux.", by="Camille", now=MONDAY + DAY)
    for slug in ("pont", "yak"):
        an_article(session, newsletter, slug, seen=MONDAY + DAY)
    issue = send(session, newsletter, now=MONDAY + 7 * DAY)
    bridge = session.execute(select(Article).where(Article.guid == "pont")).scalar_one()
    pulling.pull(session, issue, bridge.id, Act(by="Camille", now=MONDAY + 7 * DAY))
    boxed = [one for one in present(session, issue) if not one.is_edition]
    assert ["Le nom était faux." in one.html and "pont" not in one.html for one in boxed] == [True]


def test_in_an_issue_that_is_written_by_hand_the_words_around_stay(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    dam = an_article(session, newsletter, "barrage", seen=NOW)
    wanted = Draft(subject="Spécial", body=f"Avant le trou.\n\n[[article {dam.id}]]\n\nAprès le trou.")
    issue = handwriting.draft(session, newsletter, wanted, now=NOW)
    issues.start(session, issue, batch_size=10, now=MONDAY)
    pulling.pull(session, issue, dam.id, ACT)
    (variant,) = present(session, issue)
    assert ["Avant le trou." in variant.html, "Après le trou." in variant.html, "barrage" in variant.html] == [
        True,
        True,
        False,
    ]
    claim(session)
    assert given(session, lea) == []


def test_a_reader_is_explained_what_they_really_get(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    other = a_newsletter(session, "autre")
    readers(session, other, 1)
    issue, (dam, _) = started(session, newsletter, "barrage", "train")
    for guid, slug in (("b", "barrage"), ("t", "train")):
        url = f"https://courrier.example/{slug}"
        an_article(session, other, guid, seen=NOW, url=url, canonical_url=dam.canonical_url.replace("barrage", slug))
    at = MONDAY + timedelta(hours=1)
    chosen = []
    for _ in range(2):
        told = explanations.explain(session, other, at=at, now=at, subscriber="r0@example.org")
        chosen.append([one.article.guid for one in told.selection.chosen])
        if len(chosen) == 1:
            pulling.pull(session, issue, dam.id, ACT)
    assert chosen == [[], ["b"]]


def test_what_a_variant_was_made_of_can_be_made_again(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    issue, _ = started(session, newsletter, "barrage", "train")
    (variant,) = present(session, issue)
    assert variant.content is not None
    assert contents.pack(contents.unpack(session, variant.content)) == variant.content
    held = select(VariantArticle.article_id).where(VariantArticle.place == Place.GIVEN)
    assert set(contents.revisions(variant.content)) == set(session.execute(held).scalars())


# --- with workers


def on_its_way(count: int, *, batch_size: int = 500) -> tuple[int, int]:
    """An issue of three articles to `count` readers: its id, and that of the article to be pulled."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        seen = clock.now() - timedelta(minutes=1)
        dam, _, _ = (an_article(session, newsletter, slug, seen=seen) for slug in ("barrage", "train", "pont"))
        readers(session, newsletter, count)
        issue = issues.draft(session, newsletter, now=clock.now())
        issues.start(session, issue, batch_size=batch_size, now=clock.now())
        return issue.id, dam.id


def pull(issue_id: int, article_id: int) -> None:
    with transaction() as session:
        pulling.pull(session, issues.get(session, issue_id), article_id, Act(by="Camille", now=clock.now()))


def held_by(issue_id: int, article_id: int) -> set[str]:
    """The readers who have the article, or may have, as the ledger says."""
    with transaction() as session:
        holding = set(
            session.execute(select(VariantArticle.variant_id).where(VariantArticle.article_id == article_id)).scalars()
        )
        variant = dict(session.execute(select(Delivery.id, Delivery.variant_id)).all())
        lines = ledger.log(session, issue_id, outcome=None, after_id=0, limit=1000)
        given = (Outcome.ACCEPTED, Outcome.UNCERTAIN)
        return {str(one.address) for one in lines if one.outcome in given and variant[one.delivery_id] in holding}


def with_article(accepted: Sequence[tuple[str, bytes]]) -> set[str]:
    return {who for who, content in accepted if b"barrage" in content}


def wait_for_a_lock() -> None:
    """Return once somebody waits for what another transaction holds."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 20
    while True:
        with db.engine().connect() as connection:
            if connection.execute(waiting).scalar_one():
                return
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.02)


def while_sending(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    sending.send_due(budget_seconds=30)
    thread.join()


def test_workers_take_the_new_mail_within_a_second_or_so(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id, article_id = on_its_way(120, batch_size=60)
    pulled_at: list[float] = []
    seen: list[tuple[float, str]] = []

    def script(at: str, who: str) -> None:
        if at == "RCPT":
            seen.append((time.monotonic(), who))

    with scripted_server(script, delay_seconds=0.05) as server:
        use_server(server.url, monkeypatch)

        def act() -> None:
            while len(server.accepted) < 20:
                time.sleep(0.01)
            pull(issue_id, article_id)
            pulled_at.append(time.monotonic())

        while_sending(act)
        sending.shut_down()
    had = with_article(server.accepted)
    assert 20 <= len(had) < 120
    late = [who for at, who in seen if at > pulled_at[0] + 1.5 and who in had]
    assert late == [], "begun with the old mail long after the pull"
    assert len(server.recipients) == len(set(server.recipients)) == 120
    assert equation(issue_id) == ledger.Equation(recipients=120, accepted=120, refused=0, skipped=0, uncertain=0)
    assert state(issue_id) == IssueState.SENT
    assert held_by(issue_id, article_id) == had


def test_a_paused_issue_goes_on_without_the_article(installation: SmtpInbox) -> None:
    issue_id, article_id = on_its_way(3)
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "by hand", now=clock.now())
    pull(issue_id, article_id)
    sending.send_due(budget_seconds=5)
    assert installation.messages == []
    with transaction() as session:
        issues.resume(session, issues.get(session, issue_id), now=clock.now())
    sending.send_due(budget_seconds=10)
    assert [b"barrage" in one.content for one in installation.messages] == [False] * 3


def test_of_two_editors_at_once_each_takes_out_an_article(installation: SmtpInbox) -> None:
    issue_id, dam = on_its_way(1)
    with transaction() as session:
        train = session.execute(select(Article.id).where(Article.guid == "train")).scalar_one()
    thread = threading.Thread(target=pull, args=(issue_id, train))
    with transaction() as session:
        pulling.pull(session, issues.get(session, issue_id), dam, Act(by="Camille", now=clock.now()))
        thread.start()
        wait_for_a_lock()
    thread.join()
    sending.send_due(budget_seconds=10)
    (mail,) = installation.messages
    assert [slug in mail.content for slug in (b"barrage", b"train", b"pont")] == [False, False, True]
    with transaction() as session:
        html = issues.get(session, issue_id).web_html
    assert [f"Le titre de {slug}" in html for slug in ("barrage", "train", "pont")] == [False, False, True]


def test_what_a_dead_worker_had_handed_over_stays_with_the_old_mail(installation: SmtpInbox) -> None:
    issue_id, article_id = on_its_way(4)
    gone = journal.Journal(settings.load().journal_dir, capacity=10)
    with transaction() as session:
        lost = deliveries.claim(session, owner=gone.owner, lease_seconds=-1, now=clock.now())
        assert lost is not None
        gone.begin(batch=lost.batch_id, fence=lost.fence)
        gone.handed(lost.first_id)
        gone.handed(lost.first_id + 1)
        gone.settled(lost.first_id + 1, 2)
    gone.abandon()
    pull(issue_id, article_id)
    sending.send_due(budget_seconds=10)
    assert equation(issue_id) == ledger.Equation(recipients=4, accepted=3, refused=0, skipped=0, uncertain=1)
    assert [b"barrage" in one.content for one in installation.messages] == [False] * 2
    assert held_by(issue_id, article_id) == {"r0@example.org", "r1@example.org"}


def test_an_uncertain_mail_that_is_sent_again_leaves_a_trace_of_the_old_one(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id, article_id = on_its_way(1)
    with scripted_server(lambda at, _: DROP if at == "CONTENT" else None) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert equation(issue_id).uncertain == 1
    use_server(installation.url, monkeypatch)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        (old,) = present(session, issue)
        settling.settle(session, issue, SettledAs.RESEND, by="Camille", now=clock.now())
    pull(issue_id, article_id)
    sending.send_due(budget_seconds=10)
    assert [b"barrage" in one.content for one in installation.messages] == [False]
    with transaction() as session:
        assert session.execute(select(Deferral.variant_id)).scalar_one() == old.id
        assert session.execute(select(Delivery.variant_id)).scalar_one() != old.id
    assert state(issue_id) == IssueState.SENT


def test_the_policy_to_send_again_leaves_the_same_trace(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id, _ = on_its_way(1)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        issues.set_when_uncertain(session, issue, WhenUncertain.RESEND, now=clock.now())
        (old,) = present(session, issue)
    with scripted_server(lambda at, _: DROP if at == "CONTENT" else None) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    with transaction() as session:
        assert session.execute(select(Deferral.variant_id)).scalar_one() == old.id
