"""Patterns of XML: what must arrive, with holes.

A pattern is XML with these in attribute values and text: {any} for anything, {a|b} for alternatives, {as name} for
anything that is remembered under the name, {name} for what is known by the name. {more} within a tag allows more
attributes, as content it allows more children. Attributes and children match in any order; white space around text
and xml:lang (unless the pattern has it) do not matter. Anything else must be as written.
"""

import re
import xml.etree.ElementTree as ET

from .namespaces import CLIENT, STREAMS, XML
from .rawclient import show

ANY, OPEN, CLOSE, BAR = "\ue000", "\ue001", "\ue002", "\ue003"
MORE = "pattern-more"


class PatternError(Exception):
    """The script is wrong, not the server."""


def fill(text: str, known: dict[str, str]) -> str:
    """The text with its {names} replaced by what is known, and its holes marked."""

    def one(found: re.Match) -> str:
        inner = found[1]
        if inner == "any":
            return ANY
        if inner.startswith("as "):
            return f"{OPEN}{inner[3:]}{CLOSE}"
        if "|" in inner:
            return OPEN + inner.replace("|", BAR) + CLOSE
        if inner == "more":
            inside_tag = text.rfind("<", 0, found.start()) > text.rfind(">", 0, found.start())
            return f"{MORE}=''" if inside_tag else f"<{MORE}/>"
        if inner not in known:
            raise PatternError(f"nothing is known as {{{inner}}}")
        return known[inner].replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;").replace('"', "&quot;")

    return re.sub(r"\{([^{}]+)\}", one, text)


def parse(text: str) -> list[ET.Element]:
    """The patterns of a filled text."""
    try:
        return list(ET.fromstring(f"<x xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>{text}</x>"))
    except ET.ParseError as error:
        raise PatternError(f"the pattern is not XML: {error}: {text}") from error


def _value(pattern: str, actual: str, found: dict[str, str]) -> bool:
    pattern, actual = pattern.strip(), actual.strip()
    if not any(mark in pattern for mark in (ANY, OPEN)):
        return pattern == actual
    names = []

    def hole(match: re.Match) -> str:
        inner = match[1]
        if BAR in inner:
            return "(?:" + "|".join(re.escape(each) for each in inner.split(BAR)) + ")"
        names.append(inner)
        return "(.+)"

    expression = re.escape(pattern).replace(ANY, ".*")
    expression = re.sub(f"{OPEN}([^{CLOSE}]*){CLOSE}", lambda m: hole(re.match(r"(.*)", m[1].replace("\\", ""), re.S)),
                        expression)
    matched = re.fullmatch(expression, actual, re.S)
    if matched:
        found |= dict(zip(names, matched.groups()))
    return bool(matched)


def difference(pattern: ET.Element, actual: ET.Element, found: dict[str, str]) -> str | None:
    """Why the element does not match, or None; what {as} holes held goes to `found`."""
    if pattern.tag != actual.tag:
        return f"<{actual.tag}> is not <{pattern.tag}>"
    wanted = dict(pattern.attrib)
    open_ended = wanted.pop(MORE, None) is not None
    for name, value in wanted.items():
        if name not in actual.attrib:
            return f"<{actual.tag}> lacks {name}"
        if not _value(value, actual.attrib[name], found):
            return f"{name}='{actual.attrib[name]}' in <{actual.tag}>"
    extra = [name for name in actual.attrib if name not in wanted and name != f"{{{XML}}}lang"]
    if extra and not open_ended:
        return f"<{actual.tag}> has {', '.join(extra)} beyond the pattern"
    left = list(actual)
    children = [child for child in pattern if not child.tag.endswith("}" + MORE)]
    if not _value(pattern.text or "", actual.text or "", found) and not (len(children) < len(pattern)):
        return f"text '{actual.text}' in <{actual.tag}>"
    for child in children:
        reasons = []
        for candidate in left:
            attempt: dict[str, str] = {}
            reason = difference(child, candidate, attempt)
            if reason is None:
                found |= attempt
                left.remove(candidate)
                break
            reasons.append(reason)
        else:
            return f"<{actual.tag}> has no {show(child)}" + (f" ({'; '.join(reasons)})" if reasons else "")
    if left and len(children) == len(pattern):
        return f"<{actual.tag}> has {show(left[0])} beyond the pattern"
    return None
