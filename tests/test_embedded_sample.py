import asyncio
import re
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import feedparser
import httpx
import pytest
from lxml import etree, html

from mailer.embedded import certificates, sample, site
from mailer.embedded.processes import Child, Supervisor, free_port, wait_for_port
from mailer.feeds import parse

SUBSCRIBE_URL = "https://lettre.example/courrier?lang=fr&source=article"
NAMESPACES = {
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "media": "http://search.yahoo.com/mrss/",
}
# A straight apostrophe or quote; double punctuation or a guillemet after or before anything but U+00A0.
BAD_TYPOGRAPHY = re.compile(r"['\"]|(?<!\u00a0)[:;!?»]|«(?!\u00a0)|\.\.\.|  ")
COUNTRIES = {"Kazakhstan", "Kirghizstan", "Ouzbékistan", "Tadjikistan", "Turkménistan"}


def serve(supervisor: Supervisor, folder: Path, *options: str, scheme: str = "http") -> str:
    """Start the site as its own process, as the demo does; return its base URL."""
    base_url = f"{scheme}://localhost:{free_port()}"
    port = str(urlsplit(base_url).port)
    argv = [sys.executable, "-W", "error", "-m", "mailer.embedded.site", "--host", "127.0.0.1", "--port", port]
    argv += ["--base-url", base_url, "--subscribe-url", SUBSCRIBE_URL, "--state-dir", str(folder), *options]
    supervisor.start(Child(name=f"site-{port}", argv=argv, log=folder.parent / f"site-{port}.log"))
    wait_for_port("127.0.0.1", int(port), check=supervisor.check)
    return base_url


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[httpx.Client]:
    """The site before the late articles appear."""
    with Supervisor() as supervisor:
        folder = tmp_path_factory.mktemp("site")
        with httpx.Client(base_url=serve(supervisor, folder / "state")) as client:
            yield client
        assert [log.read_text() for log in folder.glob("*.log")] == [""]


@pytest.fixture
def own(tmp_path) -> Iterator[httpx.Client]:
    """A site of this test's own, which may change it."""
    with Supervisor() as supervisor, httpx.Client(base_url=serve(supervisor, tmp_path / "state")) as client:
        yield client


def items(client: httpx.Client, path: str = "/feed.xml") -> list[etree._Element]:
    return etree.fromstring(client.get(path).content).findall("channel/item")


def guids(client: httpx.Client, path: str = "/feed.xml") -> list[str | None]:
    return [item.findtext("guid") for item in items(client, path)]


def test_the_feed_is_rss_that_feedparser_finds_well_formed(client):
    response = client.get("/feed.xml")
    feed = feedparser.parse(response.content, response_headers={"content-type": response.headers["content-type"]})
    assert (feed.bozo, feed.version, feed.feed.title) == (False, "rss20", "Le Courrier d’Asie centrale")
    assert len(feed.entries) == 12
    assert all(entry.content[0].value and entry.media_content and entry.author for entry in feed.entries)


def test_our_own_reader_finds_every_field(client):
    response = client.get("/feed.xml")
    content_type, url = response.headers["content-type"], str(response.url)
    articles = parse.parse(response.content, content_type=content_type, url=url).articles
    assert len(articles) == 12
    assert all(a.title and a.excerpt and a.author and a.published_at and a.image_url and a.image_alt for a in articles)
    assert all(a.image_credit and a.minutes for a in articles)
    assert articles[0].topics == ("Politique", "Kazakhstan")


def test_every_address_in_the_feed_is_absolute_and_answers(client):
    for item in items(client):
        media = item.find("media:content", NAMESPACES)
        assert media is not None
        for url in (item.findtext("link"), media.get("url")):
            assert url is not None
            assert url.startswith(str(client.base_url))
            assert client.get(url).status_code == 200


def test_every_article_in_the_feed_ends_with_the_way_to_the_newsletter(client):
    for item in items(client):
        last = html.fragments_fromstring(item.findtext("content:encoded", namespaces=NAMESPACES))[-1]
        assert last.text_content() == "Newsletter — Pour rester informé des actualités de l’Asie centrale"
        assert last.find("a").get("href") == SUBSCRIBE_URL


def test_two_more_articles_appear_when_asked_and_only_once(own):
    before = guids(own)
    assert (len(before), guids(own, "/late.xml")) == (12, [])
    appeared = own.post("/publish-later").json()["appeared"]
    assert own.post("/publish-later").json()["appeared"] == appeared
    after = guids(own)
    assert (len(after), len(set(after)), after[2:]) == (14, 14, before)
    assert guids(own, "/late.xml") == after[:2]


