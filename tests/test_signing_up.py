"""The sign-up form against people and robots: what it asks, what it suggests, what it takes, and that it tells nothing."""

import hashlib
import html
import re
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mailer import clock, links, scheduling, settings
from mailer.db import transaction
from mailer.delivery import sending
from mailer.links import Purpose
from mailer.models.choices import Rhythm
from mailer.newsroom import newsletters
from mailer.web import forms
from tests.conftest import SmtpInbox, forget
from tests.web_server import browser
from tests.web_site import Site, asking_newsletter, confirmed_reader, heading, pending_reader, requests, running_site

HOMOGRAPH = "lea@gm\u0430il.com"  # With a Cyrillic letter.


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def use(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """Change settings, MAILER_… in small letters, of the running service."""
    for name, value in values.items():
        monkeypatch.setenv(f"MAILER_{name.upper()}", str(value))
    settings.load.cache_clear()


def stamp(*, ago: timedelta = timedelta(), slug: str = "courrier") -> str:
    return forms.stamp(slug, now=clock.now() - ago)


def cookies(response: httpx.Response) -> list[str]:
    return re.findall(r"(mailer_\w+)=", response.headers.get("set-cookie", ""))


# --- what it asks


def test_the_form_asks_for_rhythm_and_topics_only_if_the_newsletter_wants_it(site: Site) -> None:
    assert "<fieldset" not in site.client.get("/courrier").text
    asking_newsletter()
    page = site.client.get("/courrier").text
    assert "À quel rythme\u00a0?" in page
    assert re.findall(r'name="rhythm" value="(\w+)"', page) == ["each", "monthly"]
    assert re.findall(r'name="topic" value="(\w+)" checked', page) == ["culture", "eau"]


@pytest.mark.parametrize(
    ("cron", "offered"),
    [
        ("0 7 * * FRI", ["each", "monthly"]),
        ("0 7 * * MON-FRI", ["each", "weekly", "monthly"]),
        ("0 7,19 * * *", ["each", "daily", "weekly", "monthly"]),
        ("0 7 1 * *", ["each"]),
        (None, ["each", "weekly", "monthly"]),
    ],
)
def test_only_slower_rhythms_than_the_newsletters_own_are_offered(cron: str | None, offered: list[str]) -> None:
    newsletter = newsletters.Newsletter(cron=cron, timezone="Europe/Paris")
    assert forms.offered_rhythms(newsletter, now=clock.now()) == offered


def test_what_was_chosen_is_stored_with_the_request(site: Site) -> None:
    asking_newsletter()
    site.client.post(
        "/s/courrier", data={"email": "a@example.org", "topic": ["eau", "x\0", "gone"], "rhythm": "monthly"}
    )
    site.client.post("/s/courrier", data={"email": "b@example.org", "topic": ["eau", "culture"], "rhythm": "hourly"})
    assert [(one.topics, one.rhythm) for one in requests()] == [(["eau"], Rhythm.MONTHLY), ([], Rhythm.EACH)]


def test_what_was_not_asked_is_not_stored(site: Site) -> None:
    site.client.post("/s/courrier", data={"email": "a@example.org", "topic": ["eau"], "rhythm": "monthly"})
    assert [(one.topics, one.rhythm) for one in requests()] == [([], Rhythm.EACH)]


def test_what_was_chosen_is_still_there_after_a_mistake(site: Site) -> None:
    asking_newsletter()
    page = site.client.post("/s/courrier", data={"email": "lea", "topic": ["eau"], "rhythm": "monthly"}).text
    assert re.findall(r'id="(?:rhythm|topic)-(\w+)"[^>]*checked', page) == ["monthly", "eau"]


def test_the_box_for_tracking_is_there_only_if_the_newsletter_tracks_and_is_never_ticked_for_anybody(
    site: Site,
) -> None:
    assert 'name="tracking"' not in site.client.get("/courrier").text
    site.subscribe("a@example.org", tracking="yes")
    with transaction() as session:
        newsletters.get(session, "courrier").tracks_readers = True
    page = site.client.get("/courrier?lang=en").text
    assert 'name="tracking" value="yes" aria-describedby' in page
    assert "We do not track what you open." not in page
    time.sleep(1.1)
    site.subscribe("b@example.org")
    site.subscribe("c@example.org", tracking="yes")
    assert [one.agrees_to_tracking for one in requests()] == [False, False, True]


# --- what it suggests


def test_a_likely_slip_is_offered_as_a_button_and_the_address_stays(site: Site) -> None:
    response = site.subscribe("lea@gmial.com", source="article")
    assert response.status_code == 422
    assert (
        'name="email" value="lea@gmail.com" class="primary">Vouliez-vous dire lea@gmail.com\u00a0?</button>'
        in response.text
    )
    assert 'id="email" type="email" name="email" value="lea@gmial.com"' in response.text
    assert requests() == []
    carried = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', response.text))
    assert carried["source"] == "article"


@pytest.mark.parametrize("typed", ["lea@gmial.com", "Lea@GMIAL.com "])
def test_who_means_it_presses_again(site: Site, typed: str) -> None:
    page = site.subscribe(typed).text
    (kept,) = re.findall(r'name="as_typed" value="([^"]*)"', page)
    assert site.subscribe(typed, as_typed=html.unescape(kept)).status_code == 303
    assert requests()[0].address.lower() == "lea@gmial.com"


def test_a_letter_of_another_script_is_noticed(site: Site) -> None:
    assert "lea@gmail.com" in site.subscribe(HOMOGRAPH).text
    assert site.subscribe(HOMOGRAPH, as_typed=HOMOGRAPH).status_code == 303
    assert requests()[0].address == "lea@xn--gmil-63d.com"


# --- robots


def test_a_form_that_comes_back_at_once_gets_the_same_answer_and_does_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, form_seconds=2)
    robot = site.subscribe(t=stamp())
    person = site.subscribe(t=stamp(ago=timedelta(seconds=3)))
    assert (robot.status_code, robot.content) == (person.status_code, person.content) == (303, b"")
    assert len(requests()) == 1
    # Nor do the pages that follow tell.
    with browser(site.url) as other:
        other.post("/s/courrier", data={"email": "lea@example.org", "t": stamp()})
        assert "<b>lea@example.org</b>" in other.get("/check-inbox").text


