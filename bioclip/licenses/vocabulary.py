"""Words of licence statements: the elements of Creative Commons in the languages that providers write, and words that say nothing of a
licence.

All patterns are for text that `statements.plain_text` has prepared: one kind of space and dash, Latin letters without accents.
"""

from __future__ import annotations

import re
import unicodedata

RESERVED, PUBLIC, OTHER, ZERO = "LicenseRef-all-rights-reserved", "LicenseRef-public-domain", "LicenseRef-other", "CC0-1.0"
"""Identifiers of what SPDX's list does not have, and of CC0."""


def without_accents(text: str) -> str:
    """The text without accents and other combining marks."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(letter for letter in parts if unicodedata.category(letter) != "Mn"))


def _split(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


def _compiled(*rules: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(without_accents(pattern), re.IGNORECASE), replacement) for pattern, replacement in rules)


UNSTATED = re.compile(
    r"(?:unspecified|not (?:specified|stated|given|provided|available|applicable)|unknown|none(?: given)?|n/?a|null|nil|nan|noassertion"
    r"|\\n|[-?]+)\.?",
    re.IGNORECASE,
)
"""A whole text that states no licence."""
RESERVATION = re.compile(
    without_accents(
        r"(?<!some )(?<!no )\b(?:copy)?rights?[\s-]*(?:are[\s-]*)?reserved|no licen[cs]e|not licensed|no re-?use\b"
        r"|rightsstatements\.org/vocab/inc|^(?:c|©|\(c\)|copyright(?:ed)?|in[\s-]copyright)\.?$"
        r"|droits (?:sont )?r[e]serv[e]s|rechte (?:sind )?vorbehalten|rechten voorbehouden|diritti (?:sono )?riservati"
        r"|(?:derechos|direitos|drets) reserva[dt][oa]?s|rattigheter forbehall\w+|rett?igh?eder forbehold\w+|rettigheter forbehold\w+"
        r"|oikeudet pidatet\w+|prawa zastrze\w+|prava vyhrazena|minden jog fenntartva|tum haklari saklidir"
        r"|права (?:защищены|сохранены|зарезервированы)|版权所有|版權所有|保留所有权利|無断転載|全著作権所有|모든 권리 보유"
    ),
    re.IGNORECASE,
)
"""All rights are reserved, or copyright is claimed and nothing else said."""
NAMED = _compiled(
    (
        r"cdla\.(?:io|dev)/permissive-(?:v)?1|cdla-permissive-1(?:\.0)?|community data license agreement\W+permissive(?: variant)?",
        "CDLA-Permissive-1.0",
    ),
    (r"cdla\.(?:io|dev)/permissive-(?:v)?2|cdla-permissive-2(?:\.0)?", "CDLA-Permissive-2.0"),
    (r"fish4knowledge(?: permissive)?(?: licen[cs]e)?(?: \(notice retained\))?", "LicenseRef-Fish4Knowledge-permissive"),
    (
        r"to the extent possible under law,? the publisher has waived all rights to these data and has dedicated them to the public"
        r" domain \(cc0 1\.0\)\.?(?: users may copy, modify, distribute and use the work, including for commercial purposes,"
        r" without restriction\.?)?",
        ZERO,
    ),
    (
        r"\bcc[\s-]*(?:0|zero)(?![a-z])(?:[\s-]*1\.0)?|creative[\s-]?commons (?:zero|0(?!\.))|(?:no|keine|aucun) rights reserved"
        r"|publicdomain/zero|public-domain/cc0|licen[cs]es/(?:cc)?zero\b",
        ZERO,
    ),
    (
        r"public[\s-]*domain(?!/zero)(?:[ /](?:mark|dedication))?(?:[ /]1\.0)?|no known (?:copyright )?(?:restrictions|copyright)"
        r"|^pd$|copyright[\s-]free|licen[cs]es/publicdomain",
        PUBLIC,
    ),
    (r"\bcc[\s-]*pd(?:m|[\s-]mark)?\b", PUBLIC),
    (r"^mit(?: licen[cs]e)?$|\bmit licen[cs]e", "MIT"),
    (r"\bapache(?:[\s-]*licen[cs]e)?,?(?:[\s-]*(?:version )?2(?:\.0)?)?", "Apache-2.0"),
    (r"(?:\bopen data commons )?(?:open database licen[cs]e(?: \(odbl\))?|\bodbl\b)|opendatacommons\.org/licen[cs]es/odbl", "ODbL-1.0"),
    (r"\bodc[\s-]by\b|opendatacommons\.org/licen[cs]es/by\b|open data commons attribution", "ODC-By-1.0"),
    (r"opendatacommons\.org/licen[cs]es/pddl|\bpddl\b", "PDDL-1.0"),
    (r"\bogl(?:-uk)?\b|open government licen[cs]e", "LicenseRef-open-government"),
    (r"\bgfdl\b|gnu[\s-]*fdl|gnu free documentation", "LicenseRef-GFDL"),
)
"""Licences other than Creative Commons' six; all that occur in a text count."""
IDENTIFIERS = frozenset({RESERVED, PUBLIC, OTHER, *(identifier for _, identifier in NAMED)})
"""Results that are read as themselves."""

