"""The links that mails carry: confirm, unsubscribe, one-click, preferences."""

import re
from collections.abc import Iterator
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from mailer import clock, links, settings
from mailer.articles import topics
from mailer.audience import signups, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.links import Purpose
from mailer.models.audience import EndedReason, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter
from tests.web_site import (
    COOKIE,
    Site,
    asking_newsletter,
    confirmed_reader,
    consents,
    ended_reader,
    heading,
    pending_reader,
    requests,
    running_site,
    sent_issue,
    signup_cookie,
    state,
    wait_until,
)

CONFIRMED, PENDING, ENDED = SubscriptionState.CONFIRMED, SubscriptionState.PENDING, SubscriptionState.ENDED
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


# --- confirming


def test_opening_the_link_elsewhere_changes_nothing_and_the_button_confirms(site: Site) -> None:
    pending_reader()
    path = site.confirm_path()
    for _ in range(20):
        assert heading(site.client.get(path)) == "Plus qu’un geste"
        assert site.client.head(path).status_code == 200
    assert state() == PENDING
    response = site.client.post(path)
    assert (response.status_code, heading(response)) == (200, "Votre inscription est confirmée")
    assert state() == CONFIRMED


def test_a_second_confirmation_changes_nothing(site: Site) -> None:
    pending_reader()
    site.client.post(site.confirm_path())
    before = consents()
    assert heading(site.client.post(site.confirm_path())) == "Votre inscription est déjà confirmée"
    assert heading(site.client.get(site.confirm_path())) == "Votre inscription est déjà confirmée"
    assert consents() == before


def test_the_page_says_when_the_first_issue_comes_and_offers_the_latest(site: Site) -> None:
    pending_reader()
    issue_id = sent_issue()
    page = site.client.post(site.confirm_path()).text
    assert re.search(r"Premier envoi\xa0: vendredi \d+\xa0\w+\xa0\d{4} à 7\xa0h \(heure de Paris\)\.", page)
    assert f'href="/i/{issue_id}"' in page


def test_the_browser_that_filled_in_the_form_confirms_by_opening_the_link(site: Site) -> None:
    request_id = pending_reader()
    response = site.client.get(site.confirm_path(), headers=signup_cookie(request_id))
    assert heading(response) == "Votre inscription est confirmée"
    assert state() == CONFIRMED


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Sec-Purpose", "prefetch"), ("Sec-Purpose", "prerender"), ("Purpose", "prefetch"), ("X-Moz", "prefetch")],
)
def test_a_prefetch_never_confirms(site: Site, name: str, hint: str) -> None:
    headers = {**signup_cookie(pending_reader()), name: hint}
    assert heading(site.client.get(site.confirm_path(), headers=headers)) == "Plus qu’un geste"
    assert state() == PENDING


def test_head_never_confirms(site: Site) -> None:
    assert site.client.head(site.confirm_path(), headers=signup_cookie(pending_reader())).status_code == 200
    assert state() == PENDING


def test_the_cookie_of_another_sign_up_does_not_confirm(site: Site) -> None:
    pending_reader()
    for other in (pending_reader("somebody@example.org"), 99):
        assert heading(site.client.get(site.confirm_path(), headers=signup_cookie(other))) == "Plus qu’un geste"
    assert state() == PENDING


def test_a_forged_cookie_or_one_of_yesterday_does_not_confirm(site: Site) -> None:
    request_id = pending_reader()
    forged = {"Cookie": f"{COOKIE}={links.sign_now(Purpose.CONFIRM, request_id, clock.now())}"}
    for cookie in (forged, signup_cookie(request_id, made=timedelta(hours=25))):
        assert heading(site.client.get(site.confirm_path(), headers=cookie)) == "Plus qu’un geste"
    assert state() == PENDING


def test_an_old_link_asks_for_a_new_one_to_the_same_address(site: Site) -> None:
    pending_reader()
    path = site.confirm_path(made=timedelta(days=8))
    assert (site.client.get(path).status_code, heading(site.client.post(path))) == (410, "Ce lien a expiré")
    response = site.client.post(f"{path}/again")
    assert (response.status_code, response.headers["location"]) == (303, "/check-inbox")
    assert [asked.address for asked in requests()] == ["lea@example.org"] * 2
    assert state() == PENDING


