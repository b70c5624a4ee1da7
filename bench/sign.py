"""`bin/bench sign`: filling and DKIM-signing copies in one process, beside dkimpy signing the same bytes in the same run.

Rates are of processor time, so that other work on the machine does not lower them. No database, no network.
"""

import base64
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import dkim as dkimpy  # type: ignore[import-untyped]
import typer
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import report
from mailer import links
from mailer.mail import dkim, message, quoting

_Item = TypeVar("_Item")

RUNS: Final = 3
NOW: Final = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
DOMAIN: Final = "courrier.example"
# dkimpy is so slow that few copies tell its rate.
REFERENCE_SHARE: Final = 20
_TEXT = "À Naryn, les candidats découvrent la carte, et le saxaoul regagne du terrain près de la mer d’Aral.\n\n"
_ROW = '<tr><td style="padding:0 24px;font:16px/24px Georgia,serif">À Naryn, les candidats découvrent la carte.</td></tr>\n'


def sign(
    copies: Annotated[int, typer.Option(help="How many copies a run makes of each kind.")] = 3000,
    kilobytes: Annotated[int, typer.Option(help="Size of one copy, in thousands of bytes.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure filling and DKIM-signing copies in one process, beside dkimpy; median of three with the range."""
    report.print_result(measure(copies, kilobytes), as_json=as_json)


def measure(copies: int = 3000, kilobytes: int = 40) -> dict[str, object]:
    """Fill and sign as many copies of that size."""
    rsa_key, ed_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    by_rsa = dkim.Signer(domain=DOMAIN, selector="r", private_key=rsa_key)
    by_ed = dkim.Signer(domain=DOMAIN, selector="e", private_key=ed_key)
    kinds = {"fill": (), "ed25519": (by_ed,), "rsa2048": (by_rsa,), "both": (by_rsa, by_ed)}
    mails = {name: _compile(kilobytes * 1000, signers) for name, signers in kinds.items()}
    readers = [_reader(number) for number in range(copies)]
    plain = [mails["fill"].fill(reader, now=NOW) for reader in readers[: max(1, copies // REFERENCE_SHARE)]]
    measured: dict[str, list[float]] = {}
    for _ in range(RUNS):
        for name, compiled in mails.items():
            measured.setdefault(name, []).append(_per_second(readers, _filler(compiled)))
        for name, signer in (("dkimpy_rsa2048", by_rsa), ("dkimpy_ed25519", by_ed)):
            measured.setdefault(name, []).append(_per_second(plain, _dkimpy(signer)))
    return _result(measured, size=len(plain[0]))


def _compile(size: int, signers: Sequence[dkim.Signer]) -> message.CompiledMessage:
    """Make a French mail of about `size` bytes with the slots and headers of an issue."""
    nonce = message.new_nonce()
    slot = {name: message.placeholder(nonce, name) for name in message.SLOTS}
    footer = (
        f"{slot['address']} – {slot['since']}\n"
        f"https://lettre.example/p/{slot['preferences']}\nhttps://lettre.example/u/{slot['unsubscribe']}\n"
    )
    return message.compile_message(
        nonce=nonce,
        headers={
            "From": message.mailbox("Le Courrier d’Asie centrale", f"lettre@{DOMAIN}", header="From"),
            "List-Id": f"<courrier.{DOMAIN}>",
            "List-Unsubscribe": f"\r\n <https://lettre.example/u/{slot['oneclick']}/one-click>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "Feedback-ID": "1:courrier:newsletter:mailer00001",
        },
        subject="Le Kazakhstan rouvre le dossier de l’eau du Syr-Daria",
        text=_TEXT * (size // 5 // len(quoting.encode(_TEXT))) + footer,
        html=_ROW * (size * 4 // 5 // len(quoting.encode(_ROW))) + f"<tr><td>{footer}</td></tr>",
        signers=signers,
    )


def _reader(number: int) -> message.Reader:
    token = f"{number:06d}".ljust(links.TOKEN_LENGTH, "T")
    return message.Reader(
        address=f"reader{number}@example{number % 50}.org",
        since="12 décembre 2025",
        unsubscribe=token,
        oneclick=token,
        preferences=token,
        message_id=f"{number}.0123456789abcdef0123@{DOMAIN}",
    )


def _filler(compiled: message.CompiledMessage) -> Callable[[message.Reader], object]:
    return lambda reader: compiled.fill(reader, now=NOW)


def _dkimpy(signer: dkim.Signer) -> Callable[[bytes], object]:
    """Let dkimpy sign a whole copy, with the same headers and canonical forms."""
    if isinstance(signer.private_key, rsa.RSAPrivateKey):
        key = signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        key = base64.b64encode(signer.private_key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    names = [name.lower().encode() for name in message.HEADER_ORDER]
    return lambda copy: dkimpy.sign(
        copy,
        signer.selector.encode(),
        signer.domain.encode(),
        key,
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=signer.algorithm.encode(),
        include_headers=[*names, b"from"],
    )


def _per_second(items: Sequence[_Item], work: Callable[[_Item], object]) -> float:
    work(items[0])
    began = time.process_time()
    for item in items:
        work(item)
    return len(items) / (time.process_time() - began)


def _result(measured: dict[str, list[float]], *, size: int) -> dict[str, object]:
    result: dict[str, object] = {"message_bytes": size}
    fills = [1e6 / rate for rate in measured.pop("fill")]
    result["fill_us"] = round(statistics.median(fills), 1)
    result["fill_us_range"] = [round(min(fills), 1), round(max(fills), 1)]
    for name, rates in measured.items():
        result[f"{name}_per_second"] = round(statistics.median(rates))
        result[f"{name}_range"] = [round(min(rates)), round(max(rates))]
    for name in ("rsa2048", "ed25519"):
        ratios = [ours / theirs for ours, theirs in zip(measured[name], measured[f"dkimpy_{name}"], strict=True)]
        result[f"{name}_ratio_to_dkimpy"] = round(statistics.median(ratios), 1)
    result["machine"] = report.machine()
    return result
