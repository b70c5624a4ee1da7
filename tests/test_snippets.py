"""Forms to paste, from the command line."""

import pytest

from mailer.db import transaction
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter


@pytest.fixture(autouse=True)
def newsletter(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session)


def test_a_form_is_printed_ready_to_be_pasted() -> None:
    printed = mailer("newsletter", "form", "courrier", "--kind", "script", "--language", "ru", "--source", "menu")
    assert printed.code == 0
    assert printed.out.startswith('<form action="https://lettre.example/s/courrier" method="post"')
    assert "Подписаться" in printed.out
    assert 'value="menu"' in printed.out
    assert printed.out.rstrip().endswith('<script defer src="https://lettre.example/static/embed.js"></script>')


def test_a_link_is_one_value_for_programs() -> None:
    printed = mailer("newsletter", "form", "courrier", "--kind", "link", "--json")
    assert printed.value == {"kind": "link", "code": "https://lettre.example/courrier?lang=fr&source=site"}


@pytest.mark.parametrize(("option", "value"), [("--language", "xx"), ("--color", "red"), ("--kind", "popup")])
def test_what_is_not_to_be_had_is_said(option: str, value: str) -> None:
    refused = mailer("newsletter", "form", "courrier", option, value)
    assert refused.code == 2
    assert value in refused.err


def test_the_forms_own_fields_are_set_like_all_others() -> None:
    asked = ("--set", "asks_topics=true", "--set", "form_sites=https://a.example, https://b.example:8443")
    changed = mailer("newsletter", "edit", "courrier", *asked, "--json").value
    assert (changed["asks_topics"], changed["form_sites"]) == (True, ["https://a.example", "https://b.example:8443"])
    assert mailer("newsletter", "edit", "courrier", "--set", "form_sites=a.example").code == 2
