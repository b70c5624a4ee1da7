"""Inlining keeps what a mail means: in Chromium every element looks the same before and after."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page

from mailer.mail import rendering
from mailer.mail.inlining import InliningFailed, inline
from tests.looks import assert_same_look, open_page
from tests.mails import CONTEXTS

HEAD = '<!DOCTYPE html>\n<html lang="fr" dir="ltr"><head><meta charset="utf-8"><title>t</title>'


def document(css: str, body: str, *more: str) -> str:
    styles = "".join(f"<style>{each}</style>" for each in (css, *more))
    return f'{HEAD}{styles}</head><body id="body">{body}</body></html>'


BASIC = (
    '<div class="a b" id="x"><p class="a">one <a class="btn" href="https://x.example/">two</a></p><p>three</p></div>'
)
TABLE = (
    '<table class="w"><tr><td class="a">1</td><td>2 <b>3</b></td></tr><tr><td>4</td><td class="a b">5</td></tr></table>'
)
STYLED = '<p class="a" style="color:#00f;margin:1px 2px">x</p><p class="a b" style="padding-left:9px !important">y</p>'

TRICKY = {
    "later and more specific rules": document(
        "p{color:red;margin:4px} .a{color:green} #x .a{color:blue} div p{color:navy} .a{color:teal}",
        BASIC,
        "p{color:lime} .b{color:gray}",
    ),
    "a shorthand after a longhand": document(
        "p{margin:1em} .a{margin-top:0;border-top:2px solid red} div .a{margin:2em;border-color:blue}"
        "#x p{border:1px dotted lime}"
        ".b{font:italic 14px/20px serif} .b{line-height:30px} #x{font:12px sans-serif}",
        BASIC,
    ),
    "important against attributes": document(
        ".a{color:red!important;padding:5px!important;margin:0 !important} p{color:lime;padding-left:20px}",
        STYLED + BASIC,
    ),
    "media queries without important": document(
        ".a{color:red;padding:10px} p{padding-left:3px} @media (max-width:480px){.a{color:blue;padding:2px} p{color:gray}}"
        "@media (prefers-color-scheme:dark){p{color:white} #x{background:#111}}",
        BASIC,
    ),
    "media queries with important": document(
        ".a{color:red} .b{background:#eee} @media (max-width:480px){.a{color:blue!important}}"
        "@media (prefers-color-scheme:dark){.b{background:#111!important} .a{color:#fff!important}}",
        BASIC + STYLED,
    ),
    "an attribute that beats a media query": document(
        "@media (max-width:480px){.a{color:lime;margin:9px}} .a{color:red;margin:3px}", STYLED + BASIC
    ),
    "a weaker media query": document("#x .a{color:red} p{color:gray} @media (max-width:480px){p{color:blue}}", BASIC),
    "structure and state": document(
        "p{color:red} p:first-child{color:blue} div p:not(.a){color:green} a:link{color:teal} a{color:black} .btn{color:gray}"
        "p:nth-child(2){margin:0} a:hover{color:white} :is(p,div).a{padding:3px} :where(#x) p{padding:7px}",
        BASIC,
    ),
    "supports, nested media": document(
        ".a{color:red;width:50px} @supports (display:grid){.a{color:blue} @media (max-width:480px){.a{color:lime;width:70px}}}"
        "@media screen{@media (max-width:480px){p{width:20px}}}",
        BASIC,
    ),
    "attribute selectors": document(
        'a[href]{color:red} .btn{color:blue} a[href^="https://x.ex"]{padding:2px} a{color:teal;padding:9px}'
        'p[class="a"]{color:gray} p.a{color:lime}',
        BASIC,
    ),
    "tables and capital letters": document(
        "table > tr > td{color:red} TABLE > TBODY > TR{background:#eee} Td.a{color:blue;vertical-align:top;width:50%}"
        "tr td+td{color:green}"
        "td > b{font-weight:normal} tr:first-child td{padding:9px}",
        TABLE.replace("<td", "<TD"),
    ),
    "values that only some understand": document(
        "p{color:red;color:nocolor;width:100px;width:-x-none(3px)} .a{color:#00f;margin:0 auto;margin:none}"
        "#x p{color:light(red)}",
        BASIC,
    ),
    "everything, the root and nothing": document(
        "*{box-sizing:border-box;margin:0} :root{color:#123;font-size:18px} p{margin:5px} html{color:red}"
        "[data-ogsc] .a{color:lime!important}"
        "#outlook a{padding:0} .gone{color:red}",
        BASIC,
    ),
    "styles in odd places": HEAD
    + '<style media="print">p{color:red}</style><style media="(max-width:480px)">p{color:blue}</style>'
    + '<STYLE type="text/css" media="screen"><!-- p{padding:3px} --></STYLE></head><body><style>.a{color:teal}</style>'
    + BASIC
    + "</body></html>",
    "no doctype, no head": "<style>p{color:red;width:50%} td{padding:4px} tbody{color:blue}</style>" + BASIC + TABLE,
    "pseudo-elements and variables": document(
        'p::before{content:"}{";color:red} .a::after{content:"é"} p{--c:#00f;color:var(--c)} a::first-letter{color:lime}'
        "p{font-size:1.2em}",
        BASIC,
    ),
    "escaped names": document(r".sm\:p{padding:9px} .w-1\/2{width:50%} p{padding:1px}", '<p class="sm:p w-1/2">x</p>'),
    "a list that is partly conditional": document(
        "a,a:hover,.never,p:last-child{color:red;margin:2px!important} .btn{color:blue} a{color:lime}", BASIC
    ),
    "layers": document(
        "@layer z{#x p{color:red}} p{color:blue} @layer z{p{padding:3px!important}} .a{padding:1px}", BASIC
    ),
    "inherited and text direction": document(
        "div{color:red;text-align:right;direction:rtl} p{color:inherit} .a{text-align:start;color:unset} "
        ".btn{all:initial;color:blue}",
        BASIC,
    ),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.mark.parametrize("name", TRICKY)
def test_every_element_of_a_tricky_document_looks_the_same(name: str, page: Page) -> None:
    assert_same_look(page, TRICKY[name], inline(TRICKY[name]))


@pytest.mark.parametrize("template", CONTEXTS)
def test_every_element_of_our_mails_looks_the_same(template: str, page: Page) -> None:
    for context in CONTEXTS[template].values():
        before = rendering.expand(template, language="fr", context=context).html
        assert_same_look(page, before, inline(before))


def test_the_browser_would_notice_a_wrong_cascade(page: Page) -> None:
    before = document("p{margin:1em} .a{margin-top:0}", BASIC)
    with pytest.raises(AssertionError, match="block-size"):
        assert_same_look(page, before, before.replace(".a{margin-top:0}", ""))


@pytest.mark.parametrize("name", TRICKY)
def test_only_style_attributes_and_style_blocks_change(name: str) -> None:
    assert skeleton(inline(TRICKY[name])) == skeleton(TRICKY[name])


def skeleton(html: str) -> str:
    without_blocks = re.sub(r"(?is)<style\b.*?</style>", "", html)
    return re.sub(r"""(?i)\s+style\s*=\s*("[^"]*"|'[^']*')""", "", without_blocks)


