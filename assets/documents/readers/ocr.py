"""Optical character recognition of page images: rapidocr on onnxruntime, its models from its own wheel."""

from __future__ import annotations

from functools import cache
from typing import Any

MIN_SCORE = 0.5


@cache
def _engine() -> Any:
    # Loaded once per worker process: 1 to 2 seconds and some 200 MiB.
    import logging

    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.WARNING)
    return RapidOCR(
        params={
            "Global.log_level": "warning",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def read_page_image(image: Any) -> tuple[str, float]:
    """(lines of text from top to bottom, mean score from 0 to 1) of a PIL page image in RGB.

    A page that lies on its side is turned: boxes higher than wide tell, and the reading that scores
    better wins. A page on its head is turned back by the engine's own line classifier.
    """
    lines, score, sideways = _read(image)
    if sideways:
        from PIL import Image

        for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270):
            turned_lines, turned_score, _ = _read(image.transpose(turn))
            if turned_score * sum(map(len, turned_lines)) > score * sum(map(len, lines)):
                lines, score = turned_lines, turned_score
    return "\n".join(lines), score


def _read(image: Any) -> tuple[list[str], float, bool]:
    import numpy as np

    result = _engine()(np.asarray(image)[:, :, ::-1])
    if result.txts is None or result.boxes is None or not len(result.txts):
        return [], 0.0, False
    boxes = np.asarray(result.boxes, dtype=np.float64)
    kept = [i for i, score in enumerate(result.scores) if score >= MIN_SCORE]
    if not kept:
        return [], 0.0, True
    heights = boxes[:, :, 1].max(axis=1) - boxes[:, :, 1].min(axis=1)
    widths = boxes[:, :, 0].max(axis=1) - boxes[:, :, 0].min(axis=1)
    lines = _lines(boxes[kept], [result.txts[i] for i in kept], heights[kept])
    score = float(np.mean([result.scores[i] for i in kept]))
    return lines, score, bool(np.mean(heights > 1.5 * widths) > 0.5)


def _lines(boxes: Any, texts: list[str], heights: Any) -> list[str]:
    """Boxes whose middles lie within half a line of each other make one line, read from the left."""
    import numpy as np

    middles = boxes[:, :, 1].mean(axis=1)
    lefts = boxes[:, :, 0].min(axis=1)
    order = sorted(range(len(texts)), key=lambda i: (float(middles[i]), float(lefts[i])))
    step = float(np.median(heights)) * 0.5
    rows: list[list[int]] = []
    for index in order:
        if rows and abs(middles[index] - np.mean([middles[i] for i in rows[-1]])) <= step:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [" ".join(texts[i] for i in sorted(row, key=lambda i: float(lefts[i]))) for row in rows]
