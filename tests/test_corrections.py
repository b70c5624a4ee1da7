"""Articles corrected after they were sent: the web copies say so, and those who were given them are told, once."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from mailer.articles import intake
from mailer.issues import amending, corrections, issues, variants
from mailer.models.audience import Subscription
from mailer.models.choices import CarriedCorrections, Rhythm
from mailer.models.content import Article, Issue, Newsletter, Variant
from mailer.models.corrections import ChangeKind
from mailer.models.deliveries import Deferral, Delivery, DeliveryOutcome, Outcome
from mailer.models.intake import StatusCode
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter, an_article, readers
from tests.test_variants import DAY, MONDAY, choose, send, settle

NOTE = "Le barrage mesure 335 mètres, et non 235."


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session)


def sent(session: Session, newsletter: Newsletter, slug: str, *, now: object = MONDAY) -> Article:
    """An issue with one article reached everybody."""
    made = an_article(session, newsletter, slug, seen=now - timedelta(hours=1))
    send(session, newsletter, now=now)
    settle(session, Outcome.ACCEPTED)
    return made


def correct(session: Session, article: Article, *, now: object = MONDAY + timedelta(hours=3)) -> list[Issue]:
    return amending.correct(session, article.id, NOTE, by="Camille", now=now)


def next_issue(session: Session, newsletter: Newsletter, slug: str, *, now: object) -> Issue:
    an_article(session, newsletter, slug, seen=now - timedelta(hours=1))
    return send(session, newsletter, now=now)


def told(session: Session, issue: Issue, reader: Subscription) -> bool | None:
    """Tell whether the reader's mail of an issue holds the note; None if there is no mail."""
    statement = select(Variant).join(Delivery, Delivery.variant_id == Variant.id)
    found = session.execute(
        statement.where(Delivery.issue_id == issue.id, Delivery.subscription_id == reader.id)
    ).scalar_one_or_none()
    return None if found is None else "335 mètres" in found.html and "335 mètres" in found.text


def test_the_web_copy_is_corrected_visibly(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    dam.title, dam.revision = "Le barrage, corrigé", 1
    (issue,) = correct(session, dam)
    assert "Le barrage, corrigé" in issue.web_html
    assert f"Corrigé le 23\u00a0novembre\u00a02026\u00a0: {NOTE}" in issue.web_html


def test_the_next_issue_tells_those_who_were_given_the_article_and_no_others(
    session: Session, newsletter: Newsletter
) -> None:
    (lea,) = readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    lea2, tom = readers(session, newsletter, 2)
    issue = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    assert lea2.id == lea.id
    assert (told(session, issue, lea), told(session, issue, tom)) == (True, False)
    assert issue.recipients == 2


@pytest.mark.parametrize(
    ("outcome", "is_told"),
    [(Outcome.ACCEPTED, True), (Outcome.UNCERTAIN, True), (Outcome.REFUSED, False), (Outcome.SKIPPED, False)],
)
def test_only_who_may_have_the_article_is_told(
    session: Session, newsletter: Newsletter, outcome: Outcome, is_told: bool
) -> None:
    (lea,) = readers(session, newsletter, 1)
    dam = an_article(session, newsletter, "barrage", seen=NOW)
    send(session, newsletter, now=MONDAY)
    settle(session, outcome)
    correct(session, dam)
    issue = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    assert told(session, issue, lea) is is_told


def test_a_mail_that_was_sent_again_after_its_answer_was_lost_may_have_come_first(
    session: Session, newsletter: Newsletter
) -> None:
    (lea,) = readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    held = session.execute(select(Delivery)).scalar_one()
    trace = {"delivery_id": held.id, "attempt": 1, "reply": "sent again", "recorded_at": NOW, "retry_at": NOW}
    session.execute(insert(Deferral), [{**trace, "variant_id": held.variant_id}])
    empty = Variant(
        newsletter_id=newsletter.id, issue_id=held.issue_id, kind="issue", language="fr", digest=b"", nonce="n",
        headers={}, subject="", html="", text="", created_at=NOW,
    )  # fmt: skip
    session.add(empty)
    session.flush()
    session.execute(update(Delivery).values(variant_id=empty.id))
    correct(session, dam)
    assert told(session, next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY), lea)


