"""Language identification: messages of two programs, each translated to many languages.

Close relatives (Spanish, Galician, Catalan; Danish, Norwegian; Czech, Slovak; Russian, Ukrainian, Belarusian) make
it hard, and so does an encoder that was trained on English alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mergeometry_suite.packages import DJANGO, WAGTAIL, Package, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, opening, partition, thin, unique

_LANGUAGES = {
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "es": "Spanish",
    "et": "Estonian",
    "fi": "Finnish",
    "fr": "French",
    "gl": "Galician",
    "hr": "Croatian",
    "hu": "Hungarian",
    "it": "Italian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "sk": "Slovak",
    "sv": "Swedish",
    "tr": "Turkish",
}
# None of those above, so that no text of one task can be another's, and none whose letters the encoder's vocabulary
# lacks, as Mongolian's.
_OTHERS = {
    "be": "Belarusian",
    "bg": "Bulgarian",
    "cy": "Welsh",
    "id_ID": "Indonesian",
    "is_IS": "Icelandic",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mi": "Maori",
    "ru": "Russian",
    "sl": "Slovenian",
    "tet": "Tetum",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
}
CLASSES, OTHERS = tuple(_LANGUAGES.values()), tuple(_OTHERS.values())
_MOST = 200
_ENTRY = re.compile(r'^(msgid|msgid_plural|msgstr(?:\[0\])?) ((?:"[^\n]*"\n?)+)', re.MULTILINE)
_FEWEST_WORDS = 3
_SAME_MESSAGE = 40  # characters
_SAME_REQUEST = 24  # of "Are you sure you want to delete ...": what follows may be past what an encoder reads


def load() -> Splits:
    """Split by message, so that no message is learnt in one language and tested in another.

    Messages of the same opening, which translators repeat word for word, count as one.
    """
    return partition(_examples(DJANGO, _LANGUAGES, _SAME_MESSAGE), Sizes())


def load_others() -> Splits:
    """Messages of another program in other languages, split in the same way and thinned to one size."""
    return partition(thin(unique(_examples(WAGTAIL, _OTHERS, _SAME_REQUEST)), _MOST), Sizes())


def _examples(package: Package, languages: Mapping[str, str], same: int) -> Iterator[Example]:
    folder = fetch(package)
    for label, code in enumerate(languages):
        for path in sorted(folder.glob(f"{package.name}/**/locale/{code}/LC_MESSAGES/django.po")):
            for message, translation in _messages(path):
                if translation != message and len(translation.split()) >= _FEWEST_WORDS:
                    yield Example(translation, label, document=opening(message)[:same])


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    message = ""
    for keyword, quoted in _ENTRY.findall(path.read_text("utf-8")):
        text = " ".join("".join(ast.literal_eval(line) for line in quoted.splitlines()).split())
        if keyword == "msgid":
            message = text
        elif keyword.startswith("msgstr") and message and text:
            yield message, text
