"""robots.txt according to RFC 9309: groups by product token, longest match, `*` and `$`, allow before disallow on a tie."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_ROBOTS_BYTES = 500 * 1024
"""The least that RFC 9309, 2.5 requires to parse; the rest of a longer file is ignored."""
_NOAI_TAGS = {"noai", "noimageai"}


@dataclass(frozen=True)
class RobotRules:
    """The rules that apply to this client: (is_allow, pattern)."""

    rules: tuple[tuple[bool, str], ...] = ()

    def allows(self, path: str) -> bool:
        """True if `path` (with its query, percent-encoded) may be requested."""
        if path == "/robots.txt":
            return True
        found = [(len(pattern), allow) for allow, pattern in self.rules if _matches(pattern, path)]
        return max(found)[1] if found else True


ALLOW_ALL = RobotRules()
DISALLOW_ALL = RobotRules(((False, "/"),))


def parse_robots(text: str, product: str) -> RobotRules:
    """The rules for `product` (a user agent's first word, without its version), or those for `*` if there are none."""
    groups: dict[str, list[tuple[bool, str]]] = {}
    agents: list[str] = []
    in_rules = False
    for line in text.splitlines():
        key, separator, value = line.split("#", 1)[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not separator:
            continue
        if key == "user-agent":
            agents = [] if in_rules else agents
            in_rules = False
            agents.append(value.lower())
            groups.setdefault(value.lower(), [])
        elif key in {"allow", "disallow"}:
            in_rules = True
            for agent in agents if value else ():
                groups[agent].append((key == "allow", value))
    return RobotRules(tuple(groups.get(product.lower(), groups.get("*", []))))


def _matches(pattern: str, path: str) -> bool:
    anchored = pattern.endswith("$")
    parts = re.sub(r"\*+", "*", pattern.removesuffix("$")).split("*")
    position = len(parts[0])
    if not path.startswith(parts[0]):
        return False
    for part in parts[1:-1]:
        position = path.find(part, position)
        if position < 0:
            return False
        position += len(part)
    if len(parts) == 1:
        return not anchored or position == len(path)
    if anchored:
        return len(path) - len(parts[-1]) >= position and path.endswith(parts[-1])
    return path.find(parts[-1], position) >= 0


def product_token(user_agent: str) -> str:
    """The name in a User-Agent header that robots.txt would use: its first word, without its version."""
    words = re.split(r"[/\s(]", user_agent.strip(), maxsplit=1)
    return words[0].lower()


def forbids_ai(tags: list[str], product: str) -> bool:
    """True if X-Robots-Tag headers state `noai` or `noimageai` for everyone or for `product`."""
    for header in tags:
        agent = ""
        for part in header.lower().split(","):
            name, separator, rest = part.partition(":")
            if separator:
                agent, part = name.strip(), rest
            if part.strip() in _NOAI_TAGS and agent in {"", "*", product}:
                return True
    return False
