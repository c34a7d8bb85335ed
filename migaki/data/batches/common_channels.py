"""The number of channels in which several folders of pictures are read together."""

from __future__ import annotations

from collections.abc import Sequence

from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder


def common_channels(first: ImageFolder, others: Sequence[ImageFolder]) -> int:
    """Returns the channels of the first folder, without alpha if pictures of the others have none; prints a notice.

    Renderers write RGBA and cameras RGB. If both were read as RGBA, a network could recognise rendered pictures by the
    alpha alone. Colours stay as in the file and are not blended: renderers leave undrawn pixels black.
    """
    channels = first.shape[0]
    if not first.has_alpha:
        return channels
    bare = next((folder for folder in others if not folder.has_alpha), None)
    if bare is None:
        return channels
    notice(f"{show(first.path)}: its alpha is ignored, because pictures in {show(bare.path)} have none: "
           f"both are read in {channels - 1} {'channel' if channels == 2 else 'channels'}, transparent pixels in "
           "their own colours")
    return channels - 1
