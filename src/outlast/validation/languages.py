"""Which language a text is in: by its letters, and, where many share them, by its small words.

No model and no dictionary: a text of a sentence or two is told from those in other languages of this list, and one that
is too short, or in none of them, is not told at all.
"""

# One language per line, with letters of other alphabets.
# ruff: noqa: E501, RUF001

import re
import unicodedata
from collections import Counter
from typing import Final

#: The languages that can be told, with their names.
KNOWN: Final = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "pl": "Polish", "sv": "Swedish", "da": "Danish", "fi": "Finnish", "cs": "Czech", "tr": "Turkish",
    "ru": "Russian", "uk": "Ukrainian", "el": "Greek", "he": "Hebrew", "ar": "Arabic", "hi": "Hindi", "th": "Thai",
    "ja": "Japanese", "ko": "Korean", "zh": "Chinese",
}  # fmt: skip
# What stands in nearly every sentence.
_SMALL: Final = {
    name: frozenset(words.split())
    for name, words in {
        "en": "the and of to is in that it you for are with this not on be your have was we can will from by or an at as i",
        "de": "der die das und ist nicht ich sie ein eine zu mit den auf für von dem im wir es wird auch sich haben ihre kann bei als werden am sind",
        "fr": "le la les et est des une un que pour dans vous pas ce qui sur au avec nous votre il par ne sont du je cette ou être à en",
        "es": "el la los las y es de que en un una por con para no se su del al lo como más está usted son pero o le este tiene",
        "it": "il la che di e è un una per non con sono del della le si da come nel gli dei al lo questo più anche ha suo alla i",
        "pt": "o a os as e é de que em um uma para não com do da se por seu sua mais dos das ao como está você são foi na no",
        "nl": "de het een en van is dat niet te in op met voor zijn aan er ook als bij wordt u uw worden kan hebben maar om ik je deze",
        "pl": "i w na się nie jest to z do że o jak po za od dla przez są oraz czy który można być ma będzie tego jego ale może",
        "sv": "och att det är en som på av för med inte den till om har de ett i du kan från vi jag så eller ska din ni detta",
        "da": "og at det er en som på af for med ikke den til om har de et i du kan fra vi jeg så eller skal din dette der",
        "fi": "ja on ei se että hän ovat oli mutta kun tai niin kuin myös voi jos tämä sen olen ole mitä joka ovat teidän nyt sekä",
        "cs": "a je se na v že to s z do o jako pro není po za by ale který být jsou nebo jsme lze bude jeho má tento při",
        "tr": "ve bir bu için ile da de ne çok olarak daha var değil olan gibi kadar sonra en ama veya her ben siz olduğu mi",
        "ru": "и в не на что с по как это для вы я от из за к его но она он так же или если мы у бы есть был",
        "uk": "і в не на що з по як це для ви я від із за до його але вона він так або якщо ми у є та був які",
    }.items()
}
# Of its letters, at least so many: names and quotes are in others.
_BY_SCRIPT: Final = (
    ("ja", "HIRAGANA", 0.15), ("ja", "KATAKANA", 0.25), ("ko", "HANGUL", 0.4), ("zh", "CJK", 0.4),
    ("el", "GREEK", 0.4), ("he", "HEBREW", 0.4), ("ar", "ARABIC", 0.4), ("hi", "DEVANAGARI", 0.4), ("th", "THAI", 0.4),
)  # fmt: skip
# Letters that settle it where the small words are the same.
_OWN: Final = {
    "sv": "äö",
    "da": "æø",
    "uk": "іїєґ",
    "ru": "ыэъё",
    "pt": "ãõ",
    "es": "ñ¿¡",
    "de": "ß",
    "cs": "ěřů",
    "pl": "łąę",
}
_WORD: Final = re.compile(r"[^\W\d_]+")
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{0,200}`|https?://\S{1,500}", re.DOTALL)
_READ: Final = 5_000
_LEAST_WORDS: Final = 3
_LEAST_LETTERS: Final = 2
#: Of the words of a sentence, at least so many are small ones; in another language next to none is.
_LEAST_SHARE: Final = 0.12
#: By so much the first has to be ahead of the second.
_AHEAD: Final = 1.25


def language_of(text: str) -> str | None:
    """Return the code of the language; None when the text does not tell. Code and addresses are not read."""
    text = _CODE.sub(" ", text[:_READ])
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    letters = sum(scripts.values())
    if letters < _LEAST_LETTERS:
        return None
    # One sign of Chinese is a word, and Japanese mixes them with its own.
    for language, script, least in _BY_SCRIPT:
        if scripts[script] / letters >= least:
            return language
    return _by_words(text.casefold())


def _by_words(text: str) -> str | None:
    words = _WORD.findall(text)
    if len(words) < _LEAST_WORDS:
        return None
    scores = {name: sum(word in small for word in words) / len(words) for name, small in _SMALL.items()}
    for name, own in _OWN.items():
        if scores[name]:
            scores[name] += 0.5 * sum(any(letter in own for letter in word) for word in words) / len(words)
    (first, best), (_, second) = sorted(scores.items(), key=lambda item: -item[1])[:2]
    return first if best >= _LEAST_SHARE and best >= second * _AHEAD and best * len(words) > 1 else None


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0].partition("-")[0]
