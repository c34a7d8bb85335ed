"""Draw demo_before_after.png from a finished demo. Run: python docs/images/demo_before_after.py [demo]"""

import sys
from pathlib import Path

from migaki.data.folder import ImageFolder
from migaki.report.sheets import sheet

demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
rows = [(caption, ImageFolder(demo / folder).read(range(8), ("image",))["image"])
        for caption, folder in (("rendered", "synthetic"), ("refined", "refined"), ("stand-in camera", "photos"))]
(Path(__file__).with_suffix(".png")).write_bytes(sheet(rows))
