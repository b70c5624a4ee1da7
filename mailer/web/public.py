"""Pages for everybody: the newsletters. The sign-up form is in signing_up.py, issues on the web are in issues.py."""

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import IssueState, Newsletter
from mailer.newsroom import newsletters
from mailer.web import dependencies, faces, pages, rhythm

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """List the newsletters."""
    language = dependencies.language(request)
    with transaction() as session:
        listed = [
            (faces.publication(one), rhythm.promise(language, schedule_of(one)))
            for one in newsletters.all_newsletters(session)
        ]
    return pages.render(request, "index", language=language, listed=listed, is_public=True)


def find(session: Session, slug: str) -> Newsletter:
    """Find a newsletter by what stands in an address. Raises NewsletterNotFound."""
    if not newsletters.SLUG.match(slug):
        raise newsletters.NewsletterNotFound("There is no such newsletter.")
    return newsletters.get(session, slug)


def latest_issue_path(session: Session, newsletter: Newsletter) -> str | None:
    """Return the path of the newest issue that readers have; None before the first."""
    found = issues.latest(session, newsletter.id, limit=1, states=(IssueState.SENDING, IssueState.SENT))
    return f"/i/{found[0].id}" if found else None


def schedule_of(newsletter: Newsletter) -> str | None:
    """Return when issues leave, as a cron expression; None if nothing can be promised."""
    return None if newsletter.is_paused else newsletter.cron
