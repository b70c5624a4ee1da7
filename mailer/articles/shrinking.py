"""Pictures from outside made small and harmless: a stranger's bytes in, new JPEG or PNG files out. No network, no database.

The work is done by decoding.py in a process of its own, with little memory and time and without our secrets: a picture that
attacks the decoder harms that process only.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# Changes with what is made of a picture, so that an address already in mails never shows anything else.
RECIPE: Final = b"1"
# Enough for Python to find itself and its packages.
_ENVIRONMENT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
_MAGIC: Final = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (8, b"WEBP"),
    (4, b"ftypavif"),
    (4, b"ftypavis"),
)
_KNOWN_OTHERS: Final = (
    ((b"<svg", b"<?xml"), "The picture is SVG, which mail programs do not show."),
    ((b"<!doctype html", b"<html", b"<head", b"<body"), "There is a web page at the address, not a picture."),
    ((b"BM", b"II*\0", b"MM\0*"), "The picture is BMP or TIFF; use JPEG, PNG, GIF, WebP or AVIF."),
)
_DAMAGED: Final = "The picture is damaged."
LOGO: Final = "logo"
_USES: Final = ("lead", "card", LOGO)
_COLOR: Final = re.compile("#[0-9A-F]{6}")
_BEGINNINGS: Final = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
_LONGEST_SIDE: Final = 2000
_LONGEST_REASON: Final = 300


class PictureUnusable(Exception):
    """Nothing can be made of these bytes, now or later; the message is one sentence for an editor."""


class ShrinkingUnfinished(Exception):
    """The time given was over, or the machine could not do it. Later it may; a picture's own limits are others."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file for one place in the mail: `use` "lead" or "card", `kind` "jpg" or "png"."""

    use: str
    width: int
    height: int
    kind: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """What was made of a picture; at least one file. `digest` names their content, 32 hexadecimal digits.

    `color` #RRGGBB is the one that a logo is known by, None if it has none or is no logo.
    """

    digest: str
    files: tuple[File, ...]
    color: str | None = None


def shrink(body: bytes, *, seconds: float = 20, is_logo: bool = False) -> Shrunk:
    """Cut, resize (never enlarge) and encode a picture for every place in a mail; a logo whole, in one file.

    Takes a process of at most 200 MB for about 0.3 s. Raises PictureUnusable, or ShrinkingUnfinished after `seconds`.
    """
    _require_picture(body)
    told, blobs = _decode(body, seconds, [LOGO] if is_logo else [])
    if "refused" in told:
        raise PictureUnusable(str(told["refused"])[:_LONGEST_REASON])
    color = str(told.get("color"))
    recipe = RECIPE + LOGO.encode() if is_logo else RECIPE
    return Shrunk(
        digest=_digest(recipe, body), files=_files(told, blobs), color=color if _COLOR.fullmatch(color) else None
    )


def _digest(recipe: bytes, body: bytes) -> str:
    digest = hashlib.sha256(recipe)
    digest.update(body)
    return digest.hexdigest()[:32]


def _require_picture(body: bytes) -> None:
    """Judge by the first bytes: what a server calls it, or its name ends in, is not to be believed."""
    if any(body[at : at + len(magic)] == magic for at, magic in _MAGIC):
        return
    if not body:
        raise PictureUnusable("The picture is empty.")
    start = body[:512].removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginnings, words in _KNOWN_OTHERS:
        if start.lower().startswith(tuple(one.lower() for one in beginnings)):
            raise PictureUnusable(words)
    raise PictureUnusable("What is at the address is no JPEG, PNG, GIF, WebP or AVIF picture.")


def _files(told: Mapping[str, Any], blobs: bytes) -> tuple[File, ...]:
    """Take the files as the process told them, as far as it can be believed: a picture may have taken it over."""
    files, start = [], 0
    try:
        for form in told["files"]:
            width, height, end = int(form["width"]), int(form["height"]), start + int(form["size"])
            content, start = blobs[start:end], end
            is_ours = form["use"] in _USES and content.startswith(_BEGINNINGS[form["kind"]])
            if not is_ours or not (0 < width < _LONGEST_SIDE and 0 < height < _LONGEST_SIDE):
                raise PictureUnusable(_DAMAGED)
            files.append(File(use=form["use"], width=width, height=height, kind=form["kind"], content=content))
    except (KeyError, TypeError, ValueError) as error:
        raise PictureUnusable(_DAMAGED) from error
    if not files or len({one.use for one in files}) < len(files) or start != len(blobs):
        raise PictureUnusable(_DAMAGED)
    return tuple(files)


def _decode(body: bytes, seconds: float, arguments: list[str]) -> tuple[dict[str, Any], bytes]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            # -P: or our own modules would hide those of Python's library that have the same name.
            [sys.executable, "-s", "-P", Path(__file__).with_name("decoding.py"), *arguments],
            input=body,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=environment,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ShrinkingUnfinished(seconds) from error
    if done.returncode == -signal.SIGKILL:
        # The system was out of memory; its own limits end the process otherwise.
        raise ShrinkingUnfinished(seconds)
    if done.returncode == -signal.SIGXCPU:
        raise PictureUnusable("The picture takes too long to unpack.")
    line, _, blobs = done.stdout.partition(b"\n")
    try:
        told = json.loads(line)
    except ValueError as error:
        raise PictureUnusable(_DAMAGED) from error
    if done.returncode != 0 or not isinstance(told, dict):
        raise PictureUnusable(_DAMAGED)
    return told, blobs
