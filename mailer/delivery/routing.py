"""The dispatcher of a sending process, made anew when the mail servers were changed at the desk."""

from mailer import settings
from mailer.delivery.rates import Rates
from mailer.delivery.transports.dispatcher import Dispatcher, Listener
from mailer.mail_settings import Transport


def begin(rates: Rates, listener: Listener) -> Dispatcher:
    """Make the dispatcher of the servers that the environment names; none of others, until `renewed` has looked."""
    return _made(settings.load().routes, rates, listener)


def renewed(old: Dispatcher, now: tuple[Transport, ...], listener: Listener) -> Dispatcher:
    """Return the dispatcher for the servers of now: `old`, unless they were changed. Only while nothing is under way."""
    if now == tuple(pool.transport for pool in old.pools):
        return old
    old.close()
    return _made(now, old.rates, listener)


def _made(routes: tuple[Transport, ...], rates: Rates, listener: Listener) -> Dispatcher:
    chosen = settings.load()
    return Dispatcher(
        routes,
        chosen.domains,
        helo_name=chosen.helo_name or chosen.public_host,
        timeout_seconds=chosen.smtp_timeout_seconds,
        rates=rates,
        listener=listener,
    )