def test_the_language_of_a_page_is_kept_where_it_leads_on(site: Site) -> None:
    pending_reader()
    again = site.client.post(f"{site.confirm_path(made=timedelta(days=8))}/again?lang=en")
    assert again.headers["location"] == "/check-inbox?lang=en"
    with transaction() as session:
        subscriptions.end(session, 1, EndedReason.UNSUBSCRIBED, origin=Origin(), now=clock.now())
    ended = site.client.get(f"/p/{site.token(Purpose.PREFERENCES)}?lang=en")
    assert ended.headers["location"].endswith("?lang=en")


def test_a_link_from_before_the_reader_left_does_not_bring_them_back(site: Site) -> None:
    ended_reader()
    for answer in (site.client.get(site.confirm_path()), site.client.post(site.confirm_path())):
        assert (answer.status_code, heading(answer)) == (410, "Ce lien a expiré")
    assert state() == ENDED


def test_the_link_of_an_erased_sign_up_shows_the_form_to_ask_again(site: Site) -> None:
    pending_reader()
    with transaction() as session:
        gone = clock.now() + links.CONFIRM_LIFETIME
        assert subscriptions.delete_unconfirmed(session, now=gone) == 1
    path = site.confirm_path(made=timedelta(days=7, hours=1))
    for response in (site.client.get(path), site.client.post(path), site.client.post(f"{path}/again")):
        assert (response.status_code, heading(response)) == (410, "Ce lien a expiré")
        assert "Les liens fonctionnent 7\u00a0jours, pour protéger vos données." in response.text
        assert re.findall(r'<form method="post" action="([^"]+)"', response.text) == ["/s/courrier"]
        assert ">Recevoir un nouveau lien</button>" in response.text
        assert "lea@" not in response.text


def test_the_link_of_an_erased_sign_up_knows_its_newsletter_among_several(site: Site) -> None:
    with transaction() as session:
        other = a_newsletter(session, "hebdo", name="Hebdo")
        token = links.sign_confirmation(99, other.id, clock.now() - timedelta(days=9))
    response = site.client.get(f"/confirm/{token}")
    assert (response.status_code, heading(response)) == (410, "Ce lien a expiré")
    assert 'action="/s/hebdo"' in response.text
    assert ">Hebdo</a>" in response.text
    # One of before, which does not name it, leads to both.
    older = site.client.get(site.confirm_path(made=timedelta(days=9))).text
    assert re.findall(r'<li><a href="(/\w+)"', older) == ["/courrier", "/hebdo"]


def test_a_cut_link_of_a_confirmation_shows_the_form_too(site: Site) -> None:
    response = site.client.get("/confirm/abc")
    assert (response.status_code, heading(response)) == (404, "Ce lien ne fonctionne pas")
    assert 'action="/s/courrier"' in response.text
    assert ">Recevoir un nouveau lien</button>" in response.text


def test_a_confirmation_that_was_mailed_leads_to_its_subscription(site: Site, installation: SmtpInbox) -> None:
    pending_reader()
    sending.send_due(budget_seconds=5)
    (mail,) = installation.messages
    (token,) = set(re.findall(r"/confirm/([\w-]{40})", mail.email.as_string().replace("=\n", "")))
    read = links.read(Purpose.CONFIRM, token)
    assert (read.subscription_id, read.newsletter_id) == (1, 1)
    assert heading(site.client.post(f"/confirm/{token}")) == "Votre inscription est confirmée"


def test_what_was_chosen_can_be_changed_where_the_subscription_is_confirmed(site: Site) -> None:
    asking_newsletter()
    pending_reader()
    page = site.client.post(site.confirm_path()).text
    (action,) = re.findall(r'<form method="post" action="(/p/[^"]+)"', page)
    order = [
        page.index(f'id="{one}"') for one in ("rhythm-each", "paused_until", "all-topics", "topic-eau", "language")
    ]
    assert order == sorted(order)
    saved = site.client.post(action, data={"language": "fr", "rhythm": "monthly", "topic": ["eau"]})
    assert 'role="status">Vos préférences sont enregistrées.' in saved.text
    assert (wish().topics, wish().rhythm) == (("eau",), Rhythm.MONTHLY)
    assert "<b>lettre@courrier.example</b>" in page


def test_saved_preferences_tell_when_the_next_issue_comes(site: Site) -> None:
    confirmed_reader()
    page = site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": "fr", "rhythm": "each"}).text
    (notice,) = re.findall(r'role="status">(.*?)</p>', page, re.DOTALL)
    assert re.search(r"enregistrées\.\s+Prochain envoi\xa0: vendredi \d", notice)


