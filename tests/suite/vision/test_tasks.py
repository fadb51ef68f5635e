"""The vision tasks are real, of fair sizes, the same every time, and no split knows an image of another."""

import hashlib
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from mergeometry.errors import DataError
from mergeometry_suite.splits import Sizes
from mergeometry_suite.vision.backbone import SIDE
from mergeometry_suite.vision.images import Images, ImageSplits, Picture, grey, official, partition, thin, unique
from mergeometry_suite.vision.sources import emoji
from mergeometry_suite.vision.tasks import VISION_TASKS, find_vision_task

pytestmark = pytest.mark.suite

FINGERPRINTS = {
    "mnist": "fd82902c63bde8a1",
    "fashion": "5cb0dff9aec85a7f",
    "digits": "728891d961a2a275",
    "emoji-category": "93366255201785a1",
    "emoji-tone": "75c21888a98b74d7",
    "letter": "dc9b6d4cb71f1018",
    "typeface": "db3dcc63c206dc22",
    "cyrillic": "df806e462cdf3c2e",
    "script": "80fc05f191bcdb60",
}

every_task = pytest.mark.parametrize("name", VISION_TASKS)


@cache
def images_of(name: str) -> ImageSplits:
    return VISION_TASKS[name].read()


def parts(splits: ImageSplits) -> tuple[Images, Images, Images]:
    return splits.train, splits.validation, splits.test


@every_task
def test_sizes_and_labels(name: str) -> None:
    train, validation, test = parts(images_of(name))
    assert 800 <= len(train) <= 2000
    assert 200 <= len(validation) <= 300
    assert 400 <= len(test) <= 500
    classes = range(len(VISION_TASKS[name].classes))
    assert set(train.labels) == set(classes)
    for split in (train, validation, test):
        assert split.pixels.shape == (len(split), SIDE, SIDE, 3)
        assert len(split.labels) == len(split.names) == len(split.documents)
        assert set(split.labels) <= set(classes)
        assert max(Counter(split.labels).values()) < 0.6 * len(split)
        assert split.pixels.flatten(1).float().std(dim=1).min() > 1, "an image is blank"


@every_task
def test_no_split_knows_an_image_or_a_document_of_another(name: str) -> None:
    splits = parts(images_of(name))
    hashes = [[hashlib.sha256(image.numpy().tobytes()).digest() for image in split.pixels] for split in splits]
    together = [value for split in hashes for value in split]
    assert len(together) == len(set(together))
    for first, second in combinations(splits, 2):
        assert not set(first.documents) & set(second.documents)


@every_task
def test_the_same_images_every_time(name: str) -> None:
    # Names and classes, not pixels: those may differ in a last bit between builds of the libraries that decode.
    content = repr([(split.names, split.labels) for split in parts(images_of(name))])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    assert digest == FINGERPRINTS[name], f"{name} reads other images than those its expert was trained on"


def test_skin_tones_and_sexes_of_an_emoji_stay_together() -> None:
    assert emoji._drawing("1F3C3-200D-2640-FE0F") == emoji._drawing("1F3C3") == "1F3C3"  # a woman running
    assert emoji._drawing("1F468-200D-1F692") == emoji._drawing("1F9D1-200D-1F692") == "1F692"  # a firefighter
    assert emoji._drawing("1F469") == "1F469"
    splits = images_of("emoji-tone")
    train = {name.split("-")[0] for name in splits.train.names if name.count("-") == 1}
    test = {name.split("-")[0] for name in splits.test.names if name.count("-") == 1}
    assert train
    assert test
    assert not train & test


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(DataError, match="no vision task 'leter'") as caught:
        find_vision_task("leter")
    assert "did you mean letter?" in str(caught.value)


def picture(number: int, label: int, document: str) -> Picture:
    return Picture(str(number), grey(np.full((2, 2), number, np.uint8)), label, document)


def test_equal_images_are_joined_and_contradictions_dropped() -> None:
    pictures = [picture(1, 0, "a"), picture(1, 0, "b"), picture(2, 0, "c"), picture(2, 1, "d"), picture(3, 1, "e")]
    assert [found.document for found in unique(pictures)] == ["a", "e"]


def test_a_training_image_leaves_the_official_test_set() -> None:
    train = [picture(number, 0, str(number)) for number in range(10)]
    splits = official(train, [*train[:5], picture(99, 0, "new")], Sizes(train=6, validation=2, test=9))
    assert splits.test.names == ("99",)
    assert (len(splits.train), len(splits.validation)) == (6, 2)


@pytest.mark.parametrize("pure", [True, False])
def test_a_document_is_never_shared(pure: bool) -> None:
    pictures = [picture(number, (number // 7 if pure else number) % 2, str(number // 7)) for number in range(210)]
    splits = partition(pictures, Sizes(train=150, validation=30, test=30))
    for first, second in combinations(parts(splits), 2):
        assert not set(first.documents) & set(second.documents)
    assert (len(splits.validation), len(splits.test)) == (30, 30)
    assert all(set(split.labels) == {0, 1} for split in parts(splits))


def test_thinning_keeps_a_few_of_each_group() -> None:
    pictures = [picture(number, number % 3, str(number % 5)) for number in range(60)]
    assert Counter(found.document for found in thin(pictures, 4, lambda found: found.document)) == dict.fromkeys(
        map(str, range(5)), 4
    )
    assert thin(pictures, 4, lambda found: found.label) == thin(pictures[::-1], 4, lambda found: found.label)
