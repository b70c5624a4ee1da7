"""A publisher's colour: whatever it is, mails can be read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from mailer.mail import brand, mails
from mailer.models.content import Font, MailKind, Variant
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter

COLORS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06X}")


@given(color=COLORS)
@settings(max_examples=300, deadline=None)
def test_every_colour_can_be_read_by_day_and_by_night(color: str) -> None:
    found = brand.palette(color)
    for ground in brand.LIGHT_GROUNDS:
        assert brand.contrast(found.light, ground) >= 4.5
    for ground in brand.DARK_GROUNDS:
        assert brand.contrast(found.dark, ground) >= 4.5
    assert brand.contrast(found.on_light, found.light) >= 4.5
    assert brand.contrast(found.on_dark, found.dark) >= 4.5


@given(color=COLORS, dark=COLORS)
@settings(max_examples=100, deadline=None)
def test_a_dark_shade_of_the_publishers_own_can_be_read_too(color: str, dark: str) -> None:
    found = brand.palette(color, dark)
    assert min(brand.contrast(found.dark, ground) for ground in brand.DARK_GROUNDS) >= 4.5
    assert found.light == brand.palette(color).light


@given(color=COLORS)
@settings(max_examples=100, deadline=None)
def test_a_shade_that_can_be_read_is_not_touched_again(color: str) -> None:
    found = brand.palette(color)
    assert brand.palette(found.light, found.dark) == found


def test_a_colour_that_can_be_read_stays() -> None:
    assert brand.palette("#0F5C5C", "#7CC7BD").light == "#0F5C5C"
    assert brand.palette("#0F5C5C", "#7CC7BD").dark == "#7CC7BD"


@pytest.mark.parametrize(("color", "hue"), [("#FFD400", (0, 1)), ("#00C853", (1, 2)), ("#2962FF", (2, 1))])
def test_a_corrected_colour_keeps_its_hue(color: str, hue: tuple[int, int]) -> None:
    """The strongest channel stays the strongest, by day and by night."""
    for shade in (brand.palette(color).light, brand.palette(color).dark):
        channels = [int(shade[place : place + 2], 16) for place in (1, 3, 5)]
        assert channels[hue[0]] == max(channels)
        assert channels[hue[0]] > min(channels)


def test_a_corrected_colour_is_the_nearest_one() -> None:
    """One step less would be too pale."""
    assert 4.5 <= brand.contrast(brand.palette("#FFD400").light, "#F4F2EE") < 4.6
    assert 7 <= brand.contrast(brand.palette("#000080").dark, "#20262A") < 7.2
    assert 4.5 <= brand.contrast(brand.palette("#000080", "#000080").dark, "#20262A") < 4.7


def test_contrast_is_that_of_the_standard() -> None:
    assert brand.contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert brand.contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("color", ["teal", "#0F5", "#0F5C5C;}", "", "#0F5C5G", "#0F5C5C\n"])
def test_what_is_no_colour_is_refused(color: str) -> None:
    with pytest.raises(brand.ColorInvalid, match="#0F5C5C"):
        brand.palette(color)


def test_a_new_colour_brings_its_shade_for_the_night(session: Session) -> None:
    newsletter = a_newsletter(session)
    newsletters.edit(session, newsletter, values={"brand_color": "#AA0000"}, now=NOW)
    assert newsletter.brand_color_dark == brand.palette("#AA0000").dark
    newsletters.edit(session, newsletter, values={"brand_color": "#00AA00", "brand_color_dark": "#99FF99"}, now=NOW)
    assert newsletter.brand_color_dark == "#99FF99"


def test_a_form_that_sends_the_old_shade_with_a_new_colour_gets_a_new_one(session: Session) -> None:
    newsletter = a_newsletter(session)
    values: dict[str, object] = {"brand_color": "#AA0000", "brand_color_dark": newsletter.brand_color_dark}
    newsletters.edit(session, newsletter, values=values, now=NOW)
    assert newsletter.brand_color_dark == brand.palette("#AA0000").dark


def test_the_command_line_sets_logo_and_font(session: Session) -> None:
    """It gives everything as text."""
    newsletter = a_newsletter(session)
    values: dict[str, object] = {"logo_url": "https://courrier.example/logo.png", "logo_width": "180", "font": "sans"}
    newsletters.edit(session, newsletter, values=values, now=NOW)
    assert (newsletter.logo_url, newsletter.logo_width) == ("https://courrier.example/logo.png", 180)
    assert newsletter.font is Font.SANS
    newsletters.edit(session, newsletter, values={"logo_url": ""}, now=NOW)
    assert newsletter.logo_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("font", "Comic Sans"),
        ("logo_width", "wide"),
        ("logo_width", "2000"),
        ("logo_url", "http://courrier.example/logo.png"),
        ("logo_url", "javascript:alert(1)"),
        ("logo_url", 'https://x.example/"><script>'),
        ("brand_color", "teal"),
    ],
)
def test_what_no_mail_can_show_is_refused(session: Session, name: str, value: str) -> None:
    newsletter = a_newsletter(session)
    with pytest.raises(newsletters.NewsletterInvalid, match=name):
        newsletters.edit(session, newsletter, values={name: value}, now=NOW)


def test_a_mail_has_the_newsletters_brand(session: Session) -> None:
    newsletter = a_newsletter(session, brand_color="#FFD400", font="sans", logo_url="https://courrier.example/logo.png")
    variant = session.get_one(Variant, mails.notice_variant(session, newsletter, MailKind.CONFIRM, "fr", now=NOW))
    assert "#836D00" in variant.html
    assert "#FFD400!important" in variant.html
    assert "Georgia" not in variant.html
    assert '<img src="https://courrier.example/logo.png" width="160" alt="Le Courrier d’Asie centrale"' in variant.html
