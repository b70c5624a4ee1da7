"""Pictures from outside: what is made of good ones, and that bad ones harm nobody."""

import contextlib
import io
import json
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image, ImageCms
from sqlalchemy import select, update

from mailer import clock, scheduling
from mailer.articles import decoding, fetching, pictures
from mailer.articles.shrinking import File, PictureUnusable, shrink
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Article, Issue, Layout
from mailer.models.pictures import Picture, PictureState, Rendition
from mailer.newsroom import newsletters
from tests.factories import a_newsletter, an_article, readers, the_feed

LIMIT_KB = 200_000


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 1600, height: int = 900, mode: str = "RGB") -> Image.Image:
    """A picture with as many colours as a photograph, its upper half reddish, its lower half bluish."""
    noise = Image.effect_noise((width, height), 60)
    top = Image.new("L", (width, height), 0)
    top.paste(255, (0, 0, width, height // 2))
    image = Image.merge("RGB", (top, noise, Image.eval(top, lambda value: 255 - value)))
    return image.convert(mode)


def png_header(width: int, height: int, *, kind: int = 2, rows: bytes = b"") -> bytes:
    """A PNG that says it is so large, with `rows` as its packed content; `kind` 2 is RGB, 6 RGBA."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows or zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def blank_png(width: int, height: int, *, kind: int) -> bytes:
    """A picture of nothing, packed a thousandfold."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width * (4 if kind == 6 else 3))
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_header(width, height, kind=kind, rows=rows)


def made(body: bytes) -> dict[str, File]:
    return {file.use: file for file in shrink(body).files}


def opened(file: File) -> Image.Image:
    return Image.open(io.BytesIO(file.content))


def color(file: File, at: tuple[int, int]) -> tuple[int, ...]:
    found = opened(file).convert("RGB").getpixel(at)
    assert isinstance(found, tuple)
    return found


def refusal(body: bytes) -> str:
    with pytest.raises(PictureUnusable) as caught:
        shrink(body)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_a_photograph_becomes_a_progressive_jpeg_for_each_place() -> None:
    files = made(encoded(photo(3000, 2000), quality=95))
    assert {use: (one.width, one.height, one.kind) for use, one in files.items()} == {
        "lead": (1104, 736, "jpg"),
        "card": (240, 160, "jpg"),
    }
    lead = opened(files["lead"])
    assert (lead.size, lead.format, lead.info.get("progressive")) == ((1104, 736), "JPEG", 1)


def test_a_small_picture_is_not_enlarged_and_leads_nothing() -> None:
    assert {use: one.width for use, one in made(encoded(photo(700, 400))).items()} == {"lead": 700, "card": 240}
    assert {use: one.width for use, one in made(encoded(photo(200, 150))).items()} == {"card": 200}


@pytest.mark.parametrize("size", [(1, 1), (88, 31), (2000, 20), (90, 200)])
def test_a_button_or_a_tracking_pixel_is_refused(size: tuple[int, int]) -> None:
    assert "too small" in refusal(encoded(photo(*size)))


def test_a_tall_picture_is_cut_nearer_its_top() -> None:
    image = Image.new("RGB", (1200, 2400), "blue")
    image.paste("red", (0, 0, 1200, 1000))
    lead = made(encoded(image))["lead"]
    assert (lead.width, lead.height) == (1104, 736)
    assert color(lead, (500, 100))[0] > 200


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "GIF"])
def test_every_usual_kind_is_read(kind: str) -> None:
    lead = made(encoded(photo(1200, 700), kind))["lead"]
    red, _, blue = color(lead, (50, 20))
    assert (lead.width, lead.height, red > blue + 60) == (1104, 644, True)


def test_a_picture_that_was_taken_upright_stands_upright_and_loses_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home"
    file = made(encoded(photo(1600, 1000), exif=exif))["lead"]
    # Turned by a quarter, what was on the left is on the top, so red and blue are side by side.
    left, right = (color(file, (x, 300)) for x in (50, 950))
    # One pixel is noise in green, and so a little in the others.
    assert (left[2] > left[0] + 60, right[0] > right[2] + 60) == (True, True)
    assert b"Exif" not in file.content
    assert b"at home" not in file.content


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0nothing"]
)
def test_a_picture_whose_exif_is_broken_is_good_all_the_same(exif: bytes) -> None:
    assert made(encoded(photo(800, 500), exif=exif))["lead"].width == 800


