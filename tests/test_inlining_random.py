"""Random style sheets: what is inlined looks the same in a browser; what could not is refused, never wrong."""

import random

import pytest

from mailer.mail.inlining import InliningFailed, inline
from tests.looks import assert_same_look, open_page

SELECTORS = (
    """p|a|div|td|tr > td|table td|table > tr|tbody tr|*|.a|.b|#x|#x .a|div p|p a|a[href]|a[href^="https:"]|p + p|p ~ p
p:first-child|a:link|a:hover|p:not(.a)|td:nth-child(2)|:root|body|p.a.b|:is(.a,.b)|:where(#x) p|P|[class~=a]|.btn|td > b|div > *
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
VALUES = {
    "color": ["red", "#123456", "nocolor"],
    "margin": ["0", "1px 2px", "3em"],
    "margin-top": ["5px", "0"],
    "padding": ["1px", "2px 3px 4px"],
    "padding-left": ["7px", "9%"],
    "border": ["1px solid red", "0"],
    "border-color": ["green"],
    "border-top": ["3px solid lime"],
    "font": ["12px/14px serif", "bold 15px sans-serif"],
    "font-size": ["17px", "1.1em"],
    "line-height": ["20px", "1.5"],
    "background": ["#eee", "none"],
    "background-color": ["#ddd", "junk()"],
    "width": ["50%", "100px"],
}
GROUPS = ["@media (max-width:480px)", "@media (prefers-color-scheme:dark)", "@supports (display:grid)", "@media print"]
DOCUMENTS = 60


class Maker:
    """Makes one random document from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._important = self._random.choice([0, 0, 0.1, 0.3])
        self._styled = self._random.choice([0, 0.2])

    def document(self) -> str:
        css = "\n".join(self._block(2) for _ in range(self._random.randint(2, 9)))
        return (
            f"<!DOCTYPE html><html><head><style>{css}</style></head><body><div class='a b' id='x'{self._style()}>"
            f"<p class='a'{self._style()}>one <a class='btn' href='https://x.example/'{self._style()}>two</a></p>"
            f"<p{self._style()}>three <b>four</b></p><p class='a b'>five</p></div><table><tr><td class='a'{self._style()}>1</td>"
            f"<td>2 <b>3</b></td></tr><tr><td>4</td><td class='a b'{self._style()}>5</td></tr></table></body></html>"
        )

    def _block(self, depth: int) -> str:
        if depth and self._random.random() < 0.25:
            inner = "".join(self._block(depth - 1) for _ in range(self._random.randint(1, 3)))
            return f"{self._random.choice(GROUPS)}{{{inner}}}"
        return f"{','.join(self._random.sample(SELECTORS, self._random.choice([1, 1, 1, 2, 3])))}{{{self._declarations()}}}"

    def _style(self) -> str:
        return f' style="{self._declarations()}"' if self._random.random() < self._styled else ""

    def _declarations(self) -> str:
        names = [self._random.choice(list(VALUES)) for _ in range(self._random.randint(1, 3))]
        flags = [" !important" if self._random.random() < self._important else "" for _ in names]
        return ";".join(
            f"{name}:{self._random.choice(VALUES[name])}{flag}" for name, flag in zip(names, flags, strict=True)
        )


def test_random_style_sheets_mean_the_same_inlined_or_are_refused() -> None:
    compared = 0
    with open_page() as page:
        for seed in range(DOCUMENTS):
            before = Maker(seed).document()
            try:
                after = inline(before)
            except InliningFailed:
                continue
            assert_same_look(page, before, after)
            compared += 1
    if compared < DOCUMENTS // 2:
        pytest.fail(f"only {compared} of {DOCUMENTS} documents could be inlined")