def test_a_readers_whole_way_sets_one_cookie_at_most(site: Site) -> None:
    asking_newsletter()
    client = site.client
    client.get("/courrier")
    client.post("/s/courrier", data={"email": "lea@example.org"})
    client.get("/check-inbox")
    with transaction() as session:
        signups.handle(session, 1, now=clock.now())
    steps = [
        client.post(site.confirm_path()),
        client.get(f"/p/{site.token(Purpose.PREFERENCES)}"),
        client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": "fr", "rhythm": "each", "topic": "*"}),
        client.post("/preferences", data={"email": "lea@example.org"}),
        client.post(f"/u/{site.token(Purpose.UNSUBSCRIBE)}"),
        client.post(f"/u/{site.token(Purpose.UNSUBSCRIBE)}/undo"),
        client.post(f"{site.confirm_path(made=timedelta(days=8))}/again"),
    ]
    assert [one.status_code for one in steps] == [200, 200, 200, 303, 200, 200, 303]
    assert list(client.cookies.keys()) == [COOKIE]


# --- broken links


def test_a_changed_link_opens_nothing_wherever_it_was_changed(site: Site) -> None:
    pending_reader()
    genuine = links.sign_now(Purpose.CONFIRM, 1, clock.now())
    for place in range(len(genuine)):
        changed = genuine[:place] + ("B" if genuine[place] == "A" else "A") + genuine[place + 1 :]
        assert site.client.post(f"/confirm/{changed}").status_code == 404
    assert state() == PENDING


@pytest.mark.parametrize("token", ["", "x", "é", "%00", "A" * 40, "A" * 4000, "..%2f..", "%F0%9F%98%80"])
def test_a_cut_link_says_what_to_do(site: Site, token: str) -> None:
    for first_word in ("confirm", "u", "p"):
        assert site.client.get(f"/{first_word}/{token}").status_code == 404
    assert heading(site.client.get("/u/abc")) == "Ce lien ne fonctionne pas"


def test_no_token_opens_what_it_was_not_made_for(site: Site) -> None:
    confirmed_reader()
    words = {Purpose.CONFIRM: "confirm", Purpose.UNSUBSCRIBE: "u", Purpose.PREFERENCES: "p"}
    for purpose in Purpose:
        for made_for, word in words.items():
            if purpose != made_for:
                response = site.client.post(f"/{word}/{site.token(purpose)}", data={"language": "en"})
                assert response.status_code == 404
    assert state() == CONFIRMED


# --- leaving


def test_opening_the_link_asks_and_the_button_unsubscribes(site: Site) -> None:
    confirmed_reader()
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    for _ in range(20):
        assert heading(site.client.get(path)) == "Se désinscrire de la newsletter\u00a0?"
        assert site.client.head(path).status_code == 200
    assert state() == CONFIRMED
    assert heading(site.client.post(path)) == "C’est fait, vous ne recevrez plus la newsletter"
    assert state() == ENDED
    assert heading(site.client.post(path)) == "C’est fait, vous ne recevrez plus la newsletter"
    assert heading(site.client.get(path)) == "Cette adresse est déjà désinscrite"


def test_pages_of_a_mails_links_mask_the_address(site: Site) -> None:
    confirmed_reader()
    unsubscribe, preferences = site.token(Purpose.UNSUBSCRIBE), site.token(Purpose.PREFERENCES)
    answers = [
        site.client.get(f"/p/{preferences}"),
        site.client.get(f"/u/{unsubscribe}"),
        site.client.get(f"/u/{site.token(Purpose.ONE_CLICK)}/one-click"),
        site.client.post(f"/u/{unsubscribe}"),
        site.client.get(f"/u/{unsubscribe}"),
        site.client.post(f"/u/{unsubscribe}/undo"),
    ]
    for answer in answers:
        assert "r••@example.org" in answer.text
        assert "r0@example.org" not in answer.text


def test_undo_brings_the_reader_back(site: Site) -> None:
    ended_reader()
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    assert f'action="{path}/undo"' in site.client.get(path).text
    assert heading(site.client.post(f"{path}/undo")) == "Vous recevrez de nouveau la newsletter"
    assert heading(site.client.post(f"{path}/undo")) == "Vous recevrez de nouveau la newsletter"
    assert state() == CONFIRMED