@pytest.mark.parametrize(
    "kept",
    [
        '<!doctype html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">',
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml" lang="fr" dir="rtl">',
        '<!--[if mso]><table width="600"><tr><td style="x"><![endif]-->',
        "<!--[if !mso]><!-->",
        "<!--<![endif]-->",
        "<![if !mso]>",
        "<![endif]>",
        "<!-- a remark > with <p> -->",
        "a&nbsp;b &zwnj;&#847; &lt;i&gt; &amp;amp; é",
        'href="https://x.example/?a=1&amp;b=é {{ x }}&c=q5f1c9a02b7d3addressq#top"',
        '<img src="https://x.example/a b.png" srcset="x 2x" width="10" height=20 alt>',
        "<title>a < b & <b>c</b></title>",
        "<v:rect fill='true'/>",
    ],
)
def test_this_piece_of_a_document_stays_byte_for_byte(kept: str) -> None:
    parts = (
        '<!doctype html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">',
        '\n<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml" lang="fr" dir="rtl">',
        "<head><title>a < b & <b>c</b></title><style>p,a,img{color:red;width:auto;height:auto;float:left}</style></head>",
        '<body><!--[if mso]><table width="600"><tr><td style="x"><![endif]--><!--[if !mso]><!--><p>x</p><!--<![endif]-->',
        "<![if !mso]><p>a&nbsp;b &zwnj;&#847; &lt;i&gt; &amp;amp; é<![endif]><!-- a remark > with <p> -->",
        '<a class=b href="https://x.example/?a=1&amp;b=é {{ x }}&c=q5f1c9a02b7d3addressq#top">x</a>',
        '<img src="https://x.example/a b.png" srcset="x 2x" width="10" height=20 alt><v:rect fill=\'true\'/></body></html>\n',
    )
    html = "".join(parts)
    assert kept.rstrip(">") in html
    assert kept.rstrip(">") in inline(html)