_NO = r"\b(?:no[nt]?|nao|niet|geen|nicht|keine?|nie|ne|ikke|icke|ej|ei|without|sans|sin|sem|senza|pas d[e'’ ]*|not for)"
_COMMERCIAL = r"[ck]om+er[a-z]+"
_USE = r"(?:for |a |des |fines? |fins |scopi |utilisation |use |uso |usage )*"
ELEMENTS = _compiled(
    (r"creative[\s-]*commons", "cc"),
    (
        rf"(?:\b(?:uso|usage|use|for)[\s-]+)?{_NO}[\s-]*{_USE}{_COMMERCIAL}(?:[\s-]*(?:use|nutzung|gebruik|bruk|utilisation|purposes?)\b)?"
        r"|\bnon-?(?:comm?|profit)\b|\bnot for profit|\b(?:sin|sem) (?:fines|fins|animo) (?:de lucro|lucrativos)|\bsans but lucratif"
        r"|\bei[\s-]*kaupalli\w+|\bgayri\s*ticari|некоммерческ\w+|некомерцій\w+|μη[\s-]*εμπορικ\w+|非[営营營]利|非商[业業](?:性(?:使用)?)?|비영리",
        "nc",
    ),
    (
        rf"{_NO}[\s-]*(?:obras? |opere |afgeleide ?)?(?:deriv\w*|deriva\w*|werken)(?:[\s-]*works?)?"
        rf"|{_NO}[\s-]*(?:modifi\w+|changes?|alterations?|adaptations?|remix\w*|(?:be|om)\w{{0,3}}arbe\w+|utworow zaleznych)"
        r"|\bunmodified\b|без производных(?: произведений)?|(?:改変|改作|改变|演[绎繹])禁止|禁止(?:改変|改作|改变|演[绎繹])|변경\s*금지",
        "nd",
    ),
    (
        r"\bshare[\s-]*alike|\bcompart\w+[\s-]*igual|\bpartilha[\s-]*(?:igual|nos (?:mesmos )?termos)"
        r"|\bpartage (?:a l.identique|dans les memes conditions)|\bweitergabe unter gleichen bedingungen|\bcondividi allo stesso modo"
        r"|\bgelijk[\s-]*delen|\bna tych samych warunkach|\bdela[\s-]*lika|\bdel pa samme vilkar|\bjaa samoin|на тех же условиях"
        r"|継承|相同方式(?:共享|分享)|동일조건변경허락",
        "sa",
    ),
    (
        r"\b(?:attribution|atribuci[o]n|reconocimiento|reconeixement|atribui[c]ao|paternite|namensnennung|attribuzione|naamsvermelding"
        r"|erkannande|navngivelse|navngiving|nimea|uznanie autorstwa)\b|с указанием авторства|атрибуция|署名|姓名標示|表示|저작자표시",
        "by",
    ),
)
"""Creative Commons' elements in words -> their codes."""