def test_a_late_article_has_no_page_before_it_appears(own):
    assert own.get("/articles/bichkek-bazar-demenage").status_code == 404
    own.post("/publish-later")
    assert own.get("/articles/bichkek-bazar-demenage").status_code == 200


def test_a_browser_that_lets_articles_appear_comes_back_to_the_home_page(own):
    response = own.post("/publish-later", headers={"Accept": "text/html"})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert "/publish-later" not in own.get("/").text


def test_reading_never_lets_articles_appear(client):
    assert client.get("/publish-later").status_code == 405
    assert len(items(client)) == 12


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("203.0.113.5", 403)]
)
def test_only_this_machine_lets_articles_appear(tmp_path, host, status):
    app = site.create_app(base_url="http://a.example", subscribe_url=SUBSCRIBE_URL, state_dir=tmp_path)
    transport = httpx.ASGITransport(app, client=(host, 40000))

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://a.example") as client:
            return await client.post("/publish-later")

    assert asyncio.run(post()).status_code == status


def test_a_restart_keeps_dates_and_guids(tmp_path):
    contents = []
    for _ in range(2):
        with Supervisor() as supervisor, httpx.Client(base_url=serve(supervisor, tmp_path / "state")) as client:
            client.post("/publish-later")
            contents.append([(item.findtext("guid"), item.findtext("pubDate")) for item in items(client)])
    assert len(contents[0]) == 14
    assert contents[0] == contents[1]


def test_a_broken_state_file_is_named(tmp_path):
    (tmp_path / "site.json").write_text("{")
    with pytest.raises(site.SiteFailed, match=r"site\.json cannot be read"):
        site.create_app(base_url="http://a.example", subscribe_url=SUBSCRIBE_URL, state_dir=tmp_path)


def test_an_unchanged_feed_answers_304_and_a_changed_one_does_not(own):
    etag = own.get("/feed.xml").headers["etag"]
    unchanged = own.get("/feed.xml", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    own.post("/publish-later")
    assert own.get("/feed.xml", headers={"If-None-Match": etag}).status_code == 200


def test_the_operators_feed_comes_byte_for_byte_and_without_a_charset(tmp_path):
    content = '<?xml version="1.0" encoding="windows-1251"?>\r\n<rss version="2.0"></rss><!-- Қ-less: Новости -->\n'
    feed = tmp_path / "feed.xml"
    feed.write_bytes(content.replace("Қ", "К").encode("windows-1251"))
    with Supervisor() as supervisor:
        base_url = serve(supervisor, tmp_path / "state", "--feed", str(feed))
        response = httpx.get(f"{base_url}/feed")
        again = httpx.get(f"{base_url}/feed", headers={"If-None-Match": response.headers["etag"]})
    assert response.content == feed.read_bytes()
    assert response.headers["content-type"] == "application/rss+xml"
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("feed.json", b"[]", "application/feed+json"),
        ("feed.atom", b"", "application/atom+xml"),
        ("feed.xml", b'\xef\xbb\xbf<?xml version="1.0"?><feed xmlns="x">', "application/atom+xml"),
        ("feed.xml", '<?xml version="1.0"?><rss version="2.0">'.encode("utf-16"), "application/rss+xml"),
        ("feed.xml", '<rdf:RDF xmlns="x">'.encode("utf-32"), "application/rdf+xml"),
        ("feed", b' {"version": "https://jsonfeed.org/version/1.1"}', "application/feed+json"),
        ("page.html", b"<p>", "text/html"),
        ("feed", b"<!DOCTYPE html><html>", "text/html"),
        ("other.xml", b'<?xml version="1.0"?><opml>', "application/xml"),
        ("feed", b"\x1f\x8b\x08", "application/octet-stream"),
    ],
)
def test_the_media_type_comes_from_the_name_or_the_first_bytes(tmp_path, name, content, content_type):
    (tmp_path / name).write_bytes(content)
    assert site.guess_content_type(tmp_path / name) == content_type