def test_a_transparent_picture_is_put_on_white() -> None:
    image = Image.new("RGBA", (800, 500), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 400, 500))
    lead = made(encoded(image, "PNG"))["lead"]
    assert lead.kind == "png"
    assert color(lead, (700, 200)) == (255, 255, 255)


def test_a_drawing_with_few_colours_stays_a_png() -> None:
    drawing = Image.new("P", (800, 500), 0)
    drawing.putpalette([255, 255, 255, 200, 0, 0])
    drawing.paste(1, (100, 100, 700, 200))
    assert {one.kind for one in made(encoded(drawing, "PNG")).values()} == {"png"}


def test_a_photograph_in_a_png_becomes_a_jpeg() -> None:
    assert {one.kind for one in made(encoded(photo(), "PNG")).values()} == {"jpg"}


def test_a_printers_jpeg_gets_the_colours_of_a_screen() -> None:
    red = made(encoded(Image.new("CMYK", (800, 500), (0, 255, 255, 0))))["lead"]
    assert opened(red).mode == "RGB"
    assert color(red, (100, 100)) > (200, 0, 0)


def test_a_colour_profile_is_applied_and_left_out() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lead = made(encoded(photo(), icc_profile=profile))["lead"]
    assert "icc_profile" not in opened(lead).info


def test_sixteen_bits_of_grey_keep_their_shades() -> None:
    image = Image.new("I;16", (800, 500))
    image.putdata([x * 80 for _ in range(500) for x in range(800)])
    lead = opened(made(encoded(image, "PNG"))["lead"]).convert("L")
    assert lead.getpixel((400, 250)) == pytest.approx(125, abs=4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_stands_still(kind: str) -> None:
    frames = [Image.new("RGB", (800, 500), color) for color in ("red", "blue", "blue")]
    file = made(encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))["lead"]
    assert getattr(opened(file), "n_frames", 1) == 1
    assert color(file, (100, 100))[0] > 200


