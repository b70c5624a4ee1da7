"""Sentences, dates and numbers; and that every sentence in use is translated, with good typography."""

import ast
import re
from collections.abc import Iterator
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_python
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

from mailer import i18n

ROOT = Path(__file__).parent.parent
TEMPLATE_FOLDERS = ("templates", "mailer/web/templates")
KEYWORDS = {"_": None, "gettext": (2,), "ngettext": None}
Sentence = str | tuple[str, str]


def sentences_in_use(*, is_for_readers: bool = False) -> dict[Sentence, str]:
    """Every sentence of templates and code, and where it stands; or only those that stand in mails and readers' pages."""
    found: dict[Sentence, str] = {}
    for folder in TEMPLATE_FOLDERS:
        for path in files_in(folder, "*.*", is_for_readers=is_for_readers):
            if path.suffix in (".html", ".txt"):
                options = {"trimmed": "true", "silent": "false"}
                for line, _, message, _ in babel_extract(BytesIO(path.read_bytes()), ("_", "ngettext"), [], options):
                    if message:
                        found[sentence(message)] = f"{path.relative_to(ROOT)}:{line}"
    for path in files_in("mailer", "*.py", is_for_readers=is_for_readers):
        for line, name, message, _ in extract_python(BytesIO(path.read_bytes()), ("gettext", "ngettext", "_"), [], {}):
            texts = tuple(part for part in message if part) if isinstance(message, tuple) else (message,)
            if texts and texts[0]:
                found[texts[:2] if name == "ngettext" else texts[0]] = f"{path.relative_to(ROOT)}:{line}"
    return found


def files_in(folder: str, pattern: str, *, is_for_readers: bool) -> list[Path]:
    """The files to look at, in order."""
    found = sorted((ROOT / folder).rglob(pattern))
    return [path for path in found if not (is_for_readers and is_of_newsroom(path))]


def is_of_newsroom(path: Path) -> bool:
    """Whether only the newsroom reads what stands there."""
    # Its mails too, which are in the languages of its pages.
    return bool({"admin", "api", "cli", "embedded", "review", "alert", "desk_account"} & set(path.parts))


def literals(folder: str = "mailer", *, is_for_readers: bool = False) -> set[str]:
    """Every string in the code: some sentences are written in one place and said, by name, in another."""
    paths = (path for path in (ROOT / folder).rglob("*.py") if not (is_for_readers and is_of_newsroom(path)))
    trees = (ast.parse(path.read_bytes()) for path in paths)
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def sentence(message: str | tuple[str | None, ...]) -> Sentence:
    texts = [part for part in message if part] if isinstance(message, tuple) else [message]
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])


@pytest.fixture(scope="module")
def french() -> Catalog:
    return catalogue("fr")