@pytest.mark.parametrize(
    "kept",
    [
        "@media (max-width:480px){ .a { color : red!important } }",
        "@media screen{@media (min-width:1px){.a{color:red !important}}}",
        "@supports (display:grid){.a{display:grid!important}}",
        '@font-face{font-family:"X";src:url(https://x.example/x.woff2)}',
        "[data-ogsc] .a{color:#fff !important}",
        ":root{color-scheme:light dark}",
        "*{box-sizing:border-box}",
        "#outlook a{padding:0}",
        "u + #body .gone{color:inherit}",
        "p::first-letter{color:red}",
        ".a{color:red !important}",
    ],
)
def test_this_rule_stays_in_its_style_block_to_the_letter(kept: str) -> None:
    assert kept in inline(document(f"p{{margin:0}} {kept} .b{{padding:0}}", BASIC))


def test_a_rule_that_is_written_into_attributes_leaves_its_style_block() -> None:
    assert inline(document("p{margin:0}", "<p>x</p>")) == document("", '<p style="margin:0">x</p>').replace(
        "<style></style>", ""
    )


def test_a_block_that_drops_what_is_unused_keeps_its_conditions() -> None:
    html = document(
        "p{margin:0} .gone{color:red} .gone:hover{color:red} tbody{color:blue}", "<p>x</p><table><tr><td>x</table>"
    )
    inlined = inline(html.replace("<style>", '<style data-premailer="drop">'))
    assert "<style>\n.gone:hover{color:red}\ntbody{color:blue}\n</style>" in inlined


def test_a_block_that_is_to_be_ignored_stays_whole() -> None:
    html = document("p{margin:0}", "<p>x</p>")
    assert inline(html.replace("<style>", '<style data-premailer="ignore">')) == html


def test_a_rule_that_loses_on_one_element_and_wins_on_another_is_settled_on_each() -> None:
    inlined = inline(document("a{color:red} a:hover{color:blue}", '<a>x</a><a style="color:lime">y</a>'))
    assert "a:hover{color:blue!important}" in inlined
    assert '<a style="color:red">x</a><a style="color:lime!important">y</a>' in inlined


def test_what_cannot_keep_its_rank_is_refused_by_name() -> None:
    css = "a{color:gray} #x a{color:red} a:hover{color:blue} .k{color:gray} a:focus{color:lime!important}"
    with pytest.raises(InliningFailed, match=r"a:focus \{color:lime!important\}.*set the property in only one"):
        inline(document(css, '<p id="x"><a href="#">x</a></p><a href="#">y</a>'))


