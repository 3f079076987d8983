"""What was asked for (to look, to change, to destroy), and what a call does, as far as names and verbs tell.

The verbs are those of English requests and of tools in general; the labelled set was made without a look at them.
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, Final, cast

from outlast.validation.detectors.words import listed, sentences


class Intention(IntEnum):
    """What a request asks for, at most."""

    UNKNOWN = 0
    READ = 1
    CHANGE = 2
    DESTROY = 3


#: Undone with difficulty, or not at all.
DESTROYING: Final = listed(
    """abort annul cancel clear close deactivate decommission delete demolish destroy detach disable discard discontinue
    dismiss dismantle drop empty end erase evict expire expunge flush forget invalidate kill liquidate nuke obliterate
    overwrite prune purge remove reset retract revoke rm scrap shred shutdown stop suspend terminate trash truncate
    uninstall unregister unsubscribe vacate void wipe withdraw"""
)
#: Leaves the house: it cannot be called back.
SENDING: Final = listed(
    """book buy charge deploy dispatch email execute launch mail order pay post publish purchase refund release send
    ship sign submit transfer tweet wire"""
)
CHANGING: Final = listed(
    """add adjust allocate amend append apply assign attach change convert copy correct create edit enable enter extend
    fill fix increase insert lower mark merge modify move open patch postpone raise reassign record register relocate
    rename renew replace reschedule save schedule set shift store switch tag turn update upgrade upload write"""
)
READING: Final = listed(
    """analyse analyze browse calculate check compare compute confirm count describe determine diff display download
    estimate examine explain explore export fetch find get give inspect investigate list load look lookup measure
    monitor open peek preview query read report resolve retrieve review scan search see select show summarise summarize
    tail tell track translate validate verify view"""
)
_READING_NOUNS: Final = listed(
    """audit count details history info list log logs metrics overview policy policies progress queue reasons report
    reports rules state stats status summary terms"""
)
_POLITE: Final = re.compile(
    r"^(?:please|kindly|now|then|also|and|so|just|hello|hi|thanks)[,!.]?\s+"
    r"|^(?:could|can|would|will) you (?:please |kindly |also )?"
    r"|^i(?:'d| would) like (?:you )?to |^i want (?:you )?to |^i need (?:you )?to "
    r"|^let(?:'s| us) |^you (?:should|must) ",
    re.IGNORECASE,
)
_QUESTION: Final = re.compile(
    r"^(?:what|which|who|whose|whom|when|where|why|how|is|are|was|were|do|does|did|has|have|had|am|may|should)\b"
    r"|\b(?:overview|summary|status|latest|state) (?:of|on|about)\b|\bbring me up to date\b|\bto know\b",
    re.IGNORECASE,
)
_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Anchored: a text that is searched for may speak of anything.
_STATEMENT: Final = re.compile(
    r"^\s*(?:with\b.{0,400}?\)\s*)?(?:delete\s+from|truncate\b|drop\s+(?:table|database|schema|view|index|column|user|role)|alter\s+table\b.{0,200}\bdrop)\b"
    r"|(?:^|[;&|]\s*|\bsudo\s+)\s*(?:rm\s|rmdir\s|shred\s|mkfs|dd\s+if=|kill(?:all)?\s|shutdown\b|reboot\b|git\s+(?:reset\s+--hard|push\s+.*--force)|kubectl\s+delete\b|docker\s+rm\b|terraform\s+destroy\b)"
    r"|^\s*mutation\b.{0,80}?\b(?:delete|remove|cancel|destroy|purge)",
    re.IGNORECASE | re.DOTALL,
)
_COMMANDS: Final = listed("action cmd command commands method op operation statement type verb")
_LONGEST_NAME: Final = 60


def intention_of(task: str) -> Intention:
    """Return what a request asks for; UNKNOWN where no verb says it: nothing is concluded from that."""
    return max((_of_sentence(sentence) for sentence in sentences(task)), default=Intention.UNKNOWN)


def _of_sentence(sentence: str) -> Intention:
    text = sentence.strip()
    while (shorter := _POLITE.sub("", text, count=1)) != text:
        text = shorter
    first = re.match(r"[A-Za-z]+", text)
    verb = first[0].lower() if first else ""
    for verbs, meant in (
        (DESTROYING | SENDING, Intention.DESTROY),
        (READING, Intention.READ),
        (CHANGING, Intention.CHANGE),
    ):
        if verb in verbs:
            return meant
    if _QUESTION.search(text):
        return Intention.READ
    # Destruction that is wanted in a sentence that begins otherwise: "the order should be cancelled".
    wanted = r"\b(?:must|should|shall|want|has to|have to|needs? to|please)\b.{0,60}\b(?:%s)(?:ed|d|led|ped)?\b"
    return (
        Intention.DESTROY
        if re.search(wanted % "|".join(sorted(DESTROYING)), text, re.IGNORECASE)
        else Intention.UNKNOWN
    )


def destroys(tool: str, args: Mapping[str, Any]) -> str | None:
    """Return the word by which a call destroys or sends something; None when it only reads or changes."""
    return _by_name(tool) or _by_arguments(args)


def _by_name(name: str) -> str | None:
    parts = [part.lower() for part in _PARTS.findall(name)]
    if not parts or parts[0] in READING or parts[-1] in _READING_NOUNS:
        return None
    if parts[0] in SENDING:
        return parts[0]
    return next((part for part in parts if part in DESTROYING), None)


def _by_arguments(args: Mapping[str, Any]) -> str | None:
    for name, value in _texts(args):
        if statement := _STATEMENT.search(value):
            return " ".join(statement[0].split())
        if name.lower() in _COMMANDS and len(value) <= _LONGEST_NAME:
            words = [part.lower() for part in _PARTS.findall(value)]
            if words and words[0] not in READING and (found := _destroying(value, words)):
                return found
    return None


def _destroying(value: str, words: list[str]) -> str | None:
    """Of a command: its first word, or each part of a dotted name."""
    return next((word for word in (words if " " not in value.strip() else words[:1]) if word in DESTROYING), None)


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            yield from _texts(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in cast("list[Any]", value):
            yield from _texts(inner, name)
