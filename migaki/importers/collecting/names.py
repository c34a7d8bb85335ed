"""Names of folders and files for words of any language."""

from __future__ import annotations

import hashlib
import unicodedata

MAX_WORD = 300
"""Characters of a word; a longer one is refused."""

_ROOM = 120  # bytes of a folder's name, so that paths below it stay short
_NOT_IN_NAMES = '/\\:*?"<>|%'  # a separator somewhere, or the mark of our own escapes


def folder_name(word: str) -> str:
    """Returns a name for the folder of a word: the word itself where it can be one, on any common file system.

    Different words have different names: what cannot stand in a name becomes %XX, and a long word is cut and marked
    with a hash of the whole.
    """
    word = unicodedata.normalize("NFC", word)
    name = "".join(f"%{ord(letter):02X}" if letter in _NOT_IN_NAMES or not letter.isprintable() else letter
                   for letter in word)
    if not name or name[0] in ". " or name[-1] in ". ":
        name = "".join(f"%{ord(letter):02X}" if letter in ". " and place in (0, len(name) - 1) else letter
                       for place, letter in enumerate(name)) or "%"
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= _ROOM:
        return name
    mark = "-" + hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return data[: _ROOM - len(mark)].decode(errors="ignore") + mark