@pytest.mark.parametrize(
    ("css", "message"),
    [
        ("p{color:red}} a{color:blue}", "a } has no {"),
        ("p{color:red", "never closed"),
        ("p{color}", "“color” is not a declaration"),
        ("p{color:'red}", "string or comment is never closed"),
        ("p{color:red} /* ", "string or comment is never closed"),
        ("p{color:rgb(1,2}", "a } stands where none can"),
        ("p{color:red; &:hover{color:blue}}", "a { stands where none can"),
        ("p{color:red} color:blue", "is not a rule"),
        (".2a{color:red}", "“.2a” is not a selector"),
        ("p,,a{color:red}", "not a selector"),
        ("@import url(https://x.example/a.css);", "@import is not allowed"),
        ("@IMPORT 'a.css';", "@import is not allowed"),
        ("p{background:url(http://x.example/a.png)}", "not an https address"),
        ("p{background:url('/etc/passwd')}", "not an https address"),
        ("p{background:url(file:///etc/passwd)}", "not an https address"),
    ],
)
def test_this_css_is_refused(css: str, message: str) -> None:
    with pytest.raises(InliningFailed, match=re.escape(message)):
        inline(document(css, BASIC))


def test_a_broken_style_attribute_is_refused() -> None:
    with pytest.raises(InliningFailed, match="is not a declaration"):
        inline(document("", '<p style="red">x</p>'))


@pytest.mark.parametrize("rel", ["stylesheet", "alternate StyleSheet"])
def test_a_linked_style_sheet_is_refused(rel: str) -> None:
    with pytest.raises(InliningFailed, match="cannot load a style sheet"):
        inline(f'<link rel="{rel}" href="https://x.example/a.css"><p>x</p>')


@pytest.mark.parametrize(
    "html", ["", " \n", "only words & signs", "<!-- nothing -->", "<p>x</p>", "<!doctype html>", "<p title='>'>"]
)
def test_a_document_without_styles_comes_back_as_it_is(html: str) -> None:
    assert inline(html) == html


def test_an_attribute_keeps_its_quotes_and_signs() -> None:
    inlined = inline(
        """<style>p{font-family:"A & B",'C'}</style><p title="a > b" style='color:red' class=x>y</p><br/>"""
    )
    assert inlined == """<p title="a > b" style="font-family:&quot;A &amp; B&quot;,'C';color:red" class=x>y</p><br/>"""


def test_no_attributes_are_added_for_width_and_height() -> None:
    inlined = inline(
        "<style>img{width:calc(1px + 2em);height:auto;background-color:rgba(0,0,0,.5);text-align:left}</style><img>"
    )
    assert inlined.startswith('<img style="')
    assert inlined.count("=") == 1


def test_two_renders_at_once_give_what_one_gives() -> None:
    wanted = {name: inline(html) for name, html in TRICKY.items()}
    with ThreadPoolExecutor(8) as pool:
        names = list(TRICKY) * 8
        assert list(pool.map(lambda name: inline(TRICKY[name]), names)) == [wanted[name] for name in names]


def test_nothing_is_read_from_network_or_disk() -> None:
    program = """
import sys
from mailer.mail.inlining import InliningFailed, inline

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "subprocess.")) or event in ("open", "os.listdir"):
        raise AssertionError((event, arguments))

html = sys.stdin.read()
sys.addaudithook(refuse)
inline(html)
for css in ("@import url(http://127.0.0.1:9/a.css);", "@import '/etc/passwd';", "p{background:url(file:///etc/passwd)}"):
    try:
        inline("<style>" + css + "</style><p>x</p>")
    except InliningFailed:
        pass
print("quiet")
"""
    html = document(
        "p{background:url(https://x.example/a.png)} @font-face{src:url(https://x.example/f)}",
        '<img src="file:///etc/passwd"><p>x</p>',
    )
    ran = subprocess.run([sys.executable, "-c", program], input=html, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("quiet\n", "")