def test_a_script_hidden_in_a_picture_is_gone() -> None:
    body = encoded(photo(800, 500), "GIF", comment=b"*/=1;alert(1)//") + b"*/=1;alert(2)//<script>alert(3)</script>"
    assert b"alert" in body
    assert not any(b"alert" in one.content for one in made(body).values())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (png_header(60_000, 60_000), "more than 40 megapixels"),
        (png_header(8000, 8000), "more than 40 megapixels"),
        (b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0), "more than 40 megapixels|damaged"),
        (png_header(800, 600), "damaged"),
        (encoded(photo())[:20_000], "damaged"),
        (encoded(photo(), "PNG")[:20_000], "damaged"),
        (encoded(photo(), "WEBP")[:20_000], "damaged"),
        (encoded(photo(800, 500), "AVIF")[:2000], "damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(5000), "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Moved</body></html>", "web page"),
        (b"\xef\xbb\xbf <svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "SVG"),
        (encoded(photo(), "TIFF"), "TIFF"),
        (encoded(photo(), "BMP"), "BMP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "no JPEG"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "no JPEG"),
    ],
)
def test_what_is_no_usable_picture_is_refused_in_words(body: bytes, words: str) -> None:
    assert any(one in refusal(body) for one in words.split("|"))


WORST: dict[str, Callable[[], bytes]] = {
    "png": lambda: blank_png(7700, 5190, kind=2),
    "transparent png": lambda: blank_png(7700, 5190, kind=6),
    "progressive jpeg": lambda: encoded(Image.new("RGB", (7700, 5190), "teal"), progressive=True, subsampling=0),
    "jpeg": lambda: encoded(Image.new("RGB", (7700, 5190), "teal")),
    "printer's jpeg": lambda: encoded(Image.new("CMYK", (7700, 5190), (9, 9, 9, 9))),
    "gif": lambda: encoded(Image.new("P", (7700, 5190), 0), "GIF"),
    "webp": lambda: encoded(Image.new("RGB", (7700, 5190), "teal"), "WEBP", method=0),
    "strip": lambda: encoded(Image.new("L", (60_000, 600), 200), "PNG"),
}


@pytest.mark.parametrize("body", WORST.values(), ids=WORST)
def test_no_picture_takes_more_memory_than_a_small_server_has(body: Callable[[], bytes], tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(body())
    # What a process's children took at most, asked of one that has no other child.
    measure = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, '-P', sys.argv[1]], stdin=open(sys.argv[2], 'rb'), stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", measure, decoding.__file__, str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < LIMIT_KB
    with contextlib.suppress(PictureUnusable):
        assert made(picture.read_bytes())


def test_a_photograph_of_forty_megapixels_is_no_bomb() -> None:
    assert made(WORST["jpeg"]())["lead"].width == 1104


def test_the_same_picture_has_the_same_name_and_another_another() -> None:
    one, two = encoded(photo(800, 500)), encoded(photo(800, 500))
    assert shrink(one).digest == shrink(one).digest != shrink(two).digest


Play = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web server; `plays` maps a path to what it does when asked for it."""

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                with contextlib.suppress(ConnectionError):
                    site.plays.get(self.path, answer(b"", status=404))(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answer(body: bytes, kind: str = "image/jpeg", *, status: int = 200, location: str | None = None) -> Play:
    def play(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        if location:
            request.send_header("Location", location)
        request.end_headers()
        request.wfile.write(body)

    return play


def drip(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff")
    while True:
        request.wfile.write(b"\0")
        time.sleep(0.05)


@pytest.fixture
def site(installation: object) -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


def article_with(url: str) -> int:
    """A newsletter with one reader and one article that has a picture. Returns the article's id."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        # Not read in these tests: its address leads nowhere.
        the_feed(session, newsletter).next_read_at = now + timedelta(days=1)
        readers(session, newsletter, 1)
        return an_article(session, newsletter, "eau", seen=now, image_url=url, image_alt="La mer d’Aral").id


def fetch_all() -> None:
    scheduling.tick()
    fetching.fetch_due(budget_seconds=10)


def the_picture() -> Picture:
    with transaction() as session:
        return session.execute(select(Picture)).scalar_one()


def the_mail() -> str:
    """The next issue as its readers would get it."""
    now = clock.now()
    with transaction() as session:
        issue = issues.draft(session, newsletters.get(session, "courrier"), now=now)
        issues.schedule_now(session, issue, now=now)
        issue_id = issue.id
    assert scheduling.start_issue(issue_id)
    with transaction() as session:
        return session.get_one(Issue, issue_id).web_html or ""


def test_an_articles_picture_is_fetched_once_and_shown_from_our_own_address(site: Site) -> None:
    site.plays["/eau.jpg"] = answer(encoded(photo()))
    article_with(site.url("/eau.jpg"))
    for _ in range(3):
        fetch_all()
    assert site.requests == ["/eau.jpg"]
    picture = the_picture()
    html = the_mail()
    assert f'src="https://lettre.example/img/{picture.digest}/1104.jpg"' in html
    assert site.url("") not in html
    assert site.requests == ["/eau.jpg"]
    assert the_picture().used_at is not None


def test_the_place_in_the_mail_is_told_in_width_and_height() -> None:
    files = [
        Rendition(use="lead", width=1104, height=736, kind="jpg"),
        Rendition(use="card", width=240, height=160, kind="png"),
    ]
    picture = Picture(state=PictureState.READY, digest="d" * 32, renditions=files)
    lead, card = pictures.shown(picture, Layout.LEAD), pictures.shown(picture, Layout.CARD)
    assert lead == pictures.Shown(path=f"/img/{'d' * 32}/1104.jpg", width=552, height=368)
    assert card == pictures.Shown(path=f"/img/{'d' * 32}/240.png", width=120, height=80)
    assert pictures.shown(picture, Layout.BRIEF) is None


def test_an_issue_that_is_made_before_its_picture_came_fetches_it_first(site: Site) -> None:
    site.plays["/eau.png"] = answer(encoded(photo(), "PNG"))
    article_with(site.url("/eau.png"))
    assert "/img/" in the_mail()


def test_an_issue_waits_for_a_slow_picture_only_so_long(site: Site) -> None:
    site.plays["/eau.jpg"] = drip
    article_id = article_with(site.url("/eau.jpg"))
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletter_id = newsletter.id
        assert session.get_one(Article, article_id).picture is None
    started = time.monotonic()
    fetching.fetch_for_newsletter(newsletter_id, budget_seconds=0.5)
    assert time.monotonic() - started < 2
    assert "did not finish within" in (the_picture().reason or "")


def test_a_mail_whose_picture_can_not_be_had_has_none(site: Site) -> None:
    site.plays["/eau.jpg"] = answer(b"<html>Gone</html>", "text/html")
    article_with(site.url("/eau.jpg"))
    fetch_all()
    html = the_mail()
    assert "<img" not in html
    assert "eau.jpg" not in html


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (answer(b"<html>Not a picture</html>", "image/jpeg"), "web page"),
        (answer(b"<svg/>", "image/svg+xml"), "SVG"),
        (answer(b"\xff\xd8\xff" + bytes(11_000_000)), "larger than 10 MB"),
        (answer(b"", status=302, location="http://10.0.0.1/eau.jpg"), "private address"),
        (answer(b"", status=410), "410 Gone"),
    ],
)
def test_a_picture_that_will_never_do_is_asked_for_once_and_the_reason_kept(site: Site, play: Play, words: str) -> None:
    site.plays["/eau.jpg"] = play
    article_with(site.url("/eau.jpg"))
    fetch_all()
    picture = the_picture()
    assert picture.state == PictureState.REFUSED
    assert words in (picture.reason or "")
    fetch_all()
    assert site.requests == ["/eau.jpg"]


