"""Images that belong to no task, drawn at random: clouds, overlapping shapes, strokes and fractals in turn.

Source: images of noise and of random processes, the more useful the more of natural images' structure they have
(Baradad et al. 2021, arXiv 2106.05963: spectra and "dead leaves"; Kataoka et al. 2020, arXiv 2101.08515: fractals).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mergeometry.encoders.batches import generator
from mergeometry.inputs.extras import optional

SIDE = 224
"""Pixels of a side; the model's own processor brings images to its size."""
_FINE = 2  # times the side at which shapes are drawn, to be smoothed when they are made smaller

Colours = Float[np.ndarray, "colours 3"]
Pixels = UInt8[np.ndarray, "side side 3"]


@lru_cache(maxsize=1)  # every task of a merge asks for the same
def drawings(count: int, seed: int) -> tuple[bytes, ...]:
    """So many images as the bytes of PNG files, the kinds in turn; a larger draw of a seed begins with a smaller.

    Raises:
        DataError: Pillow is not installed.
    """
    image = optional("PIL.Image", "adapt", "drawing images")
    return tuple(_png(image, KINDS[number % len(KINDS)](_stream(number, seed))) for number in range(count))


def clouds(random: np.random.Generator) -> Pixels:
    """Noise whose amplitude falls as a power of its frequency, between that of a photograph and that of a blur."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    frequencies[0, 0] = 1
    spectrum = np.fft.rfft2(random.normal(size=(3, SIDE, SIDE))) / frequencies ** random.uniform(0.5, 2)
    mixed = np.einsum("ij,jxy->xyi", random.normal(size=(3, 3)), np.fft.irfft2(spectrum, s=(SIDE, SIDE)))
    values = (mixed - mixed.mean()) / mixed.std() * random.uniform(20, 60) + random.uniform(60, 200)
    return values.clip(0, 255).astype(np.uint8)


def shapes(random: np.random.Generator) -> Pixels:
    """Discs, polygons and rectangles that cover each other, few of them large ("dead leaves")."""
    canvas, pen = _canvas(_colours(random, 1)[0])
    side = canvas.size[0]
    for _ in range(random.integers(5, 80)):
        radius = side * min(0.5, 0.04 * random.pareto(1.5) + 0.015)
        x, y = random.uniform(0, side, 2)
        colour, kind = _ink(_colours(random, 1)[0]), random.integers(3)
        if kind == 0:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
        elif kind == 1:
            corners, turn = int(random.integers(3, 7)), float(random.uniform(0, 360))
            pen.regular_polygon((x, y, radius + 1), corners, rotation=turn, fill=colour)
        else:
            up, down = radius * random.uniform(0.2, 1, 2)
            pen.rectangle([x - radius, y - up, x + radius, y + down], fill=colour)
    return _smooth(canvas)


def strokes(random: np.random.Generator) -> Pixels:
    """Some curves of one pen on a plain ground, in colours or in black and white, as writing is."""
    ground, ink = _colours(random, 2)
    if random.random() < 0.5:
        ground, ink = random.permutation([[255.0] * 3, [0.0] * 3])
    canvas, pen = _canvas(ground)
    side = canvas.size[0]
    width, along = int(side * random.uniform(0.025, 0.15)), np.linspace(0, 1, 40)[:, None]
    for _ in range(random.integers(1, 6)):
        a, b, c, d = random.uniform(0.15, 0.85, (4, 2)) * side
        curve = (1 - along) ** 3 * a + 3 * along * (1 - along) ** 2 * b + 3 * along**2 * (1 - along) * c + along**3 * d
        pen.line([*map(tuple, curve.tolist())], fill=_ink(ink), width=width, joint="curve")
    return _smooth(canvas)


def fractals(random: np.random.Generator) -> Pixels:
    """The attractor of a few random contractions of the plane, as a density of points, in two colours."""
    many = int(random.integers(2, 6))
    left, values, right = np.linalg.svd(random.uniform(-1, 1, (many, 2, 2)))
    values = values.clip(0.1, 0.85)
    maps, offsets = left * values[:, None] @ right, random.uniform(-1, 1, (many, 2))
    odds = values.prod(axis=1) + 0.05
    points, seen = np.zeros((600, 2)), []
    for step in range(60):
        chosen = random.choice(many, size=len(points), p=odds / odds.sum())
        points = np.einsum("nij,nj->ni", maps[chosen], points) + offsets[chosen]
        if step >= 10:
            seen.append(points)
    every = np.concatenate(seen)
    low, high = np.quantile(every, [0.01, 0.99], axis=0)
    places = (every - low) / np.maximum(high - low, 1e-9)
    density = np.log1p(np.histogram2d(*places.T, bins=SIDE // 2, range=[[0, 1], [0, 1]])[0])
    ground, ink = _colours(random, 2)
    values = ground + (ink - ground) * (density / max(density.max(), 1))[..., None]
    return values.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)


KINDS: Sequence[Callable[[np.random.Generator], Pixels]] = (clouds, shapes, strokes, fractals)


def _stream(number: int, seed: int) -> np.random.Generator:
    return np.random.default_rng(generator("drawings", number, seed).initial_seed())


def _colours(random: np.random.Generator, count: int) -> Colours:
    return random.integers(0, 256, (count, 3)).astype(float)


def _ink(colour: Float[np.ndarray, " 3"]) -> tuple[int, ...]:
    return tuple(int(value) for value in colour)


def _canvas(ground: Float[np.ndarray, " 3"]) -> tuple[Any, Any]:
    image, draw = (optional(f"PIL.{name}", "adapt", "drawing images") for name in ("Image", "ImageDraw"))
    canvas = image.new("RGB", (SIDE * _FINE, SIDE * _FINE), _ink(ground))
    return canvas, draw.Draw(canvas)


def _smooth(canvas: Any) -> Pixels:
    return np.asarray(canvas.reduce(_FINE))


def _png(image: Any, pixels: Pixels) -> bytes:
    file = BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
