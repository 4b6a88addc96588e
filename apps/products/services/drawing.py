"""Pictures as they come in, and as they are kept: of a known kind by their content, upright, in sRGB, bare of what the
camera noted, and with thumbnails.

What is kept is drawn anew from the pixels: nothing of the file that came survives, whatever was hidden in it.
"""

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from apps.common.errors import Problem
from apps.products.interface import NotAPicture, PictureTooLarge

MAX_PIXELS = 40_000_000
# What every kind of picture can be written with.
MAX_SIDE = 16_383
THUMBNAILS = {"small": 160, "medium": 480, "large": 1200}

_KINDS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
# Kinds without loss stay so. (A JPEG that holds several pictures is an MPO to Pillow.)
_WITHOUT_LOSS = frozenset({"PNG", "GIF"})
_SCAN = b"\xff\xda"
# Each scan of a JPEG is a walk over all its pixels; ten are usual, and a small file has room for a hundred thousand.
# (The film behind a telephone's picture looks like a scan now and then: 160 times in ten megabytes.)
_MAX_SCANS = 300
_SRGB = ImageCms.createProfile("sRGB")

# Refused by its header, before there is memory for it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)
# Forty million pixels are a few hundred megabytes while they are worked on: so one picture at a time, and always in the
# same thread, as each thread keeps for itself the memory that it has had once.
_desk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")


@dataclass(frozen=True)
class Drawn:
    """A picture to be kept, with its thumbnails by their names."""

    content: bytes
    suffix: str
    width: int
    height: int
    thumbnails: Mapping[str, bytes]


def draw(content: bytes) -> Drawn:
    """The picture that is in the file; of an animated one the first frame.

    Raises:
        NotAPicture: none of the known kinds, or damaged.
        PictureTooLarge: more than 40 megapixels, or longer than 16,383 pixels.
    """
    if content.count(_SCAN) > _MAX_SCANS and content.startswith(b"\xff\xd8"):
        raise NotAPicture(Problem("The picture is stored in too many scans. Save it anew.", attr="image"))
    return _desk.submit(_draw, content).result()


def thumbnails(picture: Image.Image) -> dict[str, bytes]:
    """The picture in three sizes, each made of the next larger one."""
    made = {}
    for name, side in sorted(THUMBNAILS.items(), key=lambda each: -each[1]):
        longer = max(picture.size)
        if longer > side:
            width, height = (max(1, round(each * side / longer)) for each in picture.size)
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        made[name] = _encoded(picture, "WEBP", quality=80, method=2)
    return made


def _draw(content: bytes) -> Drawn:
    with _refusing(), Image.open(BytesIO(content), formats=_KINDS) as file:
        _check_size(*file.size)
        file.load()
        is_exact = file.format in _WITHOUT_LOSS
        _turn(file)
        picture = _in_srgb(file)
    suffix, kept = _kept(picture, is_exact=is_exact)
    return Drawn(kept, suffix, *picture.size, thumbnails=thumbnails(picture))


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a decoder makes of a file that is none is one of two refusals."""
    try:
        yield
    except PictureTooLarge:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except UnidentifiedImageError as error:
        raise NotAPicture(Problem("This is no JPEG, PNG, WebP, GIF or AVIF picture.", attr="image")) from error
    except Exception as error:  # they raise whatever they stumble over
        raise NotAPicture(
            Problem("The picture is damaged or incomplete. Save it anew and send it again.", attr="image")
        ) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_large()


def _too_large() -> PictureTooLarge:
    megapixels = MAX_PIXELS // 1_000_000
    return PictureTooLarge(
        Problem(f"A picture has at most {megapixels} megapixels, and {MAX_SIDE} pixels on a side.", attr="image")
    )


def _turn(picture: Image.Image) -> None:
    """Upright, as the camera was held. A note of the camera that cannot be read is no reason to refuse."""
    with suppress(Exception):  # as for decoders
        ImageOps.exif_transpose(picture, in_place=True)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """In the colours that everybody shows; grey, palettes and print colours become RGB."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # 16 bits of grey, which a plain conversion would cut off
        picture = picture.point(lambda grey: grey * (1 / 256)).convert("L")
    if profile and picture.mode in {"RGB", "RGBA", "CMYK"}:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode=mode)
        except (ImageCms.PyCMSError, OSError):
            converted = None  # the profile is broken, or of other colours than the picture
        picture = converted or picture
    picture = picture if picture.mode == mode else picture.convert(mode)
    picture.info.clear()
    return picture


def _kept(picture: Image.Image, *, is_exact: bool) -> tuple[str, bytes]:
    """PNG where nothing may be lost or something shines through, JPEG otherwise: both can be written in any size."""
    if is_exact or picture.mode == "RGBA":
        return "png", _encoded(picture, "PNG", compress_level=3)
    return "jpg", _encoded(picture, "JPEG", quality=90, progressive=True)


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