def test_what_a_server_calls_its_picture_does_not_matter(site: Site) -> None:
    site.plays["/eau"] = answer(encoded(photo(), "WEBP"), "text/plain")
    article_with(site.url("/eau"))
    fetch_all()
    assert the_picture().state == PictureState.READY


def test_a_failure_that_may_pass_is_tried_again_ever_later_and_then_given_up(site: Site) -> None:
    article_with(site.url("/eau.jpg"))
    waits = []
    for _ in range(len(pictures.RETRIES) + 1):
        fetch_all()
        waits.append(the_picture().due_at - clock.now())
        with transaction() as session:
            session.execute(update(Picture).values(due_at=clock.now()))
    assert waits[:-1] == sorted(waits[:-1])
    assert the_picture().state == PictureState.REFUSED
    assert "404 Not Found" in (the_picture().reason or "")
    with transaction() as session:
        assert pictures.try_again(session, newsletters.get(session, "courrier").id, now=clock.now()) == 1
    site.plays["/eau.jpg"] = answer(encoded(photo()))
    fetch_all()
    assert (the_picture().state, the_picture().reason) == (PictureState.READY, None)


def test_two_workers_do_not_fetch_the_same_picture(site: Site) -> None:
    article_with(site.url("/eau.jpg"))
    scheduling.tick()
    with transaction() as first, transaction() as second:
        assert len(pictures.take_due(first, now=clock.now(), limit=10)) == 1
        assert pictures.take_due(second, now=clock.now(), limit=10) == {}


def test_old_news_of_a_feed_that_is_read_for_the_first_time_has_its_pictures_left_alone(site: Site) -> None:
    article_with(site.url("/eau.jpg"))
    with transaction() as session:
        session.execute(update(Article).values(published_at=clock.now() - timedelta(days=100)))
    assert not scheduling.tick().has_pictures


def test_a_picture_that_no_mail_showed_is_forgotten_and_one_in_a_mail_never(site: Site) -> None:
    site.plays["/eau.jpg"] = answer(encoded(photo()))
    article_with(site.url("/eau.jpg"))
    fetch_all()
    later = clock.now() + timedelta(days=91)
    with transaction() as session:
        pictures.keep_for_good(session, [site.url("/eau.jpg")], now=clock.now())
        assert pictures.forget_unused(session, now=later) == 0
        session.execute(update(Picture).values(used_at=None))
        assert pictures.forget_unused(session, now=later) == 1
        assert session.execute(select(Rendition.use)).all() == []


def test_the_command_line_tells_what_became_of_each_picture(site: Site) -> None:
    article_id = article_with(site.url("/eau.jpg"))
    fetch_all()
    command = [sys.executable, "-m", "mailer", "--json", "article", "pictures", "courrier"]
    done = subprocess.run([*command, "--again"], capture_output=True, text=True, check=True)
    (row,) = json.loads(done.stdout)
    assert (row["article"], row["state"], row["alt"]) == (article_id, "waiting", "La mer d’Aral")
    assert "404 Not Found" in row["reason"]
    site.plays["/eau.jpg"] = answer(encoded(photo()))
    with transaction() as session:
        session.execute(update(Picture).values(due_at=clock.now()))
    fetch_all()
    (row,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (row["state"], row["reason"]) == ("ready", None)
    assert row["files"].startswith("1104 × 621 (")
