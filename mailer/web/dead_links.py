"""What a mail's link shows that was cut or changed (R6), or whose row is gone: how to get another, of the same newsletter."""

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from mailer import clock, links
from mailer.audience import readers, subscriptions
from mailer.db import transaction
from mailer.newsroom import newsletters
from mailer.web import dependencies, errors, faces, forms, pages


def cut(request: Request, _error: Exception) -> Response:
    """Explain that a link was cut or changed, and how to get a new one (R6)."""
    return _start_again(request, "broken", status=404)


def gone(request: Request, _error: Exception) -> Response:
    """Explain that a link is too old, or that what it led to was erased (R5)."""
    return _start_again(request, "expired", status=410, again=None)


HANDLERS: Final[dict[int | type[Exception], Callable[[Request, Any], Any]]] = {
    links.TokenInvalid: cut,
    links.TokenExpired: gone,
    subscriptions.SubscriptionNotFound: gone,
    readers.ReaderNotFound: gone,
}


def form_values(request: Request, newsletter: faces.Publication) -> tuple[str, dict[str, object]]:
    """Return the language and the values of a page that holds a newsletter's form, for who must ask again."""
    language = dependencies.language(request, newsletter.language)
    with transaction() as session:
        found = newsletters.get(session, newsletter.slug)
        filled = forms.Filled(newsletter=found, language=language, typed=forms.SignupForm())
        return language, forms.values(session, filled, now=clock.now())


def _start_again(request: Request, template: str, *, status: int, **values: object) -> Response:
    """Show the form of the newsletter that the link names, or of the only one; a list if it can be any of several."""
    offered = faces.of(request).all()
    is_confirmation = request.url.path.startswith("/confirm/")
    newsletter = faces.of(request).named_by(request) or (offered[0] if len(offered) == 1 else None)
    language = dependencies.language(request, *(one.language for one in offered[:1]))
    has_form = newsletter is not None and is_confirmation
    if newsletter is not None and has_form:
        language, form = form_values(request, newsletter)
        values |= form
    response = pages.render(
        request,
        template,
        language=language,
        status=status,
        **{
            **values,
            "newsletter": newsletter,
            "offered": offered,
            "has_form": has_form,
            "is_confirmation": is_confirmation,
            "here": errors.here(request),
        },
    )
    return forms.with_proof(response)
