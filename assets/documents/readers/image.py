"""Images to PNG, RGB, 8 bits a channel."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable

MAX_PIXELS = 64_000_000


def read_image(item: RawItem) -> Iterator[Part | Rejection]:
    """One part; animations give their first picture. A torn file is Unreadable ``damaged``."""
    from PIL import Image, ImageOps

    if item.path.stat().st_size == 0:
        raise Unreadable("empty", "the file holds no byte")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(item.path) as opened:
                opened.load()
                picture = ImageOps.exif_transpose(opened) or opened
                original = f"{opened.format} {opened.mode}"
                rgb = to_rgb(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable("too_large", f"over {MAX_PIXELS} pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Unreadable("damaged", f"no picture that can be read to its end: {error}") from error
    yield png_part(rgb, {"reader": "image", "original": original})


def to_rgb(picture: Any) -> Any:
    """Any PIL mode as RGB: transparency over white, 16 bits and floats stretched to 8."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        import numpy as np

        return Image.fromarray(stretch(np.asarray(picture, dtype=np.float64))).convert("RGB")
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def stretch(values: Any) -> Any:
    """float[h, w] to uint8[h, w]: the 0.5 to 99.5 percentiles of the finite values span 0 to 255."""
    import numpy as np

    finite = np.isfinite(values)
    if not finite.any():
        raise Unreadable("damaged", "no finite value in the picture")
    low, high = np.percentile(values[finite], [0.5, 99.5])
    if high <= low:
        low, high = float(values[finite].min()), float(values[finite].max())
    scaled = (np.where(finite, values, low) - low) / max(high - low, 1e-12)
    return np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)


def png_part(rgb: Any, quality: dict[str, Any]) -> Part:
    """The part of an RGB PIL image: PNG without metadata, with its size and contrast as figures."""
    import numpy as np

    clean = rgb.copy()
    clean.info = {}
    buffer = io.BytesIO()
    clean.save(buffer, format="PNG", compress_level=6)
    deviation = float(np.asarray(rgb, dtype=np.float32).std())
    figures = {"width": rgb.width, "height": rgb.height, "contrast": round(deviation, 2)}
    return Part(
        modality="image",
        payload=buffer.getvalue(),
        payload_media_type="image/png",
        clean=False,
        quality={**quality, **figures},
    )
