"""What is found of a newsroom from the address of its site."""

import io
import ipaddress
from collections.abc import Iterator

import pytest
from PIL import Image

from mailer.articles import discovery, sites
from mailer.feeds import fetch, front
from tests import site as web
from tests.site import Answer, Site

HERE = (ipaddress.ip_network("127.0.0.1/32"),)
RSS = (
    '<?xml version="1.0"?><rss version="2.0"><channel><title>Le flux</title>'
    "<item><title>Eau</title><link>https://courrier.example/eau</link></item></channel></rss>"
)


def picture(color: str, size: tuple[int, int] = (180, 180)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    with web.running() as running:
        running.put("/feed", RSS)
        yield running


def page(head: str = "", body: str = "", html: str = 'lang="fr-FR"') -> str:
    feed = '<link rel="alternate" type="application/rss+xml" href="/feed">'
    return f"<!doctype html><html {html}><head><title>Accueil</title>{feed}{head}</head><body>{body}</body></html>"


def read(site: Site, path: str = "/") -> sites.Site:
    return sites.read(site.url(path), private_networks=HERE)


def test_name_language_colour_zone_feed_and_logo_are_found(site: Site) -> None:
    head = '<meta property="og:site_name" content="Le  Courrier"><meta name="theme-color" content="#0b6">'
    site.put("/", page(head, '<img class="site-logo" src="/logo.png">'))
    site.put("/logo.png", picture("#123456", (300, 80)), content_type="image/png")
    found = read(site)
    assert (found.name, found.language, found.zone, found.color) == ("Le Courrier", "fr", "Europe/Paris", "#00BB66")
    assert (found.feed_url, found.feed_title, found.articles) == (site.url("/feed"), "Le flux", 1)
    assert found.logo is not None
    assert (found.logo.files[0].width, found.logo.files[0].height, found.logo.files[0].kind) == (300, 80, "png")


def test_any_address_of_the_site_will_do(site: Site) -> None:
    site.put("/", page('<meta property="og:site_name" content="Le Courrier">'))
    site.put("/eau", page())
    assert (read(site, "/eau").name, read(site, "/eau").url) == ("Le Courrier", site.url("/"))


def test_the_address_of_a_feed_will_do(site: Site) -> None:
    site.put("/", page('<meta property="og:site_name" content="Le Courrier">'))
    assert read(site, "/feed").name == "Le Courrier"


def test_a_feed_whose_front_page_cannot_be_read_is_enough(site: Site) -> None:
    found = read(site, "/feed")
    assert (found.name, found.language, found.color, found.logo) == ("Le flux", "en", None, None)


def test_the_icon_tells_the_colour_where_the_page_does_not(site: Site) -> None:
    site.put("/", page('<link rel="icon" href="/small.ico"><link rel="apple-touch-icon" href="/touch.png">'))
    site.put("/touch.png", picture("#C02030"), content_type="image/png")
    assert read(site).color == "#C02030"


@pytest.mark.parametrize("body", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a broken", b"<html>404"])
def test_a_logo_that_is_no_picture_is_no_logo(site: Site, body: bytes) -> None:
    site.put("/", page("", '<img alt="Logo" src="/logo">'))
    site.put("/logo", body, content_type="image/png")
    assert read(site).logo is None


def test_what_has_no_feed_says_so(site: Site) -> None:
    site.pages.clear()
    site.put("/", "<html><body>Bonjour</body></html>")
    with pytest.raises(discovery.NoFeedFound):
        read(site)


def test_a_private_address_is_never_asked(site: Site) -> None:
    site.put("/", page())
    with pytest.raises(fetch.FeedUnreachable):
        sites.read(site.url("/"))
    assert site.asked == []


def test_a_front_page_that_moves_on_is_followed(site: Site) -> None:
    site.pages["/"] = Answer(status=302, location="/accueil")
    site.put("/accueil", page('<meta property="og:site_name" content="Le Courrier">'))
    assert read(site).name == "Le Courrier"


@pytest.mark.parametrize(
    ("host", "language", "zone"),
    [
        ("courrier.kz", "ru", "Asia/Almaty"),
        ("courrier.example", "fr-BE", "Europe/Brussels"),
        ("courrier.example", "kk", "Asia/Almaty"),
        ("courrier.uk", "en", "Europe/London"),
        ("courrier.example", "", "UTC"),
        ("localhost", "de", "UTC"),
    ],
)
def test_the_zone_is_guessed_by_domain_country_and_language(host: str, language: str, zone: str) -> None:
    assert sites._zone(host, language) == zone


@pytest.mark.parametrize(
    "document",
    [
        "",
        "\x00",
        "<" * 5000,
        '<html lang="' + "x" * 5000 + '"><meta name="theme-color" content="red">',
        '<script type="application/ld+json">{"@graph": 7}</script>',
        '<script type="application/ld+json">' + "[" * 100_000 + "</script>",
        '<script type="application/ld+json">[{"@type": [1], "name": {}, "logo": {"url": 5}}]</script>',
        '<meta property="og:locale" content="<script>"><link rel="icon" href="javascript:alert(1)">',
    ],
)
def test_a_hostile_page_says_nothing(document: str) -> None:
    found = front.read(document, "https://courrier.example/")
    assert (found.name, found.language, found.color, found.logos, found.icons) == ("", "", None, (), ())


def test_the_publication_that_json_ld_names_is_found() -> None:
    told = '{"@type": "NewsMediaOrganization", "name": "Le Courrier", "logo": {"url": "/l.png"}}'
    found = front.read(f'<script type="application/ld+json">{told}</script>', "https://courrier.example/")
    assert (found.name, found.logos) == ("Le Courrier", ("https://courrier.example/l.png",))