FILLERS = _split(
    "国际 國際 国際 국제 spdx html",
    "license licence licensed licenced licenses licences licencia licenca licenza lizenz licentie lisens licens version v ver",
    "international intl int internacional internazionale internationale internationaal unported generic universal the and a s an",
    "under is de of org www http https creativecommons legalcode deed en y et und e la le",
)
"""Words that may occur inside the name or address of a licence."""
NEUTRAL = FILLERS | _split(
    "this that these all are be been has have i it its to in on at by for as with via see or later la les il el du des der die das",
    "den dem ein eine einer einem un una une o os as da do di del con por para pour image images photo photos photograph photographs",
    "picture pictures media multimedia file files work works content contents material materials item items object objects dataset",
    "datasets database specimen specimens observation observations page site website copy source sources link url web commons",
    "wikimedia flickr inaturalist available shared published released distributed provided made uploaded upload used use usage uses",
    "reuse free freely dedicated rights right some terms term conditions condition statement policy information details holder owner",
    "creator author authors photographer photographers user users credit credits cite cited citation citing acknowledge attribute",
    "publication",
    "please courtesy collection view visit found here more licensing following our your my rel href class target dieses diese werk",
    "bild bilder lizenziert unter steht ist wird esta este obra imagen imagenes esta bajo licenciado licenciada sob trabalho foto",
    "fotos cette oeuvre image est mise disposition selon termes sous questa opera quest distribuita sotto",
    "archive archives museum museums herbarium university institute institution library department society garden gardens",
    "us uk au nz ca br jp igo fr es nl ch pl pt se dk fi cz",
)
"""Words that may be beside a licence and do not restrict it."""
OTHER_SCOPES = _split("data metadata text texts description descriptions caption captions code software")
"""What a licence may be given for, other than images."""
IMAGE_SCOPE = re.compile(r"\b(?:images?|media|multimedia|photo\w*|pictures?|bild\w*|imagen\w*|fotos?)\b", re.IGNORECASE)
HOLDER = re.compile(
    r"(?:©|\(c\)|\bcopyright\b(?=\W*(?:©|\(c\)|\d{4}|:|by\b))|(?:^|[,;.|(]\s*)copyright\b(?![\s-]*(?:free|restrict))|\bcourtesy of\b"
    r"|\b(?:uploaded|taken|made|created|provided|photographed|photo\w*|images?|pictures?) by\b"
    r"|\b(?:credit|photographer|author|creator|owner|rights ?holder)s?\s*:)"
    r"[^,;|()\[\]<>\n]*?(?=\bcc(?:\b|-?by|0)|\bcreative|\bpublic|\b(?:all|some|no) rights|https?:|[,;|()\[\]<>\n]|$)",
    re.IGNORECASE,
)
"""A copyright notice or credit, up to the next comma, bracket or licence: names may be in lower case there."""
DENIALS = re.compile(
    r"no|not|non|never|nor|neither|isn|aren|wasn|don|doesn|won|can|cannot|except\w*|excep\w+|exclu\w+|sauf|salvo|eccetto|ausser|ausgenommen"
    r"|unless|otherwise|without|sans|sin|sem|senza|ohne|nicht|kein\w*|niet|geen|ikke|icke|pas|formerly|previously|until|after|before"
    r"|embargo\w*|pending|possibl\w+|probabl\w+|perhaps|maybe|unclear|uncertain|unsure|prohib\w+|forbid\w*|verboten|restrict\w+"
    r"|permission\w*|request\w*|consent|only|nur|solo|seulement|(?:no[nt]?)?[ck]om+er[a-z]+|no\w*deriv\w+|\w*[非禁不]\w*"
    r"|copyrighted|proprietary|[al]?gpl|bsd|mit|eula",
    re.IGNORECASE,
)
"""Words that deny, doubt or restrict: the licence beside them is not the image's."""
PURPOSES = re.compile(r"research|education\w*|academic|scientific|personal|private|teaching|training|fair|editorial", re.IGNORECASE)
"""Purposes to which use may be limited; in a copyright notice they are parts of names."""
