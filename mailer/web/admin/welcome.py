"""The first run, a page for each step: the site, the rhythm, the sending, a test mail. Each can be skipped and resumed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n, queue, settings
from mailer.db import transaction
from mailer.delivery import servers
from mailer.delivery.transports import checking
from mailer.issues import schedules
from mailer.mail import brand
from mailer.models.content import Newsletter
from mailer.models.installation import Installation, SiteState
from mailer.models.trials import Trial
from mailer.newsroom import installation, newsletters, site_reading
from mailer.newsroom.installation import Step
from mailer.web import pages, zones
from mailer.web.admin import screens, server_form, session, settings_sending, trying

router = APIRouter(prefix="/welcome", route_class=screens.DeskRoute)

READING_SECONDS: Final = 1
LABELS: Final = {Step.SITE: "Your site", Step.RHYTHM: "Rhythm", Step.SENDING: "Sending mail", Step.TEST: "Test mail"}
RHYTHMS: Final = ("weekly", "daily", "hand")
DAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_FOUND: Final = ("name", "language", "sender_address", "brand_color", "postal_address")
_NOTHING_FOUND: Final = {"feed_url": "", "feed_title": "", "other_feeds": 0, "logo": "", "detail": ""}
_TROUBLES: Final = {
    "no_feed": "No feed was found there or where sites usually have one. Ask who runs the site for its address",
    "unreachable": "The address can’t be read now",
}


@router.api_route("", methods=["GET", "HEAD"])
def resume(desk: session.Owner) -> Response:  # noqa: ARG001
    """Lead to the first step that is neither done nor skipped."""
    with transaction() as database:
        step = installation.next_step(installation.of(database))
    return screens.back(f"/admin/welcome/{step}" if step else "/admin")


@router.api_route("/site", methods=["GET", "HEAD"])
def site(request: Request, desk: session.Owner, again: str = "") -> Response:
    """Ask for the site, tell how reading it goes, or show the newsletter made of it."""
    return _site(request, desk, asks=bool(again))


@router.post("/site")
def read_site(request: Request, desk: session.Owner) -> Response:
    """Have the site read; the page tells how it goes."""
    try:
        with transaction() as database:
            site_reading.ask(database, desk.typed("site_url"), now=desk.now)
    except site_reading.AddressUnclear as error:
        return _site(
            request, desk, errors={"site_url": str(error)}, typed={"site_url": desk.typed("site_url")}, asks=True
        )
    screens.ring(queue.READ_SITE)
    return screens.back("/admin/welcome/site")


@router.post("/newsletter")
def correct(request: Request, desk: session.Owner) -> Response:
    """Correct what was found; the preview shows it, and with the other button the first run goes on."""
    typed = {name: desk.typed(name) for name in (*_FOUND, "uses_logo")}
    try:
        with transaction() as database:
            _correct(database, desk, typed)
            if desk.typed("act") != "look":
                installation.settle(database, Step.SITE, "done", now=desk.now)
    except installation.ChoiceInvalid as error:
        return _site(request, desk, errors=error.errors, typed=typed)
    return screens.back("/admin/welcome/site" if desk.typed("act") == "look" else "/admin/welcome")


@router.api_route("/rhythm", methods=["GET", "HEAD"])
def rhythm(request: Request, desk: session.Owner) -> Response:
    """Ask when issues are made."""
    return _rhythm(request, desk)


@router.post("/rhythm")
def choose_rhythm(request: Request, desk: session.Owner) -> Response:
    """Set the schedule."""
    typed = {name: desk.typed(name) for name in ("rhythm", "day", "hour", "timezone")}
    errors = _rhythm_errors(typed)
    if errors:
        return _rhythm(request, desk, errors=errors, typed=typed)
    crons = {"weekly": f"0 {int(typed['hour'])} * * {typed['day']}", "daily": f"0 {int(typed['hour'])} * * *"}
    with transaction() as database:
        newsletter = _newsletter(database)
        if newsletter is not None:
            cron, zone = crons.get(typed["rhythm"]), typed["timezone"]
            newsletters.schedule(database, newsletter, cron=cron, timezone=zone, now=desk.now, since=desk.now)
            installation.lock(database, now=desk.now).timezone = zone
            installation.settle(database, Step.RHYTHM, "done", now=desk.now)
    return screens.back("/admin/welcome" if newsletter else "/admin/welcome/site")


@router.api_route("/sending", methods=["GET", "HEAD"])
def sending(request: Request, desk: session.Owner) -> Response:
    """Ask how mail leaves: caught here first, or through a server."""
    return _sending(request, desk, server_form.EMPTY)


@router.post("/sending")
def choose_sending(request: Request, desk: session.Owner) -> Response:
    """Catch mail here, or fill in, check and keep a server. One that does not let us in is kept only if insisted on."""
    act = desk.typed("act")
    if act in ("sandbox", "go-on"):
        with transaction() as database:
            installation.settle(database, Step.SENDING, "done", now=desk.now)
            if act == "sandbox":
                servers.use_sandbox(database, True, now=desk.now)
        return screens.back("/admin/welcome")
    values, errors = server_form.typed(desk), server_form.complaints(desk)
    if errors or act == "fill":
        return _sending(request, desk, values, errors=errors)
    try:
        entered = servers.read_form(values)
        checked = None if act == "insist" else server_form.check(entered, None)
        if act == "check" or (checked is not None and not checked.is_good):
            return _sending(request, desk, values, checked=checked)
        with transaction() as database:
            servers.add(database, entered, now=desk.now)
            installation.settle(database, Step.SENDING, "done", now=desk.now)
            servers.use_sandbox(database, False, now=desk.now)
    except servers.ServerInvalid as error:
        return _sending(request, desk, values, errors=error.errors)
    return screens.back("/admin/welcome")


@router.api_route("/test", methods=["GET", "HEAD"])
def test(request: Request, desk: session.Owner) -> Response:
    """Ask where a test mail is to go."""
    return _test(request, desk, address=desk.email)


@router.post("/test")
def send_test(request: Request, desk: session.Owner) -> Response:
    """Send the draft to one address, and show what the server answered."""
    address = desk.typed("address")
    with transaction() as database:
        draft = installation.newest_draft(database)
    if draft is None:
        return _test(
            request, desk, address=address, errors={"address": "There is no draft to send. Draft an issue first"}
        )
    errors, told = settings_sending.try_sending(desk, draft, address)
    if told and told[0].verdict == "accepted":
        with transaction() as database:
            installation.settle(database, Step.TEST, "done", now=desk.now)
    return _test(request, desk, address=address, errors=errors, told=told)


@router.post("/{step}/skip")
def skip(desk: session.Owner, step: Step) -> Response:
    """Leave a step for later."""
    with transaction() as database:
        installation.settle(database, step, "skipped", now=desk.now)
    return screens.back("/admin/welcome")


def _render(
    request: Request, desk: session.Desk, step: Step, row: Installation, *, errors: Mapping[str, str], **values: Any
) -> Response:
    return screens.render(
        request,
        desk,
        f"welcome_{step}",
        here="overview",
        status=422 if errors else 200,
        step=step,
        steps=[(one, LABELS[one], row.steps.get(one)) for one in Step],
        errors=dict(errors),
        **values,
    )


def _site(
    request: Request,
    desk: session.Desk,
    *,
    errors: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    asks: bool = False,
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        newsletter = _newsletter(database)
        draft = installation.newest_draft(database)
    found: dict[str, Any] = {**_NOTHING_FOUND, **row.site_found}
    is_reading = row.site_state in (SiteState.ASKED, SiteState.FOUND)
    errors = dict(errors or {})
    asks = asks or newsletter is None or row.site_state == SiteState.FAILED
    if row.site_state == SiteState.FAILED and not errors:
        errors["site_url"] = _TROUBLES[str(found["code"])]
    return _render(
        request,
        desk,
        Step.SITE,
        row,
        errors=errors if not is_reading or typed else {},
        asks=asks,
        is_reading=is_reading and not typed,
        refresh_seconds=READING_SECONDS if is_reading and not typed else None,
        site_state=row.site_state,
        site_url=(typed or {}).get("site_url", row.site_url),
        found=found,
        newsletter=newsletter,
        values=_values(newsletter, typed) if newsletter else {},
        languages=pages.LANGUAGE_NAMES,
        draft=draft,
        has_frame=True,
    )


def _values(newsletter: Newsletter, typed: Mapping[str, str] | None) -> dict[str, str]:
    return {
        **{name: str(getattr(newsletter, name)) for name in _FOUND},
        "uses_logo": "yes" if newsletter.logo_url else "",
        **(typed or {}),
    }


def _correct(database: Session, desk: session.Desk, typed: Mapping[str, str]) -> None:
    """Set what was corrected. Raises ChoiceInvalid; the transaction is to be given up then."""
    newsletter = _newsletter(database)
    if newsletter is None:
        raise installation.ChoiceInvalid({"site_url": "Enter the address of your site, such as courrier.example"})
    row = installation.lock(database, now=desk.now)
    errors = {}
    for name in _FOUND:
        values = {name: typed[name]} | (
            {"publisher": typed[name], "sender_name": typed[name]} if name == "name" else {}
        )
        try:
            newsletters.edit(database, newsletter, values=dict(values), now=desk.now)
        except (newsletters.NewsletterInvalid, brand.ColorInvalid):
            errors[name] = _COMPLAINTS.get(name, "Enter 1 to 300 characters")
    if errors:
        raise installation.ChoiceInvalid(errors)
    path = str(row.site_found.get("logo") or "")
    logo = f"{settings.load().public_url}{path}" if path and typed["uses_logo"] else None
    newsletters.edit(database, newsletter, values={"logo_url": logo}, now=desk.now)
    row.name = row.publisher = typed["name"]
    row.language, row.brand_color, row.logo_url = typed["language"], typed["brand_color"], logo
    row.postal_address = typed["postal_address"]


_COMPLAINTS: Final = {
    "language": "Choose one of the languages",
    "brand_color": "Enter a colour such as #0F5C5C",
    "sender_address": "Enter a full address, like name@example.com",
}


def _rhythm_errors(typed: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    if typed["rhythm"] not in RHYTHMS:
        errors["rhythm"] = "Choose one of the three"
    if typed["day"] not in DAYS:
        errors["day"] = "Choose a day"
    if typed["hour"] not in [str(hour) for hour in range(24)]:
        errors["hour"] = "Choose an hour"
    try:
        schedules.zone(typed["timezone"] or "?")
    except schedules.ScheduleInvalid:
        errors["timezone"] = "Enter a time zone such as Europe/Paris"
    return errors


def _rhythm(
    request: Request,
    desk: session.Desk,
    *,
    errors: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        newsletter = _newsletter(database)
    shown = dict(typed or _scheduled(row, newsletter))
    names = i18n.locale(desk.language).days["stand-alone"]["wide"]
    return _render(
        request,
        desk,
        Step.RHYTHM,
        row,
        errors=errors or {},
        newsletter=newsletter,
        values=shown,
        days=[(day, names[number]) for number, day in enumerate(DAYS)],
        hours=zones.hours(desk.language),
        zones=zones.groups(desk.language, shown["timezone"] if "timezone" not in (errors or {}) else "UTC"),
    )


def _scheduled(row: Installation, newsletter: Newsletter | None) -> dict[str, str]:
    """Return what the form shows at first: every Friday at 7, or what was chosen before, if it can be said so."""
    parts = (newsletter.cron or "").split() if newsletter is not None else []
    is_simple = len(parts) == 5 and parts[0] == "0" and parts[1].isdigit() and parts[2:4] == ["*", "*"]
    day = parts[4] if is_simple and parts[4] in DAYS else "FRI"
    was_chosen = row.steps.get(Step.RHYTHM) == "done"
    kind = "daily" if is_simple and parts[4] == "*" else "weekly" if is_simple or not was_chosen else "hand"
    hour = parts[1] if is_simple else "7"
    return {"rhythm": kind, "day": day, "hour": hour, "timezone": newsletter.timezone if newsletter else row.timezone}


def _sending(
    request: Request,
    desk: session.Desk,
    values: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    checked: checking.Checked | None = None,
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        routes = servers.routes(database)
    shown = server_form.shown(values, errors=errors, checked=checked)
    return _render(
        request,
        desk,
        Step.SENDING,
        row,
        are_ours=servers.are_ours(),
        has_inbox=settings.load().inbox_smtp_url is not None,
        routes=[one.name for one in routes],
        **shown,
    )


def _test(
    request: Request,
    desk: session.Desk,
    *,
    address: str,
    errors: Mapping[str, str] | None = None,
    told: Sequence[Trial] = (),
) -> Response:
    with transaction() as database:
        row = installation.of(database)
        values = {"draft": installation.newest_draft(database), "has_route": bool(servers.routes(database))}
    return _render(
        request,
        desk,
        Step.TEST,
        row,
        errors=errors or {},
        address=address,
        told=told,
        trial_meanings=trying.MEANINGS,
        **values,
    )


def _newsletter(database: Session) -> Newsletter | None:
    """Return the newsletter of the first run; one that was made otherwise will do."""
    row = installation.of(database)
    if row.newsletter_id is not None:
        return database.get(Newsletter, row.newsletter_id)
    return next(iter(newsletters.all_newsletters(database)), None)