def test_a_form_that_was_filled_in_by_its_link_may_come_back_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, form_seconds=2)
    page = site.client.get("/courrier?email=lea@example.org").text
    (mark,) = re.findall(r'name="t" value="([^"]+)"', page)
    site.subscribe(t=mark)
    assert len(requests()) == 1


@pytest.mark.parametrize("mark", ["old", "changed", "other", "nonsense"])
def test_a_form_that_is_too_old_or_not_ours_is_shown_again_with_a_new_stamp(site: Site, mark: str) -> None:
    fresh = stamp()
    marks = {
        "old": stamp(ago=timedelta(hours=25)),
        "changed": fresh[:-1] + ("A" if fresh[-1] != "A" else "B"),
        "other": stamp(slug="hebdo"),
        "nonsense": "\u00e9\0",
    }
    response = site.subscribe(t=marks[mark])
    assert response.status_code == 422
    assert "Cette page était ouverte depuis longtemps" in response.text
    (renewed,) = re.findall(r'name="t" value="([^"]+)"', response.text)
    assert site.subscribe(t=renewed).status_code == 303
    assert len(requests()) == 1


def test_whatever_is_dropped_gets_the_same_cookies(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, signups_per_address=1)
    answers = [site.subscribe(), site.subscribe(), site.subscribe(website="x"), site.subscribe(t=stamp())]
    assert [cookies(one) for one in answers] == [["mailer_signup"]] * 4
    assert len({(one.status_code, one.headers["location"]) for one in answers}) == 1
    assert len(requests()) == 1
    # The number in it, which can be read, is the next of the same row.
    marks = [re.findall(r"mailer_signup=([\w-]{40,});", one.headers["set-cookie"])[0] for one in answers]
    assert [links.unseal(Purpose.SIGNUP, one).split("\n")[1] for one in marks] == ["1", "2", "3", "4"]


