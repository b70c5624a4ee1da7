"""The addresses of pictures in mails."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from mailer import clock
from mailer.articles import pictures, shrinking
from mailer.db import transaction
from mailer.models.pictures import Picture
from mailer.newsroom import newsletters
from tests.factories import a_newsletter
from tests.web_site import Site, running_site

DIGEST = "0123456789abcdef0123456789abcdef"
PATH = f"/img/{DIGEST}/240.jpg"


@pytest.fixture
def site(installation: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as site:
        yield site


@pytest.fixture
def content(site: Site) -> bytes:
    """A picture that was fetched."""
    file = io.BytesIO()
    Image.new("RGB", (240, 160), "teal").save(file, "JPEG")
    card = shrinking.File(use="card", width=240, height=160, kind="jpg", content=file.getvalue())
    now = clock.now()
    with transaction() as session:
        picture = Picture(url="https://courrier.example/eau.jpg", due_at=now, created_at=now, updated_at=now)
        session.add(picture)
        session.flush()
        pictures.keep(session, picture.id, shrinking.Shrunk(digest=DIGEST, files=(card,)), now=now)
    return card.content


def test_a_picture_is_served_for_good_to_everybody(site: Site, content: bytes) -> None:
    answer = site.client.get(PATH)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in answer.headers


def test_a_browser_that_has_it_gets_no_second_copy(site: Site, content: bytes) -> None:
    tag = site.client.get(PATH).headers["etag"]
    for asked in (tag, f'"other", W/{tag}'):
        again = site.client.get(PATH, headers={"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_head_tells_the_length_only(site: Site, content: bytes) -> None:
    answer = site.client.head(PATH)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", str(len(content)))


@pytest.mark.parametrize(
    "path",
    [
        PATH + "?reader=1",
        f"/img/{DIGEST}/241.jpg",
        f"/img/{DIGEST}/240.png",
        f"/img/{DIGEST}/240.gif",
        f"/img/{DIGEST}/99999999999999999999.jpg",
        f"/img/{DIGEST[:-1]}0/240.jpg",
        f"/img/{DIGEST.upper()}/240.jpg",
        "/img/1/240.jpg",
        f"/img/{DIGEST}/",
        "/img",
    ],
)
def test_any_other_address_is_not_found(site: Site, content: bytes, path: str) -> None:
    answer = site.client.get(path)
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("cache-control", "")


def test_no_newsletter_may_hide_the_pictures(installation: object) -> None:
    with transaction() as session, pytest.raises(newsletters.NewsletterInvalid):
        a_newsletter(session, "img")