@pytest.mark.parametrize(
    ("reason", "ago", "offers_form"),
    [(EndedReason.UNSUBSCRIBED, 31, True), (EndedReason.BOUNCED, 1, True), (EndedReason.COMPLAINED, 1, False)],
)
def test_undo_is_for_a_month_and_for_who_left_by_themselves(
    site: Site, reason: EndedReason, ago: int, offers_form: bool
) -> None:
    ended_reader(reason, ago=timedelta(days=ago))
    response = site.client.post(f"/u/{site.token(Purpose.UNSUBSCRIBE)}/undo")
    assert heading(response) == "Cette adresse est déjà désinscrite"
    assert "/undo" not in response.text
    assert ('href="/courrier"' in response.text) == offers_form
    assert state() == ENDED


def test_the_links_of_an_erased_reader_do_no_harm(site: Site) -> None:
    path = f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    for answer in (site.client.get(path), site.client.post(path)):
        assert (answer.status_code, heading(answer)) == (200, "You’re already unsubscribed")
    assert site.client.post(f"/u/{site.token(Purpose.ONE_CLICK)}/one-click").status_code == 200


# --- the mail program's button


@pytest.mark.parametrize(
    "body",
    [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
def test_one_click_unsubscribes_however_the_body_is_encoded(site: Site, body: dict) -> None:
    confirmed_reader()
    path = f"/u/{site.token(Purpose.ONE_CLICK)}/one-click"
    for _ in range(2):
        response = site.client.post(path, **body)
        assert (response.status_code, response.content) == (200, b"")
        assert "set-cookie" not in response.headers
    wait_until(lambda: state() == ENDED, seconds=1)
    with transaction() as session:
        assert subscriptions.get(session, 1).ended_reason == EndedReason.ONE_CLICK


def test_one_click_asks_the_database_itself_where_the_disk_takes_nothing(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_JOURNAL_DIR", "/proc/none")
    settings.load.cache_clear()
    with running_site(monkeypatch) as site:
        confirmed_reader()
        assert site.client.post(f"/u/{site.token(Purpose.ONE_CLICK)}/one-click", data=ONE_CLICK).status_code == 200
        assert state() == ENDED


def test_one_click_answers_an_unknown_token_alike(site: Site) -> None:
    confirmed_reader()
    known = site.client.post(f"/u/{site.token(Purpose.ONE_CLICK)}/one-click", data=ONE_CLICK)
    for token in ("x", "A" * 40, site.token(Purpose.ONE_CLICK, 99), site.token(Purpose.UNSUBSCRIBE)):
        unknown = site.client.post(f"/u/{token}/one-click", data=ONE_CLICK)
        assert (unknown.status_code, unknown.content) == (known.status_code, known.content)


def test_opening_the_one_click_address_changes_nothing_and_offers_a_button(site: Site) -> None:
    confirmed_reader()
    path = f"/u/{site.token(Purpose.ONE_CLICK)}/one-click"
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        site.client.request(method, path)
    assert state() == CONFIRMED
    (action,) = re.findall(r'action="([^"]+)"', site.client.get(path).text)
    site.client.post(action)
    assert state() == ENDED


# --- preferences


def test_a_reader_chooses_the_language_of_the_mails(site: Site) -> None:
    confirmed_reader()
    path = f"/p/{site.token(Purpose.PREFERENCES)}"
    assert heading(site.client.get(path)) == "Vos préférences"
    response = site.client.post(path, data={"language": "en"})
    assert heading(response) == "Your preferences"
    assert 'role="status">Your preferences are saved.' in response.text
    with transaction() as session:
        assert subscriptions.get(session, 1).language == "en"


def test_saving_the_same_again_logs_nothing(site: Site) -> None:
    confirmed_reader()
    before = consents()
    site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": "fr"})
    assert consents() == before


@pytest.mark.parametrize("language", ["", "de", "fr\0", "<b>"])
def test_a_language_that_we_do_not_speak_is_refused(site: Site, language: str) -> None:
    confirmed_reader()
    response = site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": language})
    assert response.status_code == 422


def with_topics() -> None:
    """The newsletter has two topics."""
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for slug, name in (("economie", "Économie"), ("societe", "Société")):
            topics.put(session, newsletter, slug, names={"fr": name}, rules={"categories": [name]})


def wish() -> wishes.Wish:
    """What subscription number 1 wants."""
    with transaction() as session:
        return wishes.of(subscriptions.get(session, 1))


def test_a_reader_chooses_topics_rhythm_and_a_pause(site: Site) -> None:
    confirmed_reader()
    with_topics()
    day = (clock.now() + timedelta(days=9)).date()
    choices = {"language": "fr", "topic": ["societe"], "rhythm": "weekly", "paused_until": day.isoformat()}
    page = site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data=choices).text
    assert (wish().topics, wish().rhythm) == (("societe",), Rhythm.WEEKLY)
    assert (
        (wish().paused_until or clock.now()).astimezone(ZoneInfo("Europe/Paris")).isoformat().startswith(f"{day}T00:00")
    )
    assert '<input type="checkbox" id="topic-societe" name="topic" value="societe" checked>' in page
    assert '<label for="topic-societe">Société</label>' in page
    assert '<input type="checkbox" id="topic-economie" name="topic" value="economie">' in page
    assert '<label for="topic-economie">Économie</label>' in page
    assert '<input type="radio" id="rhythm-weekly" name="rhythm" value="weekly" checked>' in page
    assert '<label for="rhythm-weekly">Au plus un numéro par semaine</label>' in page
    assert f'name="paused_until" value="{day}"' in page


def test_looking_at_the_preferences_changes_nothing(site: Site) -> None:
    confirmed_reader()
    with_topics()
    before = wish()
    for query in ("", "?rhythm=weekly&topic=societe&paused_until=2099-01-01"):
        assert site.client.get(f"/p/{site.token(Purpose.PREFERENCES)}{query}").status_code == 200
    assert wish() == before


@pytest.mark.parametrize(
    "ticked", [["*"], ["*", "societe"], ["economie", "societe"], ["unknown", "economie", "societe", "<b>"]]
)
def test_all_topics_are_no_choice(site: Site, ticked: list[str]) -> None:
    confirmed_reader()
    with_topics()
    choices = {"language": "fr", "rhythm": "each", "topic": ticked}
    assert site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data=choices).status_code == 200
    assert wish().topics == ()


def test_without_a_topic_nothing_is_saved_and_the_page_says_what_to_do(site: Site) -> None:
    confirmed_reader()
    with_topics()
    before = wish()
    response = site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data={"language": "fr", "rhythm": "weekly"})
    assert response.status_code == 422
    assert response.text.count("Choisissez au moins un sujet, ou désinscrivez-vous") == 2
    assert 'value="weekly" checked' in response.text
    assert wish() == before