def test_a_network_that_tries_too_often_is_asked_to_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, signups_per_network=3)
    assert site.subscribe("a@example.org").status_code == 303
    refused = site.subscribe("b@example.org", lang="fr")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "600")
    assert heading(refused) == "Trop d’essais, réessayez dans 10\u00a0minutes"
    assert "set-cookie" not in refused.headers
    assert [one.address for one in requests()] == ["a@example.org"]


def test_a_thousand_sign_ups_of_one_address_lead_to_one_mail(
    site: Site, installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, trusted_proxies="127.0.0.0/8", signups_per_network=100_000, signups_per_address=100)
    for number in range(1000):
        spelling = ("lea@example.org", "LEA@example.org", "Lea@EXAMPLE.org")[number % 3]
        forwarded = {"X-Forwarded-For": f"198.{number % 250}.{number // 250}.7"}
        assert site.client.post("/s/courrier", data={"email": spelling}, headers=forwarded).status_code == 303
    stored = len(requests())
    assert 50 <= stored <= 100
    for _ in range(stored):
        scheduling.answer_signups()
    assert all(one.handled_at for one in requests())
    sending.send_due(budget_seconds=10)
    assert [one.recipients for one in installation.messages] == [("lea@example.org",)]


def test_a_sign_up_is_taken_while_redis_is_away_but_not_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    forget()
    found = [site.subscribe(f"r{number}@d{number}.example").status_code for number in range(5)]
    assert found == [303, 303, 429, 429, 429]


# --- proof of work


def solution(site: Site) -> str:
    """What a browser calculates."""
    work = site.client.get("/s/courrier/stamp").json()["work"]
    number = next(
        n
        for n in range(work["maxnumber"] + 1)
        if hashlib.sha256(f"{work['salt']}{n}".encode()).hexdigest() == work["challenge"]
    )
    kept = {name: work[name] for name in ("algorithm", "challenge", "salt", "signature")}
    import base64
    import json

    return base64.b64encode(json.dumps({**kept, "number": number}).encode()).decode()


def test_with_proof_of_work_a_form_needs_a_solution_and_each_is_good_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, proof_of_work="true")
    refused = site.subscribe()
    assert refused.status_code == 422
    assert "Votre navigateur doit calculer" in refused.text
    solved = solution(site)
    assert site.subscribe(altcha=solved).status_code == 303
    assert site.subscribe(altcha=solved).status_code == 422
    assert len(requests()) == 1


