"""The channels in which folders of pictures are read together."""

from __future__ import annotations

from collections.abc import Sequence

from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder


def common_channels(first: ImageFolder, others: Sequence[ImageFolder]) -> int:
    """Those of the first folder, without its alpha where pictures of the others have none; that is said in one line.

    Renderers write RGBA and cameras RGB. Whoever made both RGBA would teach a network to tell rendered pictures by the
    alpha alone, which is no look. Colours stay as they stand in the file: over black, as renderers leave what they did
    not draw, nothing is blended.
    """
    channels = first.shape[0]
    if not first.has_alpha:
        return channels
    bare = next((folder for folder in others if not folder.has_alpha), None)
    if bare is None:
        return channels
    notice(f"{show(first.path)}: its alpha is left out, as pictures in {show(bare.path)} have none: both are read in "
           f"{channels - 1} {'channel' if channels == 2 else 'channels'}, transparent pixels in their own colours")
    return channels - 1