def catalogue(language: str) -> Catalog:
    with (ROOT / f"mailer/locale/{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_every_sentence_of_mails_and_readers_pages_is_translated(language: str, french: Catalog) -> None:
    """With those that readers' pages say by name: they are known from the French catalogue."""
    by_name = literals("mailer/web", is_for_readers=True)
    said = {key for key in (first(message.id) for message in french) if key[:1].isupper() and key in by_name}
    wanted = {first(key) for key in sentences_in_use(is_for_readers=True)} | said
    known = catalogue(language)
    assert sorted(key for key in wanted if not translations(known.get(key))) == []


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_no_translation_is_unused_or_has_other_placeholders(language: str) -> None:
    used = {first(key) for key in sentences_in_use(is_for_readers=True)} | literals("mailer/web", is_for_readers=True)
    for message in catalogue(language):
        if message.id:
            assert first(message.id) in used
            for text in translations(message):
                assert set(re.findall(r"\{\w*\}?", text)) == set(re.findall(r"\{\w+\}", first(message.id))), text
                assert "'" not in text
                assert not re.search(r"\{n\} (?=[а-я])", text), f"an ordinary space before the unit in {text!r}"


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_things_have_as_many_forms_as_the_language(language: str) -> None:
    for message in catalogue(language):
        if isinstance(message.id, tuple):
            assert len(message.string) == {"ru": 3, "kk": 2}[language], message.id


def test_every_sentence_in_use_is_translated_into_french(french: Catalog) -> None:
    missing = [
        f"{place}: {key}" for key, place in sentences_in_use().items() if not translations(french.get(first(key)))
    ]
    assert not missing


def test_no_french_translation_is_unused(french: Catalog) -> None:
    used = {first(key) for key in sentences_in_use()} | literals()
    assert [message.id for message in french if message.id and first(message.id) not in used] == []


def test_a_plural_is_a_plural_in_both_languages(french: Catalog) -> None:
    for key in sentences_in_use():
        message = french.get(first(key))
        assert message is not None
        assert isinstance(message.id, tuple) == isinstance(key, tuple), key
        if isinstance(key, tuple):
            assert message.id == key


def test_translations_have_the_placeholders_of_the_original(french: Catalog) -> None:
    for message in french:
        wanted = set(re.findall(r"\{\w+\}", first(message.id))) if message.id else set()
        for text in translations(message) if message.id else ():
            assert set(re.findall(r"\{\w*\}?", text)) == wanted, message.id


def test_french_typography(french: Catalog) -> None:
    for message in french:
        for text in translations(message) if message.id else ():
            assert "'" not in text, text
            prose = re.sub(r"\w+://\S+|\d\d:\d\d", "", text)
            assert not re.search(r"(?<![\u00a0:/?!])[:;!?»](?!//)", prose), f"no U+00A0 before : ; ! ? » in {text!r}"
            assert not re.search(r"«(?!\u00a0)", text), f"no U+00A0 after « in {text!r}"
            assert not re.search(r"\{n\} (?:min|jours?|h\b)", text), f"an ordinary space before the unit in {text!r}"
            assert not re.search(r"[·•](?=[a-z]\b)", text), f"a point médian in {text!r}"


def test_english_sentences_have_curly_apostrophes_too() -> None:
    assert [place for key, place in sentences_in_use().items() if "'" in "".join(key)] == []


def first(key: object) -> str:
    return str(key[0]) if isinstance(key, (tuple, list)) else str(key)


def translations(message: Message | None) -> Iterator[str] | list[str]:
    if message is None or not message.string:
        return []
    texts = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
    return list(texts) if all(texts) else []


def test_a_sentence_is_said_in_the_language_with_its_values() -> None:
    assert i18n.gettext("fr", "by {author}", author="Aliya {x} Bekova") == "par Aliya {x} Bekova"
    assert i18n.gettext("en", "by {author}", author="Aliya") == "by Aliya"


def test_a_sentence_without_translation_stays_english() -> None:
    assert i18n.gettext("fr", "Nobody translated {this}.", this="that") == "Nobody translated that."


def test_a_value_cannot_be_reached_into() -> None:
    assert i18n.gettext("en", "{x.__class__} {x[0]} {x}", x="y") == "{x.__class__} {x[0]} y"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="author"):
        i18n.gettext("fr", "by {author}", writer="x")


