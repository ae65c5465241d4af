"""The most tokens an image can be on a model, by what its vendor publishes.

OpenAI counts tiles of 512 pixels after scaling into 2,048 by 2,048 and the shorter side down to 768, or
patches of 32 pixels up to a budget, times a factor of the model (guide "Images and vision"; the newer models'
factor of 1.2 is from their price calculator). Anthropic counts width * height / 750, or patches of 28 pixels,
and scales what is larger than a model takes (guide "Vision"). A model nobody knows, such as a deployment with
a name of its own, counts as whichever is more. What is no model of these vendors may count otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mesh_plugins.core.images import Image

#: The most one image is on Anthropic's models, by how large they take it: up to 1,568 and up to 2,576 pixels.
STANDARD, HIGH_RESOLUTION = 1_600, 4_784
#: The most patches of OpenAI's ``original`` detail.
_ORIGINAL = 10_000


@dataclass(frozen=True, slots=True)
class _Tiles:
    """So many tokens for the image and for each of its tiles."""

    base: int
    tile: int

    def most(self, image: Image) -> int:
        if image.detail == "low":
            return self.base
        # Of no size, the most tiles there are after scaling: 4 by 2.
        return self.base + self.tile * (_tiles(image) if image.width and image.height else 8)


@dataclass(frozen=True, slots=True)
class _Patches:
    """So many hundredths of a token for each patch of so many pixels, up to a most."""

    size: int
    hundredths: int
    budget: int

    def most(self, image: Image) -> int:
        patches = _ORIGINAL if image.detail == "original" else self.budget
        if image.width and image.height:
            patches = min(patches, -(-image.width // self.size) * -(-image.height // self.size))
        return -(-patches * self.hundredths // 100)


@dataclass(frozen=True, slots=True)
class _Pixels:
    """A token for every 750 pixels or patch of 28 by 28, up to a most."""

    cap: int

    def most(self, image: Image) -> int:
        if not (image.width and image.height):
            return self.cap
        patches = -(-image.width // 28) * -(-image.height // 28)
        return min(self.cap, max(patches, -(-image.width * image.height // 750)))


_Rule = _Tiles | _Patches | _Pixels
_USUAL, _NEWER = _Tiles(85, 170), _Patches(32, 120, 2_500)
#: The first that a model's name begins with holds; longer names come before their beginnings.
_RULES: tuple[tuple[str, tuple[_Rule, ...]], ...] = (
    ("gpt-4o-mini", (_Tiles(2_833, 5_667),)),
    ("gpt-4.1-mini", (_Patches(32, 162, 1_536),)),
    ("gpt-4.1-nano", (_Patches(32, 246, 1_536),)),
    ("gpt-4", (_USUAL,)),
    ("chatgpt-4o", (_USUAL,)),
    ("gpt-5-mini", (_Patches(32, 162, 1_536),)),
    ("gpt-5-nano", (_Patches(32, 246, 1_536),)),
    ("gpt-5.", (_Tiles(70, 140), _NEWER)),
    ("gpt-5", (_Tiles(70, 140),)),
    ("o4-mini", (_Patches(32, 172, 1_536),)),
    ("codex-mini", (_Patches(32, 172, 1_536),)),
    ("o1", (_Tiles(75, 150),)),
    ("o3", (_Tiles(75, 150),)),
    ("computer-use-preview", (_Tiles(65, 129),)),
    *[
        (name, (_Pixels(STANDARD),))
        for name in (
            "claude-3", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2025", "claude-opus-4-5",
            "claude-opus-4-6", "claude-sonnet-4-0", "claude-sonnet-4-2025", "claude-sonnet-4-5",
            "claude-sonnet-4-6", "claude-haiku-4-5",
        )
    ],
    ("claude", (_Pixels(HIGH_RESOLUTION),)),
)  # fmt: skip
_UNKNOWN: tuple[_Rule, ...] = (_USUAL, _NEWER, _Pixels(HIGH_RESOLUTION))


def most_tokens(image: Image, model: str) -> int:
    """Return the most tokens an image can be.

    Args:
        image: what is known of it.
        model: the name the provider knows its model by; what stands before a slash or ``anthropic.`` is
            passed over.
    """
    return max([rule.most(image) for rule in _rules_of(model)])


def likely_tokens(image: Image) -> int:
    """Return about how many tokens an image is on most models."""
    return _Pixels(STANDARD).most(image)


@lru_cache(maxsize=1_024)
def _rules_of(model: str) -> tuple[_Rule, ...]:
    name = model.rsplit("/", maxsplit=1)[-1].rpartition("anthropic.")[2].lower()
    for beginning, rules in _RULES:
        if name.startswith(beginning):
            return rules
    return _UNKNOWN


def _tiles(image: Image) -> int:
    """Count tiles after both scalings, in whole numbers: sides are rounded up."""
    short, long = sorted((image.width, image.height))
    if long > 2_048:
        short, long = max(1, -(-short * 2_048 // long)), 2_048
    if short > 768:
        short, long = 768, -(-long * 768 // short)
    return -(-short // 512) * -(-long // 512)