def test_only_with_proof_of_work_may_the_form_run_a_script(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.client.get("/courrier")
    assert "<script" not in before.text
    assert "script-src" not in before.headers["content-security-policy"]
    assert site.client.get("/s/courrier/stamp").json()["work"] is None
    use(monkeypatch, proof_of_work="true")
    after = site.client.get("/courrier")
    assert after.headers["content-security-policy"].endswith("; script-src 'self'; connect-src 'self'")
    assert re.findall(r"<script[^>]*>", after.text) == [
        re.search(r'<script defer src="/static/proof.js[^>]*>', after.text)[0]
    ]


# --- on other sites


def test_the_forms_script_gets_the_same_answer_for_every_address(site: Site) -> None:
    confirmed_reader()
    script = {"Accept": "application/json"}
    answers = [
        site.client.post("/s/courrier", data={"email": address}, headers=script)
        for address in ("r0@example.org", "nobody@example.org")
    ]
    assert [one.status_code for one in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert answers[0].json()["status"] == "check_inbox"
    assert answers[0].headers["access-control-allow-origin"] == "*"


def test_the_forms_script_is_told_what_is_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    script = {"Accept": "application/json"}

    def told(address: str) -> tuple[int, str, str]:
        answer = site.client.post("/s/courrier", data={"email": address, "lang": "fr"}, headers=script)
        return answer.status_code, answer.json()["status"], answer.json()["message"]

    assert told("lea") == (422, "invalid", "Saisissez une adresse complète, par exemple nom@exemple.fr")
    assert told("lea@gmial.com") == (422, "suggestion", "Vouliez-vous dire lea@gmail.com\u00a0?")
    use(monkeypatch, signups_per_network=3)
    told("a@example.org")
    assert told("b@example.org")[:2] == (429, "too_many")


def test_no_other_page_may_be_read_by_other_sites(site: Site) -> None:
    for path in ("/", "/courrier", "/courrier/embed", "/check-inbox"):
        headers = site.client.get(path, headers={"Origin": "https://evil.example"}).headers
        assert "access-control-allow-origin" not in headers
    assert "access-control-allow-credentials" not in site.client.get("/s/courrier/stamp").headers


def test_the_form_in_a_frame_stays_in_it_whatever_happens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"frame": "yes", "color": "7A1FA2"}
    shown = site.client.get("/courrier/embed?color=7A1FA2&source=article")
    sent = site.subscribe(**fields)
    after = site.client.get(sent.headers["location"])
    wrong = site.subscribe("lea", **fields)
    use(monkeypatch, signups_per_network=3)
    late = site.subscribe("b@example.org", **fields)
    assert [one.status_code for one in (shown, sent, after, wrong, late)] == [200, 303, 200, 422, 429]
    for page in (shown, after, wrong, late):
        assert "frame-ancestors *" in page.headers["content-security-policy"]
        assert '<link rel="stylesheet" href="/static/brand/7A1FA2-' in page.text
        assert "<footer" not in page.text
    assert 'name="source" value="article"' in shown.text
    assert "Consultez votre messagerie" in after.text
    assert "Trop d’essais, réessayez dans 10\u00a0minutes" in late.text


def test_only_the_sites_of_the_list_may_show_the_frame(site: Site) -> None:
    asking_newsletter(form_sites=["https://courrier.example", "https://*.courrier.example"])
    policy = site.client.get("/courrier/embed").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors 'self' https://courrier.example https://*.courrier.example")
    assert "frame-ancestors 'none'" in site.client.get("/courrier").headers["content-security-policy"]


@pytest.mark.parametrize("color", ["red", "12345", "%22%3E%3Cb", "0F5C5C;x"])
def test_a_colour_that_is_none_leaves_the_newsletters_own(site: Site, color: str) -> None:
    assert 'href="/static/brand/0F5C5C-' in site.client.get(f"/courrier/embed?color={color}").text


@pytest.mark.parametrize(
    "asked", ["https://courrier.example/path", "courrier.example", "javascript:x", "https://a b", "*"]
)
def test_what_is_no_site_is_refused(site: Site, asked: str) -> None:
    with pytest.raises(newsletters.NewsletterInvalid, match="form_sites"):
        asking_newsletter(form_sites=[asked])


# --- it tells nothing


def test_a_known_address_takes_as_long_as_an_unknown_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, signups_per_network=100_000, signups_per_address=100_000)
    confirmed_reader()
    site.subscribe("warm@example.org")
    seconds: dict[str, list[float]] = {"r0@example.org": [], "zz@example.org": []}
    for _ in range(40):
        for address, taken in seconds.items():
            start = time.perf_counter()
            site.subscribe(address)
            taken.append(time.perf_counter() - start)
    known, unknown = (statistics.median(one) for one in seconds.values())
    assert abs(known - unknown) < max(0.005, 0.5 * unknown)