@pytest.mark.parametrize(
    ("language", "n", "said"),
    [
        ("fr", 0, "0 autre article sur notre site"),
        ("fr", 1, "1 autre article sur notre site"),
        ("fr", 2, "2 autres articles sur notre site"),
        ("fr", 18117, "18 117 autres articles sur notre site"),
        ("en", 0, "0 more articles on our site"),
        ("en", 1, "1 more article on our site"),
        ("en", 18117, "18,117 more articles on our site"),
        ("ru", 0, "Ещё 0 статей на нашем сайте"),
        ("ru", 1, "Ещё 1 статья на нашем сайте"),
        ("ru", 3, "Ещё 3 статьи на нашем сайте"),
        ("ru", 11, "Ещё 11 статей на нашем сайте"),
        ("ru", 21, "Ещё 21 статья на нашем сайте"),
        ("ru", 112, "Ещё 112 статей на нашем сайте"),
        ("kk", 1, "Сайтымызда тағы 1 мақала"),
        ("kk", 5, "Сайтымызда тағы 5 мақала"),
    ],
)
def test_things_are_counted_as_the_language_counts(language: str, n: int, said: str) -> None:
    one, many = "{n} more article on our site", "{n} more articles on our site"
    assert i18n.ngettext(language, one, many, n).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (("fr",), "fr"),
        (("fr-CA",), "fr"),
        (("EN_us",), "en"),
        (("kk", "fr"), "kk"),
        (("uz", "ru-KZ"), "ru"),
        (("uz", "fr"), "fr"),
        (("uz", None), "en"),
        ((), "en"),
        (("",), "en"),
    ],
)
def test_the_first_language_that_we_speak_is_chosen(wanted: tuple[str | None, ...], chosen: str) -> None:
    assert i18n.choose(*wanted) == chosen


def test_french_dates_keep_day_and_month_on_one_line() -> None:
    day = date(2025, 11, 28)
    assert i18n.format_date("fr", day, "full", starts_line=True) == "Vendredi 28\u00a0novembre\u00a02025"
    assert i18n.format_date("fr", day, "full") == "vendredi 28\u00a0novembre\u00a02025"
    assert i18n.format_date("fr", day, "long") == "28\u00a0novembre\u00a02025"
    assert i18n.format_date("fr", day, "short") == "28/11/2025"


def test_the_first_of_a_month_is_an_ordinal_in_french() -> None:
    assert i18n.format_date("fr", date(2025, 12, 1), "full") == "lundi 1er\u00a0décembre\u00a02025"


def test_english_dates() -> None:
    assert i18n.format_date("en", date(2025, 11, 28), "full") == "Friday 28\u00a0November\u00a02025"
    assert i18n.format_date("en", date(2025, 12, 1), "medium") == "1\u00a0Dec\u00a02025"


def test_russian_and_kazakh_dates() -> None:
    day = date(2025, 11, 28)
    assert i18n.format_date("ru", day, "full", starts_line=True) == "Пятница, 28\u00a0ноября\u00a02025\u00a0г."
    assert i18n.format_date("ru", day) == "28\u00a0ноября\u00a02025\u00a0г."
    assert i18n.format_date("kk", day, "full") == "2025\u00a0ж. 28\u00a0қараша, жұма"


def test_a_sentence_that_a_language_lacks_is_counted_in_english() -> None:
    assert i18n.ngettext("ru", "{n} untranslated thing", "{n} untranslated things", 21) == "21 untranslated things"


def test_the_newsrooms_pages_are_in_the_two_languages_that_have_all_of_them() -> None:
    assert i18n.choose("kk", "fr", among=i18n.DESK_LANGUAGES) == "fr"


def test_a_moment_is_dated_in_its_own_zone() -> None:
    late = datetime(2025, 11, 28, 0, 30, tzinfo=ZoneInfo("Asia/Almaty"))
    assert i18n.format_date("fr", late) == "28\u00a0novembre\u00a02025"


def test_times_of_day() -> None:
    assert i18n.format_time("fr", time(7, 0)) == "7\u00a0h"
    assert i18n.format_time("fr", time(19, 5)) == "19\u00a0h\u00a005"
    assert i18n.format_time("en", time(7, 0)) == "07:00"


def test_numbers() -> None:
    assert i18n.format_number("fr", 18117) == "18\u00a0117"
    assert i18n.format_number("fr", 98.4) == "98,4"
    assert i18n.format_number("ru", 18117.5) == "18\u00a0117,5"
    assert i18n.format_number("uz", 18117) == "18,117"
