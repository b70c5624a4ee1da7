"""Quoted-printable (RFC 2045 6.7), in lines that nothing on the way has a reason to change."""

from typing import Final

_LIMIT: Final = 75
_QUOTED: Final = tuple(
    bytes((octet,)) if (33 <= octet <= 126 and octet != 61) or octet in (9, 32) else b"=%02X" % octet
    for octet in range(256)
)


def encode(value: str, *, ends_line: bool = False) -> bytes:
    """Encode text as quoted-printable to stand on lines of its own: lines ≤ 76, CRLF, no leading dot.

    `ends_line`: a hard line end follows, not a soft one.
    """
    lines = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return b"\r\n".join(
        _quoted_line(line.encode("utf-8", "replace"), ends_line=ends_line or n < len(lines) - 1)
        for n, line in enumerate(lines)
    )


def _quoted_line(raw: bytes, *, ends_line: bool) -> bytes:
    out: list[bytes] = []
    width = 0
    end = len(raw) - 1
    for index, octet in enumerate(raw):
        piece = _QUOTED[octet]
        # White space before a hard line end is dropped on the way by some servers (RFC 2045 6.7 (3)).
        if index == end and ends_line and octet in (9, 32):
            piece = b"=%02X" % octet
        if width == 0 and octet == 46:
            piece = b"=2E"
        if width + len(piece) > _LIMIT:
            out.append(b"=\r\n")
            width = 0
            if octet == 46:
                piece = b"=2E"
        out.append(piece)
        width += len(piece)
    return b"".join(out)