@pytest.mark.parametrize("day", ["", "2001-01-01", "tomorrow", "0001-01-01", "9999-12-31", "2026-02-30"])
def test_a_pause_without_a_day_to_come_is_none_and_a_long_one_is_a_year(site: Site, day: str) -> None:
    confirmed_reader()
    choices = {"language": "fr", "rhythm": "each", "paused_until": day}
    assert site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data=choices).status_code == 200
    assert (wish().paused_until is not None) == (day == "9999-12-31")


def test_a_rhythm_that_there_is_not_is_refused(site: Site) -> None:
    confirmed_reader()
    choices = {"language": "fr", "rhythm": "hourly"}
    assert site.client.post(f"/p/{site.token(Purpose.PREFERENCES)}", data=choices).status_code == 422


def test_choosing_the_language_alone_leaves_the_rest(site: Site) -> None:
    confirmed_reader()
    with_topics()
    path = f"/p/{site.token(Purpose.PREFERENCES)}"
    site.client.post(path, data={"language": "fr", "rhythm": "monthly", "topic": ["societe"]})
    site.client.post(path, data={"language": "en"})
    assert (wish().language, wish().topics, wish().rhythm) == ("en", ("societe",), Rhythm.MONTHLY)


def test_the_preferences_of_who_left_lead_to_the_way_back(site: Site) -> None:
    ended_reader()
    response = site.client.get(f"/p/{site.token(Purpose.PREFERENCES)}", follow_redirects=True)
    assert heading(response) == "Cette adresse est déjà désinscrite"


def test_who_has_no_message_at_hand_learns_how_to_get_the_link(site: Site) -> None:
    page = site.client.get("/preferences").text
    assert "Un message sous la main" in page
    assert '<input id="email" type="email"' in page


def test_the_links_of_a_paused_newsletter_still_end_the_subscription(site: Site) -> None:
    confirmed_reader()
    with transaction() as session:
        newsletters.get(session, "courrier").is_paused = True
    assert site.client.post(f"/u/{site.token(Purpose.UNSUBSCRIBE)}").status_code == 200
    assert state() == ENDED