def test_a_feed_option_without_a_file_stops_the_start(tmp_path):
    argv = [sys.executable, "-m", "mailer.embedded.site", "--base-url", "http://a.example", "--feed", "none.xml"]
    argv += ["--subscribe-url", SUBSCRIBE_URL, "--state-dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "there is no file none.xml" in done.stderr


def test_the_site_serves_over_https(tmp_path):
    made = certificates.create(tmp_path / "ca")
    options = ["--ssl-cert", str(made.cert_file), "--ssl-key", str(made.key_file)]
    with Supervisor() as supervisor:
        base_url = serve(supervisor, tmp_path / "state", *options, scheme="https")
        trusted = ssl.create_default_context(cafile=made.ca_file)
        assert f"{base_url}/articles/eau-syr-daria" in httpx.get(f"{base_url}/feed.xml", verify=trusted).text


@pytest.mark.parametrize("path", ["/", "/articles/eau-syr-daria", "/articles/none"])
def test_a_page_asks_nothing_of_others_and_runs_no_script(client, path):
    response = client.get(path)
    page = html.fromstring(response.content)
    loaded = page.xpath("//*/@src | //link[not(@rel='canonical')]/@href | //form/@action")
    assert loaded
    assert all(url.startswith("/") and not url.startswith("//") for url in loaded)
    linked = {url for url in page.xpath("//a/@href") if not url.startswith(("/", "#"))}
    assert linked == {SUBSCRIBE_URL}
    assert not page.xpath("//script | //iframe | //*[@style] | //@*[starts-with(name(), 'on')]")
    assert not re.search(r"url\(|@import", response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_home_page_lists_every_article(client):
    page = html.fromstring(client.get("/").content)
    titles = [heading.text_content() for heading in page.xpath("//article//h2")]
    assert titles == [item.findtext("title") for item in items(client)]


def test_texts_in_templates_are_escaped(client):
    page = client.get("/").text
    assert SUBSCRIBE_URL.replace("&", "&amp;") in page
    assert SUBSCRIBE_URL not in page


def test_an_article_page_ends_with_the_way_to_the_newsletter(client):
    article = html.fromstring(client.get("/articles/aral-saxaoul").content).xpath("//article")[0]
    last = article.findall("p")[-1]
    assert last.text_content() == "Newsletter — Pour rester informé des actualités de l’Asie centrale"
    assert last.find("a").get("href") == SUBSCRIBE_URL


def test_a_picture_comes_as_jpeg(client):
    response = client.get("/pictures/ikat.jpg")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")


def test_every_article_has_a_light_wide_picture_of_its_own():
    named = [entry["picture"] for entry in entries()]
    files = sorted(sample.PICTURES.iterdir())
    assert sorted(named) == [file.name for file in files]
    assert all(file.stat().st_size <= 60_000 for file in files)
    assert sum(file.stat().st_size for file in files) <= 500_000
    assert {jpeg_size(file) for file in files} == {(1200, 675)}


def test_french_typography_is_right_everywhere(client):
    texts = [str(value) for entry in entries() for key, value in entry.items() if key not in ("slug", "picture")]
    texts += [str(value) for value in vars(sample.publication()).values()]
    texts += [page_text(client, path) for path in ("/", "/articles/eau-syr-daria", "/articles/none")]
    wrong = [text[max(0, bad.start() - 20) : bad.end() + 20] for text in texts for bad in BAD_TYPOGRAPHY.finditer(text)]
    assert wrong == []


def test_every_article_is_complete():
    for entry in entries():
        assert 150 <= len(entry["excerpt"]) <= 220
        paragraphs = [block for block in entry["body"].strip().split("\n\n") if not block.startswith("#")]
        assert 3 <= len(paragraphs) <= 6
        assert entry["country"] in COUNTRIES
        assert entry["alt"]
        assert re.fullmatch(r"[a-z0-9-]+", entry["slug"])
    assert {entry["country"] for entry in entries()} == COUNTRIES


def entries() -> list[dict]:
    return tomllib.loads((sample.PICTURES.parent / "articles.toml").read_text(encoding="utf-8"))["articles"]


def page_text(client: httpx.Client, path: str) -> str:
    page = html.fromstring(client.get(path).content)
    return re.sub(r"[ \n]+", " ", " ".join(page.xpath("//body//text() | //title/text() | //@alt")))


def jpeg_size(file: Path) -> tuple[int, int]:
    """Read width and height out of a JPEG's frame header."""
    content = file.read_bytes()
    assert content[:3] == b"\xff\xd8\xff"
    frame = re.search(rb"\xff[\xc0\xc2]\x00\x11\x08(..)(..)", content, re.DOTALL)
    assert frame is not None
    return int.from_bytes(frame[2]), int.from_bytes(frame[1])