def test_a_confirmation_mail_holds_nothing_that_somebody_typed_but_the_address(
    site: Site, installation: SmtpInbox
) -> None:
    asking_newsletter()
    site.client.post(
        "/s/courrier",
        data={"email": "lea@example.org", "source": "evil.example/win", "topic": ["eau", "evil"], "name": "evil"},
        headers={"User-Agent": "evil", "Referer": "https://evil.example"},
    )
    scheduling.answer_signups()
    sending.send_due(budget_seconds=10)
    (mail,) = installation.messages
    assert b"evil" not in mail.content
    assert b"Eau" not in mail.content


# --- whatever is typed


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("lea@b\u00fccher.example", "lea@xn--bcher-kva.example"),
        ("l\u00e9a@example.org", "l\u00e9a@example.org"),
        ("\u043b\u0435\u0430@\u043f\u043e\u0447\u0442\u0430.\u0440\u0444", "\u043b\u0435\u0430@xn--80a1acny.xn--p1ai"),
        ("lea+news@example.org", "lea+news@example.org"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_addresses_of_the_whole_world_are_taken(site: Site, address: str, stored: str) -> None:
    assert site.subscribe(address).status_code == 303
    assert requests()[0].address == stored


@pytest.mark.parametrize(
    "address",
    [
        '"visit https://evil.example"@example.org',
        "a" * 65 + "@example.org",
        "a@" + "b" * 318,
        "a@example.org\r\nBcc: b@example.org",
        "a@example.org%0aBcc:b@example.org",
        "a\0@example.org",
        "a@example.org,b@example.org",
        "<a@example.org>",
        "a@[127.0.0.1]",
        "a@localhost",
        "a@exa mple.org",
        "a(comment)@example.org",
        "\u202ea@example.org",
        "a@-example.org",
        "@" * 300,
        "\U0001f600" * 100,
        "a@\u2025example.org",
    ],
)
def test_what_is_no_address_is_explained_and_nothing_is_stored(site: Site, address: str) -> None:
    response = site.subscribe(address)
    assert response.status_code == 422
    assert "Saisissez une adresse complète" in response.text
    assert requests() == []


TOKEN_PATHS = ("/confirm/{}", "/u/{}", "/p/{}")


@pytest.mark.parametrize("path", TOKEN_PATHS)
def test_a_link_that_was_cut_changed_or_made_for_something_else_leads_to_help(site: Site, path: str) -> None:
    pending_reader()
    right = {"/confirm/{}": Purpose.CONFIRM, "/u/{}": Purpose.UNSUBSCRIBE, "/p/{}": Purpose.PREFERENCES}[path]
    others = [links.sign_now(purpose, 1, clock.now()) for purpose in Purpose if purpose != right]
    genuine = links.sign_now(right, 1, clock.now())
    changed = [genuine[:place] + chr(ord(genuine[place]) ^ 1) + genuine[place + 1 :] for place in range(0, 40, 3)]
    cut = [genuine[:length] for length in (1, 20, 39)]
    odd = [f"{genuine}A", genuine + "=" * 3, "%00" * 20, "%ff" * 40, "é" * 40, "A" * 3000]
    for token in (*others, *changed, *cut, *odd):
        for method in ("GET", "POST"):
            response = site.client.request(method, path.format(token))
            assert response.status_code == 404, (path, token, method)
            assert "<h1>" in response.text
    assert links.read(right, genuine).id == 1


def test_ten_thousand_guesses_open_nothing(environment: None) -> None:
    """Each is one of 2^144: a million guesses a second for the age of the universe find one with odds of 1 to 10^19."""
    genuine = links.sign_now(Purpose.CONFIRM, 1, clock.now())
    for guess in range(10_000):
        mark = hashlib.sha256(f"{guess}".encode()).hexdigest()[:24]
        with pytest.raises(links.TokenInvalid):
            links.read(Purpose.CONFIRM, genuine[:16] + mark)
