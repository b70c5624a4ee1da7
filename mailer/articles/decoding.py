"""The program that decodes a stranger's picture and makes our files of it: a process of its own, started by shrinking.py.

Standard input is the picture; standard output one line of JSON, which tells the files' forms or what is wrong, and then the
files. Decoders are what hostile pictures attack, so it first gives up every means of doing harm. Imports nothing of ours.
"""

import contextlib
import io
import json
import resource
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# All that Pillow would import when it meets one of these kinds: later, nothing can be opened any more.
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

MOST_PIXELS: Final = 40_000_000
# Heap and maps of the process. With Python's and Pillow's code it stays under 200 MB, whatever comes in.
MEMORY_BYTES: Final = 180_000_000
CPU_SECONDS: Final = 10
JPEG_QUALITY: Final = 80
# A picture smaller than this is a button, a spacer or a tracking pixel.
SMALLEST_SIDE: Final = 60

_READERS: Final = (AvifImagePlugin, GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, WebPImagePlugin)
_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")
# What a PNG or GIF may have drawn with few colours stays sharp as PNG; JPEG would smear it.
_LOSSLESS: Final = ("PNG", "GIF")
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final[dict[object, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Use:
    """A place in the mail: widths in pixels of the file, and how wide or high (width / height) it may be."""

    name: str
    width: int
    narrowest: int
    highest: float
    widest: float


# Twice the width that templates/email shows them at, 552 and 120, for the screens of phones.
USES: Final = (
    Use(name="lead", width=1104, narrowest=480, highest=3 / 2, widest=3),
    Use(name="card", width=240, narrowest=104, highest=3 / 2, widest=3 / 2),
)
# Whole, whatever its form; a logo is drawn, and needs no more pixels than that.
LOGO: Final = Use(name="logo", width=1072, narrowest=24, highest=1 / 12, widest=12)
LOGO_PIXELS: Final = 25_000_000
SMALLEST_LOGO: Final = 16


_TOO_LARGE: Final = "The picture has more than {} megapixels."


class _Refused(Exception):
    """The picture can't be used; the message is one sentence for an editor."""


def main() -> None:
    """Make the files of the picture on standard input; of a logo, if the one argument says so."""
    is_logo = sys.argv[1:] == [LOGO.name]
    body = sys.stdin.buffer.read()
    Image.preinit()
    _give_up_means()
    answer: dict[str, object]
    blobs: list[bytes] = []
    try:
        with _explained():
            files, color = _files(body, is_logo=is_logo)
        answer, blobs = {"files": [form for form, _ in files], "color": color}, [blob for _, blob in files]
    except _Refused as refused:
        answer = {"refused": str(refused)}
    sys.stdout.buffer.write(b"".join([json.dumps(answer).encode(), b"\n", *blobs]))


def _give_up_means() -> None:
    for limit, soft, hard in (
        (resource.RLIMIT_DATA, MEMORY_BYTES, MEMORY_BYTES),
        # The soft one ends it by a signal that tells why.
        (resource.RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 1),
        (resource.RLIMIT_NOFILE, 3, 3),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (soft, hard))
    # libavif would start a thread for each core, with a stack of its own.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Refused(_TOO_LARGE.format(MOST_PIXELS // 1_000_000)) from error
    except MemoryError as error:
        raise _Refused("The picture takes too much memory to unpack.") from error
    except OSError as error:
        # Some decoders say the same when memory ends.
        raise _Refused("The picture is damaged, or takes too much memory to unpack.") from error


def _files(body: bytes, *, is_logo: bool) -> tuple[list[tuple[dict[str, object], bytes]], str | None]:
    """Make the files, and find the one colour that a logo is known by."""
    image: Image.Image = Image.open(io.BytesIO(body), formats=_FORMATS)
    size = image.size
    if is_logo and size[0] * size[1] > LOGO_PIXELS:
        raise _Refused(_TOO_LARGE.format(LOGO_PIXELS // 1_000_000))
    if min(size) < (SMALLEST_LOGO if is_logo else SMALLEST_SIDE):
        raise _Refused(f"The picture is too small to be shown: {size[0]} × {size[1]} pixels.")
    is_lossless = image.format in _LOSSLESS
    orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    # JPEG can be decoded at a half, a quarter or an eighth: enough is half as large again as what is made of it.
    image.draft(image.mode, (USES[0].width * 3 // 2, USES[0].width))
    image = _plain(image)
    turn = _UPRIGHT.get(orientation)
    if turn is not None:
        image = image.transpose(turn)
    files = []
    for use in (LOGO,) if is_logo else USES:
        box = _crop(image.size, use)
        if box[2] - box[0] >= use.narrowest:
            files.append(_file(_in_srgb(_resized(image, box, use), profile), use, is_lossless=is_lossless))
    if not files:
        raise _Refused(f"The picture is too small to be shown: {size[0]} × {size[1]} pixels.")
    return files, _color(image) if is_logo else None


def _color(image: Image.Image) -> str | None:
    """Return the colour that covers most of a picture, of those that are neither grey nor nearly white or black."""
    small = image.convert("RGB").resize((64, 64), Image.Resampling.BOX).quantize(16).convert("RGB")
    best: tuple[float, str] | None = None
    for count, pixel in small.getcolors(64 * 64) or []:
        red, green, blue = pixel if isinstance(pixel, tuple) else (0, 0, 0)
        spread = max(red, green, blue) - min(red, green, blue)
        weight = count * spread
        if spread >= 40 and (best is None or weight > best[0]):
            best = (weight, f"#{int(red):02X}{int(green):02X}{int(blue):02X}")
    return best[1] if best else None


def _orientation(image: Image.Image) -> object:
    """Return how the camera was held; 1, upright, also when what it wrote about that is broken."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, TypeError, ValueError, KeyError, struct.error):
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """Decode, and flatten on white: a dark logo on nothing would vanish where mail is shown dark."""
    image.load()
    if image.has_transparency_data:
        seen = image if image.mode == "RGBA" else image.convert("RGBA")
        plate = Image.new("RGB", image.size, "white")
        plate.paste(seen, mask=seen)
        return plate
    if image.mode.startswith("I"):
        # 16 bits of grey: Pillow would cut off what is over 255.
        return image.point(lambda grey: grey * (1 / 256)).convert("L")
    if image.mode in ("RGB", "L", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _crop(size: tuple[int, int], use: Use) -> tuple[int, int, int, int]:
    """Return the part to show: the middle, and nearer the top than the bottom, where faces are."""
    width, height = size
    ratio = min(max(width / height, use.highest), use.widest)
    cut_width, cut_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - cut_width) // 2, (height - cut_height) // 3
    return left, top, left + cut_width, top + cut_height


def _resized(image: Image.Image, box: tuple[int, int, int, int], use: Use) -> Image.Image:
    width = min(use.width, box[2] - box[0])
    height = max(1, round(width * (box[3] - box[1]) / (box[2] - box[0])))
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=2)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring colours to what every screen assumes, since the files carry no profile."""
    if profile and image.mode in ("RGB", "CMYK"):
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, theirs, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB") if image.mode == "CMYK" else image


def _file(image: Image.Image, use: Use, *, is_lossless: bool) -> tuple[dict[str, object], bytes]:
    kind, content = "jpg", _encoded(image, "JPEG", quality=JPEG_QUALITY, progressive=True, optimize=True)
    if is_lossless:
        colors = image.getcolors(256)
        few = image.quantize(256, dither=Image.Dither.NONE) if colors and image.mode == "RGB" else image
        png = _encoded(few, "PNG", optimize=True)
        if len(png) <= len(content):
            kind, content = "png", png
    form = {"use": use.name, "width": image.width, "height": image.height, "kind": kind, "size": len(content)}
    return form, content


def _encoded(image: Image.Image, kind: str, **options: bool | int) -> bytes:
    # A copy: nothing of what the source file carried (its EXIF, comments, profile) is written.
    bare = image.copy()
    bare.info = {}
    file = io.BytesIO()
    bare.save(file, kind, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