def test_each_reader_is_told_once(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    first = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    settle(session, Outcome.ACCEPTED)
    second = next_issue(session, newsletter, "pont", now=MONDAY + 14 * DAY)
    assert (told(session, first, lea), told(session, second, lea)) == (True, False)


def test_who_was_not_reached_by_the_box_gets_it_with_the_next(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    settle(session, Outcome.REFUSED)
    assert told(session, next_issue(session, newsletter, "pont", now=MONDAY + 14 * DAY), lea)


def test_a_monthly_reader_is_told_with_the_next_issue_that_is_theirs(session: Session, newsletter: Newsletter) -> None:
    (lea,) = readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    choose(session, lea, now=MONDAY, rhythm=Rhythm.MONTHLY)
    send_at = [MONDAY + 3 * DAY, MONDAY + 14 * DAY]
    correct(session, dam)
    tom = readers(session, newsletter, 2)[1]
    first, second = (next_issue(session, newsletter, f"article{day:%d}", now=day) for day in send_at)
    assert [told(session, one, lea) for one in (first, second)] == [None, True]
    assert [told(session, one, tom) for one in (first, second)] == [False, False]


def test_a_correction_alone_makes_no_mail_and_waits(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    with pytest.raises(issues.IssueEmpty):
        issues.draft(session, newsletter, now=MONDAY + DAY)


def test_a_reader_who_has_had_all_of_an_issue_gets_the_box_later(session: Session, newsletter: Newsletter) -> None:
    other = a_newsletter(session, "autre")
    (lea,) = readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    readers(session, other, 1)
    twin = {"url": "https://courrier.example/x", "canonical_url": "https://courrier.example/x"}
    an_article(session, other, "x", seen=MONDAY, **twin)
    send(session, other, now=MONDAY + 6 * DAY)
    an_article(session, newsletter, "x2", seen=MONDAY + 2 * DAY, **twin)
    tom = readers(session, newsletter, 2)[1]
    issue = send(session, newsletter, now=MONDAY + 7 * DAY)
    assert (told(session, issue, lea), told(session, issue, tom)) == (None, False)
    assert told(session, next_issue(session, newsletter, "pont", now=MONDAY + 14 * DAY), lea)


@pytest.mark.parametrize(
    ("carries", "is_told"),
    [(CarriedCorrections.OWN, False), (CarriedCorrections.ALL, True), (CarriedCorrections.NONE, False)],
)
def test_another_newsletter_tells_only_if_it_chose_to(
    session: Session, newsletter: Newsletter, carries: CarriedCorrections, is_told: bool
) -> None:
    readers(session, newsletter, 1)
    correct(session, sent(session, newsletter, "barrage"))
    other = a_newsletter(session, "autre", carries_corrections=carries)
    (lea,) = readers(session, other, 1)
    issue = next_issue(session, other, "autre-article", now=MONDAY + 3 * DAY)
    assert told(session, issue, lea) is is_told
    own = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    (reader,) = readers(session, newsletter, 1)
    assert told(session, own, reader) is not is_told, "over all newsletters once"


def test_no_correction_leaves_the_edition_to_everybody(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 3)
    sent(session, newsletter, "barrage")
    issue = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    found = session.execute(select(Variant.is_edition).where(Variant.issue_id == issue.id)).scalars()
    assert list(found) == [True]


def test_boxes_wait_rather_than_making_too_many_variants(
    session: Session, newsletter: Newsletter, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = readers(session, newsletter, 4)
    for n, day in enumerate((0, 1, 2)):
        for one in everybody[n + 1 :]:
            choose(session, one, now=MONDAY, paused_until=MONDAY + (day + 1) * DAY - timedelta(hours=1))
        dam = sent(session, newsletter, f"barrage{n}", now=MONDAY + day * DAY)
        correct(session, dam, now=MONDAY + day * DAY + timedelta(hours=2))
    an_article(session, newsletter, "train", seen=MONDAY + 6 * DAY)
    issue = issues.draft(session, newsletter, now=MONDAY + 7 * DAY)
    issues.get(session, issue.id)
    frozen = variants.freeze(session, issue, issues.placed(session, issue.id), now=MONDAY + 7 * DAY, most=2)
    count = session.execute(select(Variant.id).where(Variant.issue_id == issue.id)).scalars()
    assert len(list(count)) <= 2
    assert frozen.without_news == 0


def test_a_note_must_say_something_and_fit(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    for note in ("  \n", "x" * (corrections.NOTE_LENGTH + 1), "{{ name }}"):
        with pytest.raises(corrections.CorrectionInvalid):
            amending.correct(session, dam.id, note, by="Camille", now=MONDAY)
    with pytest.raises(amending.ArticleNotFound):
        amending.correct(session, an_article(session, newsletter, "neuf").id, NOTE, by="Camille", now=MONDAY)


def test_a_hostile_note_stays_words(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    (issue,) = amending.correct(session, dam.id, "<script>1</script> {name} [[a]]", by="Camille", now=MONDAY + DAY)
    assert "<script>" not in issue.web_html
    assert "{name} [[a]]" in issue.web_html
    following = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    html = session.execute(
        select(Variant.html).where(Variant.issue_id == following.id, ~Variant.is_edition)
    ).scalar_one()
    assert "<script>" not in html
    assert "{name} [[a]]" in html


def test_the_box_does_not_lead_to_an_article_that_was_withdrawn(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    correct(session, dam)
    intake.withdraw(session, [dam.id], StatusCode.WITHDRAWN_BY_HAND)
    issue = next_issue(session, newsletter, "train", now=MONDAY + 7 * DAY)
    boxed = select(Variant.html).where(Variant.issue_id == issue.id, ~Variant.is_edition)
    html = session.execute(boxed).scalar_one()
    assert dam.title in html
    assert dam.url not in html


def test_the_history_tells_who_corrected_what_and_how_many_had_it(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 3)
    dam = an_article(session, newsletter, "barrage", seen=NOW)
    issue = send(session, newsletter, now=MONDAY)
    first, second, _ = session.execute(select(Delivery.id).order_by(Delivery.id)).scalars()
    rows = [
        {"delivery_id": first, "outcome": Outcome.ACCEPTED, "recorded_at": NOW},
        {"delivery_id": second, "outcome": Outcome.UNCERTAIN, "recorded_at": NOW},
    ]
    session.execute(insert(DeliveryOutcome), rows)
    settle(session, Outcome.REFUSED)
    correct(session, dam)
    (change,) = amending.history(session, issue)
    assert (change.kind, change.title, change.note, change.by) == (ChangeKind.CORRECTED, dam.title, NOTE, "Camille")
    assert (change.at, change.had) == (MONDAY + timedelta(hours=3), 2)


def test_an_article_that_its_feed_told_anew_since_is_known(session: Session, newsletter: Newsletter) -> None:
    readers(session, newsletter, 1)
    dam = sent(session, newsletter, "barrage")
    issue = session.execute(select(Issue)).scalar_one()
    issue = issues.get(session, issue.id)
    assert amending.changed_since(session, issue) == set()
    dam.revision = 1
    session.flush()
    assert amending.changed_since(session, issue) == {dam.id}


def test_newsletters_choose_which_corrections_they_carry(session: Session, newsletter: Newsletter) -> None:
    newsletters.edit(session, newsletter, values={"carries_corrections": "none"}, now=NOW)
    assert newsletter.carries_corrections == CarriedCorrections.NONE
