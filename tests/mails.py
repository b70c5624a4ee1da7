"""Contexts of mails as the templates get them: own texts about an invented publication, with a full and a bare one each."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from mailer.i18n import DESK_LANGUAGES, LANGUAGES

NONCE = "5f1c9a02b7d3"
PLACEHOLDERS = {name: f"q{NONCE}{name}q" for name in ("address", "since", "confirm", "unsubscribe", "preferences")}
Context = dict[str, object]


def article(title: str, slug: str, **more: object) -> Context:
    """An article of which nothing is known but title and address, unless `more` says so."""
    return {
        "title": title,
        "url": f"https://courrier.example/{slug}?a=1&b=2",
        "excerpt": "",
        "author": None,
        "topic": None,
        "minutes": 0,
        "image": None,
        "is_locked": False,
        "corrected": [],
        "published_at": datetime(2025, 11, 27, 9, 30, tzinfo=ZoneInfo("Europe/Paris")),
        **more,
    }


def picture(name: str, credit: str | None = None) -> Context:
    """A picture that the site serves."""
    return {
        "url": f"https://lettre.example/img/{name}.jpg",
        "width": 552 if name == "lead" else 120,
        "height": 310 if name == "lead" else 80,
        "alt": f"Vue de {name}, à l’aube.",
        "credit": credit,
    }


def said(text: str) -> list[Context]:
    """A paragraph of an introduction: one piece, no link."""
    return [{"text": text, "url": None}]


LEAD = article(
    "Le Kazakhstan rouvre le dossier de l’eau du Syr-Daria",
    "eau-syr-daria",
    excerpt="Trois ans après l’échec de Douchanbé, les cinq pays de la région reprennent les discussions sur le partage "
    "des eaux. Les agriculteurs de Kyzylorda, eux, n’attendent plus rien des sommets.",
    author="Aliya Bekova",
    topic="Kazakhstan",
    minutes=7,
    image=picture("lead", "A. Nurlan"),
)
POLITICS = [
    article(
        "Bichkek réforme son Parlement sans passer par les urnes",
        "bichkek-parlement",
        excerpt="Le nouveau mode de scrutin redessine trente circonscriptions. À Naryn, les candidats découvrent la carte.",
        author="Temir Sadykov",
        topic="Politique",
        minutes=5,
        image=picture("t1"),
    ),
    article(
        "À Douchanbé, la succession se prépare à huis clos",
        "douchanbe",
        excerpt="Remaniement à la tête des régions et silence des médias publics : ce que l’on sait.",
        topic="Politique",
        is_locked=True,
        image=picture("t2"),
    ),
]
SOCIETY = [
    article(
        "Mer d’Aral : le saxaoul regagne du terrain",
        "saxaoul",
        excerpt="En dix ans, un million d’hectares plantés côté ouzbek. La forêt retient le sel, mais boit l’eau qui manque.",
        author="Dilnoza Karimova",
        topic="Société & environnement",
        minutes=6,
        image=picture("t4"),
    ),
    article(
        "Écoles rurales : apprendre le tadjik par la radio",
        "ecoles",
        excerpt="Dans le Pamir, quarante villages suivent la classe à la fréquence 98,4, quand la neige ferme le col.",
        topic="Société & environnement",
        minutes=4,
    ),
]
BRIEFS = [
    article("Un train de nuit relie de nouveau Tachkent à Samarcande", "train", topic="Ouzbékistan", minutes=2),
    article("Turkménistan : le prix du pain triple dans l’est du pays", "pain", topic="Turkménistan", is_locked=True),
    article("Қазақ киносы : trois films à voir au festival d’Almaty", "cinema", topic="Culture", minutes=4),
    article("Le yak, monnaie d’hiver des vallées kirghizes", "yak", topic="Économie", author="Jyldyz Osmon"),
]
NEWSLETTER = {
    "name": "Le Courrier d’Asie centrale",
    "description": "Chaque vendredi, l’actualité de cinq pays.",
    "url": "https://courrier.example/",
    "language": "fr",
    "publisher": "Association Le Courrier",
    "postal_address": "12 rue des Caravanes\n67000 Strasbourg\nFrance",
    "brand_color": "#0F5C5C",
    "brand_color_dark": "#7CC7BD",
    "logo": None,
    "font": "serif",
    "subscribe_url": "https://lettre.example/hebdo",
    "sender_name": "Le Courrier",
}
LOGO = {"url": "https://courrier.example/img/logo.png", "width": 160}
CORRECTIONS = [
    {
        "title": SOCIETY[0]["title"],
        "url": SOCIETY[0]["url"],
        "note": "Nous avions écrit deux millions d’hectares ; il s’agit d’un million.",
    }
]
BARE_NEWSLETTER = {**NEWSLETTER, "description": "", "postal_address": "", "publisher": "Le Courrier"}
READER = {
    "address": PLACEHOLDERS["address"],
    "since": PLACEHOLDERS["since"],
    "preferences_url": f"https://lettre.example/p/{PLACEHOLDERS['preferences']}",
    "unsubscribe_url": f"https://lettre.example/u/{PLACEHOLDERS['unsubscribe']}",
    "is_tracked": False,
    "counts_clicks": False,
    "counts_opens": False,
    "follows_readers": False,
}
ISSUE: dict[str, Any] = {
    "newsletter": NEWSLETTER,
    "issue": {
        "title": LEAD["title"],
        "number": 129,
        "date": datetime(2025, 11, 28, 7, 0, tzinfo=ZoneInfo("Europe/Paris")),
        "preview_text": "Aussi : Bichkek réforme son Parlement, un train de nuit Tachkent–Samarcande et le retour du saxaoul.",
        "introduction": [
            said("Bonjour,"),
            said(
                "Cette semaine, l’eau revient au centre des négociations régionales : Astana veut un accord avant le "
                "printemps. Nous avons aussi suivi la réforme électorale kirghize jusque dans les villages de Naryn."
            ),
            said("Bonne lecture,"),
        ],
        "signature": "Camille Ferrand, rédactrice en chef",
        "body": [],
        "web_url": "https://lettre.example/i/129",
    },
    "lead": LEAD,
    "sections": [
        {"title": "Politique", "articles": POLITICS},
        {"title": "Société & environnement", "articles": SOCIETY},
    ],
    "briefs": BRIEFS,
    "more": {"count": 12, "url": "https://courrier.example/"},
    "corrections": CORRECTIONS,
    "removed": [],
    "reader": READER,
}
BARE_ISSUE = {
    "newsletter": BARE_NEWSLETTER,
    "issue": {**ISSUE["issue"], "number": None, "introduction": [], "signature": None, "preview_text": ""},
    "lead": article("Une seule nouvelle", "seule"),
    "sections": [],
    "briefs": [],
    "more": None,
    "corrections": [],
    "removed": [],
    "reader": {**READER, "since": ""},
}
CONFIRM = {
    "newsletter": NEWSLETTER,
    "confirm_url": f"https://lettre.example/confirm/{PLACEHOLDERS['confirm']}",
    "address": PLACEHOLDERS["address"],
    "days": 7,
}
ALREADY = {"newsletter": NEWSLETTER, "reader": READER, "next_issue": "vendredi 28 novembre 2025"}
REVIEW_LINKS = {act: f"https://lettre.example/review/{act}/{act * 10}" for act in ("send", "hold", "drop")}
REVIEW = {
    "newsletter": NEWSLETTER,
    "issue": {"subject": LEAD["title"], "preview_text": ISSUE["issue"]["preview_text"]},
    "slot": datetime(2025, 11, 28, 7, 0, tzinfo=ZoneInfo("Europe/Paris")),
    "leaves_on_silence": True,
    "recipients": 18117,
    "titles": [{"title": one["title"], "url": one["url"]} for one in (LEAD, *POLITICS, *BRIEFS)],
    "links": REVIEW_LINKS,
    "page_url": "https://lettre.example/admin/issues/129",
    "address": PLACEHOLDERS["address"],
}
ALERT = {
    "newsletter": NEWSLETTER,
    "title": "Retenu par les vérifications",
    "about": LEAD["title"],
    "lines": ["Les vérifications ont trouvé ce que personne ne doit recevoir.", "Corrigez-le, ou laissez-le passer."],
    "reasons": ["Le lien de désinscription manque.", "L’objet est vide."],
    "quoted": "535 5.7.8 Authentication credentials invalid",
    "page_url": "https://lettre.example/admin/issues/129",
    "page_label": "Ouvrir le numéro",
    "acts": [{"label": "L’envoyer tel quel", "url": REVIEW_LINKS["send"]}],
    "address": PLACEHOLDERS["address"],
}
DESK_ACCOUNT = {
    "newsletter": NEWSLETTER,
    "host": "lettre.example",
    "title": "Choisissez un nouveau mot de passe",
    "lines": [
        "Quelqu’un a demandé un nouveau mot de passe pour cette adresse.",
        "Si ce n’est pas vous, ignorez ce message.",
    ],
    "label": "Choisir un mot de passe",
    "link_url": f"https://lettre.example/admin/link/{PLACEHOLDERS['confirm']}",
    "until": "Le lien fonctionne pendant 30 minutes.",
    "why": "Vous recevez ce message parce que votre adresse a un compte à la rédaction de cette newsletter.",
    "address": PLACEHOLDERS["address"],
}
# By template: the contexts that it must render.
CONTEXTS: dict[str, dict[str, Context]] = {
    "issue": {"full": ISSUE, "bare": BARE_ISSUE, "online": {**ISSUE, "reader": None}},
    "confirm": {"full": CONFIRM, "bare": {**CONFIRM, "newsletter": BARE_NEWSLETTER, "days": 1}},
    **{
        kind: {
            "full": {**CONFIRM, "confirm_url": url},
            "bare": {**CONFIRM, "confirm_url": url, "newsletter": BARE_NEWSLETTER},
        }
        for kind, url in (
            ("manage", f"https://lettre.example/account/{PLACEHOLDERS['confirm']}"),
            ("change_address", f"https://lettre.example/address/{PLACEHOLDERS['confirm']}"),
            ("address_changed", ""),
        )
    },
    "already": {"full": ALREADY, "bare": {**ALREADY, "newsletter": BARE_NEWSLETTER, "next_issue": None}},
    "review": {
        "full": REVIEW,
        "bare": {**REVIEW, "newsletter": BARE_NEWSLETTER, "leaves_on_silence": False, "recipients": 1}
        | {"issue": {"subject": LEAD["title"], "preview_text": ""}, "titles": REVIEW["titles"][:1]},
    },
    "alert": {
        "full": ALERT,
        "bare": {**ALERT, "newsletter": BARE_NEWSLETTER, "reasons": [], "quoted": "", "acts": [], "lines": ["Rien."]},
    },
}
CONTEXTS["desk_account"] = {
    "full": DESK_ACCOUNT,
    "bare": {**DESK_ACCOUNT, "newsletter": BARE_NEWSLETTER, "lines": ["Rien."]},
}
# The newsroom's mails are in the languages of its pages.
LANGUAGES_OF = {one: DESK_LANGUAGES if one in ("review", "alert", "desk_account") else LANGUAGES for one in CONTEXTS}
