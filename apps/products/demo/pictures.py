"""Pictures for products that have none: a gradient, a few soft shapes and the product's initials."""

import colorsys
import math
import unicodedata
from random import Random

from PIL import Image, ImageDraw, ImageFont

SIZE = 600
_WHITE = (255, 255, 255)
_RAMP = Image.linear_gradient("L")


def draw(text: str, hue: float, chance: Random) -> Image.Image:
    """A square picture in shades around `hue` (0 to 1) with the initials of `text`."""
    picture = Image.composite(
        Image.new("RGB", (SIZE, SIZE), _colour(hue + 0.06, 0.35, 0.97)),
        Image.new("RGB", (SIZE, SIZE), _colour(hue, 0.55, 0.70)),
        _ramp(chance.randrange(360)),
    )
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(chance.randrange(3, 6)):
        _shape(pen, chance)
    font = ImageFont.load_default(210)
    pen.text((SIZE / 2, SIZE / 2), _initials(text), font=font, fill=(*_WHITE, 235), anchor="mm")
    return picture


def _ramp(angle: int) -> Image.Image:
    """A gradient in that direction: cut out of the middle of a turned one, so that its corners do not show."""
    edge = _RAMP.width // 4
    middle = _RAMP.rotate(angle, Image.Resampling.BICUBIC).crop((edge, edge, 3 * edge, 3 * edge))
    return middle.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _shape(pen: ImageDraw.ImageDraw, chance: Random) -> None:
    x, y, radius = chance.randrange(SIZE), chance.randrange(SIZE), chance.randrange(60, 220)
    fill = (*_WHITE, chance.randrange(14, 44))
    if chance.random() < 0.6:  # noqa: PLR2004 - more circles than triangles
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        return
    turn = chance.random() * math.tau
    corners = [turn + corner * math.tau / 3 for corner in range(3)]
    pen.polygon([(x + radius * math.cos(corner), y + radius * math.sin(corner)) for corner in corners], fill=fill)


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _initials(text: str) -> str:
    """The first letters of the first two words that Pillow's own font can draw."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = [word for word in plain.split() if word[0].isalpha()]
    return "".join(word[0].upper() for word in words[:2])
