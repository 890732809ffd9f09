"""Cleans verbatim strings: ordered rules remove residue of forms, exports and re-encodings.

The type of the string is decided in `bioclip.taxonomy.names.parsing`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import unquote

from bioclip.taxonomy.names.ranks import rank_by_suffix

_NUM_CACHED = 65_536
_PARTICLES = r"and|aus|da|das|de|del|den|der|des|di|do|dos|du|emend|et|ex|filius|fil|in|la|le|los|non|nec|sensu|van|ver|vom|von|zu|zur"
_MARKS = r"cf|aff|nr|near|var|subsp|ssp|fo|forma"
_ENDINGS = re.compile(r"(?:us|a|um|is|ae|i|es|ans|ens|or|ix|ax|ex|ys|os|oides|as|fer|ger)$")
_LIGATURES = str.maketrans(
    {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ð": "d", "Ð": "D", "þ": "th", "đ": "d"}
)


_UMLAUT = re.compile(r"(?i)(?<![aeiou])[äöü](?!e)")
"""Those of German, written with an e (ICN art. 60.7, ICZN art. 32.5.2.1); after a vowel the dots are a diaeresis."""


def _sub(pattern: str, replacement: str) -> Callable[[str], str]:
    return partial(re.compile(pattern).sub, replacement)


def _byte_of(char: str) -> int:
    """The byte that Windows-1252 or Latin-1 decodes to `char`, or 0."""
    if ord(char) < 256:
        return ord(char)
    try:
        return char.encode("cp1252")[0]
    except UnicodeEncodeError:
        return 0


_CONTINUATION = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xC0))
_CONTINUATION += "".join(chr(byte) for byte in range(0x80, 0xA0))
_MISREAD = re.compile(rf"[\u00c2-\u00df][{re.escape(_CONTINUATION)}]|[\u00e0-\u00ef][{re.escape(_CONTINUATION)}]{{2}}")
_BEYOND_LATIN = "\u0250"
_TYPOGRAPHIC = "×’‘“”–—…\u00a0"


def _reread(match: re.Match[str]) -> str:
    try:
        return bytes(map(_byte_of, match.group())).decode("utf-8")
    except UnicodeDecodeError:
        return match.group()


def repair_encoding(text: str) -> str:
    """Decode UTF-8 that was read as Windows-1252 or Latin-1, once or twice; only if the result has letters or typographic signs."""
    repaired, before = text, ""
    while repaired != before:
        before, repaired = repaired, _MISREAD.sub(_reread, repaired)
    is_plausible = all(
        (char < _BEYOND_LATIN and (char.isascii() or char.isalpha())) or char in _TYPOGRAPHIC or char in text for char in repaired
    )
    return repaired if is_plausible else text


def _without_entities(text: str) -> str:
    return html.unescape(html.unescape(text)) if "&" in text else text


def _without_escapes(text: str) -> str:
    """`Abies%20alba` and a literal backslash-n."""
    if "%" in text and " " not in text:
        text = unquote(text, errors="replace")
    return re.sub(r"\\[nrt](?=\s|[A-Z]|$)|(?<=[a-z.])\\[nrt]", " ", text) if "\\" in text else text


_CODE = re.compile(r"(?=[A-Z0-9_]*[A-Z][A-Z0-9_]*\d)[A-Z0-9]+_[A-Z0-9_\-]+")


def _without_underscores(text: str) -> str:
    """Replace underscores by spaces, except within the code of a strain that follows other words (`RNA_CTR0-3`)."""
    if "_" not in text:
        return text
    words = text.split(" ")
    return " ".join(word if len(words) > 1 and _CODE.fullmatch(word) else word.replace("_", " ") for word in words)


_LEVEL = re.compile(r"(?:(?P<rank>[A-Za-z]{1,2})__)?(?P<name>[^_].*)?")
_LEVEL_NAME = re.compile(r"[A-Z][a-z]+(?:[ _][a-z]{3,}(?:-[a-z]+)?){0,2}")


_HIGHER_TAXA = frozenset({"Animalia", "Archaea", "Arthropoda", "Aves", "Bacteria", "Chordata", "Fungi", "Insecta", "Mollusca", "Plantae"})


def _last_of_lineage(text: str) -> str:
    """The lowest name of `Hymenoptera: Formicidae`, `Animalia;Chordata;Aves` and `k__Fungi;g__Abies;s__alba`."""
    levels = [_LEVEL.fullmatch(part.strip()) for part in re.split(r"[;|>]|: ", text)]
    if None in levels or (len(levels) < 2 and "__" not in text):
        return text
    named = [(level["rank"] or "", level["name"]) for level in levels if level and level["name"]]
    while named and not _LEVEL_NAME.fullmatch(named[-1][1]) and named[-1][0] != "s" and named[-1][0]:
        named.pop()
    *higher, (rank, last) = named or [("", "")]
    if rank == "s" and _LEVEL_NAME.fullmatch(f"Aa {last}") and higher:
        last = f"{higher.pop()[1]} {last}"
    above = [name for _, name in higher]
    is_path = ";" in text or ">" in text or rank or any(rank_by_suffix(name) or name in _HIGHER_TAXA for name in above)
    return last if is_path and _LEVEL_NAME.fullmatch(last) and all(name.istitle() and name.isalpha() for name in above) else text


_NAME_IN_BRACKETS = re.compile(
    r"(?P<outer>[^()\[\]]+?)\s*[(\[](?P<inner>[A-Z][a-z]+ (?P<epithet>[a-z]{3,}(?:-[a-z]+)?)(?: [a-z]{3,})?)[)\]]"
)
_NAME_LAST = re.compile(r"[a-z][a-z' -]+(?:,| -|:) (?P<inner>[A-Z][a-z]+ [a-z]{3,}(?: [a-z]{3,})?)")


def _without_vernacular_before(text: str) -> str:
    """The name of `Red fox (Vulpes vulpes)` and `red fox, Vulpes vulpes`; a binomial is kept if both sides look like one."""
    if match := _NAME_LAST.fullmatch(text):
        return match["inner"]
    match = _NAME_IN_BRACKETS.fullmatch(text) if text.endswith((")", "]")) else None
    if match is None or not _ENDINGS.search(match["epithet"]):
        return text
    words = match["outer"].split()
    is_name = len(words) > 1 and words[0].istitle() and words[1].islower() and _ENDINGS.search(words[1])
    has_author = any(char in ".,&0123456789" for char in match["outer"])
    return text if is_name or has_author else match["inner"]


CLEANING: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("html_entity", _without_entities),
    ("misread_encoding", repair_encoding),
    ("html_note", _sub(r"<sup>[^<]*</sup>|<!--.*?-->", "")),
    ("html_break", _sub(r"<(?:br|p|div|li|td)\b[^<>]{0,80}>|(?<=>)(?=<)", " ")),
    ("html_tag", _sub(r"</?[A-Za-z][^<>]{0,80}>", "")),
    ("canonical_composition", partial(unicodedata.normalize, "NFC")),
    ("escape", _without_escapes),
    ("control_character", _sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060\ufeff\u00ad]", " ")),
    ("lineage_path", _last_of_lineage),
    ("underscore", _without_underscores),
    ("whitespace", _sub(r"\s+", " ")),
    ("outer_space", str.strip),
    ("quoted", _sub(r'^(["*]+)(.*)\1$', r"\2")),
    ("enclosed", _sub(r"^[\[(«‹'‘]([^\[\]()'’«»‹›]*)[\])»›'’]$", r"\1")),
    ("list_mark", _sub(r"^(?:\d{1,3}[.)]|[a-z]\)|[-•·–*#]+) *(?=[A-Z][a-z])", "")),
    ("synonym_after", _sub(r"(?<=[a-z.)]),? [\[(]?(?:=|syn\.|formerly) ?[A-Z][a-z]+ [a-z]{3,}.*$", "")),
    ("comma_before_rank", _sub(r"[,;] (?=(?:var|subsp|ssp|f)\. ?[a-z])", " ")),
    (
        "family_before",
        _sub(
            r"^(?:[A-Z](?:[a-z]+(?:aceae|idae)(?:-[a-z]+)?|[A-Z]+(?:ACEAE|IDAE)) )+"
            rf"(?=[A-Z][a-z]+ (?:[x×] |cf\. )?(?!(?:{_PARTICLES})\b)[a-z]{{3,}})"
            r"|^[A-Z]+(?:ACEAE|IDAE) (?=[A-Z]{3,} (?!AND\b)[A-Z]{3,})|^[a-z]+(?:aceae|idae) (?=[a-z]{3,} (?!and\b)[a-z]{3,})",
            "",
        ),
    ),
    ("hybrid_sign", _sub(r"[✕✖⨯╳⨉]", "×")),
    ("vernacular_before", _without_vernacular_before),
    (
        "vernacular_in_brackets",
        _sub(
            rf"(?<=[\w.)])\s*(?:\((?![^()]* [x×] )(?=[^()]*\b(?!(?:{_PARTICLES}|{_MARKS})\b)[a-zà-ÿ]{{3,}})[A-Za-zà-ÿ' -]+\)"
            r"|[\[{][A-Za-zà-ÿ' -]+[\]}])$",
            "",
        ),
    ),
    ("vernacular_after_dash", _sub(r"(?<=[a-z.)0-9])(?: [-–—]|,) (?!(?:" + _PARTICLES + r")\b)[a-zà-ÿ' -]{3,}$", "")),
    ("marker_in_brackets", _sub(rf"[\[(]((?:{_MARKS}|f)\.?)(?:[\])]| ([a-z]+)[\])])", r"\1 \2")),
    ("marker_case", partial(re.compile(r"(?<=[a-z] )(CF|Cf|AFF|Aff)\.? ?(?=[a-z]{3})").sub, lambda match: f"{match[1].lower()}. ")),
    ("marker_spelling", _sub(r"(?<=\s)(?:(?:c\. ?f\.|cfr\.|conf\.)\s*|cfr )(?=[a-z])", "cf. ")),
    ("affinity_spelling", _sub(r"(?<=\s)affin\. ?(?=[a-z])", "aff. ")),
    ("nearness_spelling", _sub(r"(?<=[a-z] )prope (?=[a-z])", "nr. ")),
    ("group_spelling", _sub(r"(?<=[a-z] )gr\. (?=[a-z])(?<!ex gr\. )", "ex gr. ")),
    ("group_last", _sub(r"(?<=[a-z] )gr\.$", "agg.")),
    (
        "rank_spelling",
        _sub(
            r"(?<=[a-z] )(?:(?:subspecies|subespecie|subspecis) |s\. ?sp\.|s\.s?sp\.|(?:sbsp|susbp|subps|subsps)\.) ?(?=[a-z])", "subsp. "
        ),
    ),
    ("saint", _sub(r"^([A-Z][a-z]+) st\.[ -]?(?=[a-z]{3})", r"\1 st.-")),
    ("author_before_epithet", _sub(r"^([A-Z][a-z]+) \([A-Z][^()]*,? \d{4}\) (?=[a-z]{3})", r"\1 ")),
    ("cultivar_mark", _sub(r"(?<=[a-z] )cv\.? ['‘\"]?([A-Z][^'’\"]*)['’\"]?$", r"'\1'")),
    ("space_left", _sub(r" +", " ")),
    ("outer_space_left", str.strip),
)
"""Rewritings in order."""


_TOUCHED = re.compile(
    r"[<>;|&%\\_\"*\[\]{}]|[^ -~À-ÁÄ-ÖØ-öø-ŐŔ-ŘŚ-ŜŢ-ŷŹ-Ž]|[ŒŽ]|  |^[^A-Za-z]| $|"
    r" (?:=|syn\.|formerly)|\([^()]*\b[a-z]{2,}|(?: -|,|:) [a-zA-Z]|\) [a-z]"
    r"|^[A-Za-z]+(?:aceae|idae|ACEAE|IDAE)(?:-[a-z]+)? | (?:CF|Cf|AFF|Aff|c\.|cfr|conf|affin|prope|gr|s\.|st\.|cv)"
    r"| (?:subspecies|subespecie|subspecis|sbsp|susbp|subps)"
)


@lru_cache(_NUM_CACHED)
def clean_name(verbatim: str) -> str:
    """`verbatim` after all of `CLEANING`."""
    text = verbatim
    if _TOUCHED.search(text) is None:
        return text
    for _, rewrite in CLEANING:
        text = rewrite(text)
    return text


def fold(text: str) -> str:
    """ASCII letters: diacritics and ligatures replaced as the codes require (ICN art. 60.4, ICZN art. 32.5.2)."""
    if text.isascii():
        return text
    text = _UMLAUT.sub(lambda match: match.group() + "e", unicodedata.normalize("NFC", text).translate(_LIGATURES))
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
