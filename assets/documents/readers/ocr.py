"""Optical character recognition of page images: rapidocr on onnxruntime, its models from its own wheel."""

from __future__ import annotations

from functools import cache
from typing import Any

MIN_SCORE = 0.5


class _Directions:
    """Stands in the engine's line classifier to remember how many lines of a page stood on their heads."""

    def __init__(self, classifier: Any) -> None:
        self._classifier = classifier
        self.turned = 0
        self.lines = 0

    def __call__(self, images: Any, *rest: Any, **named: Any) -> Any:
        answer = self._classifier(images, *rest, **named)
        labels = [label for label, _ in (answer.cls_res or [])]
        self.lines, self.turned = len(labels), sum(label == "180" for label in labels)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)


@cache
def _engine() -> Any:
    # Loaded once per worker process: 1 to 2 seconds and some 200 MiB.
    import logging

    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.WARNING)
    engine: Any = RapidOCR(
        params={
            "Global.log_level": "warning",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    engine.text_cls = _Directions(engine._load_cls_model())
    return engine


def read_page_image(image: Any) -> tuple[str, float]:
    """(lines of text from top to bottom, mean score from 0 to 1) of a PIL page image in RGB.

    A page on its side (most of its boxes are higher than wide) is turned by a quarter first. On a page on
    its head the engine reads each line rightly, turned; their order is turned here.
    """
    import numpy as np

    engine = _engine()
    if _sideways(engine, image):
        from PIL import Image

        image = image.transpose(Image.Transpose.ROTATE_90)
    # The engine keeps these switches from call to call.
    result = engine(np.asarray(image)[:, :, ::-1], use_det=True, use_cls=True, use_rec=True)
    if result.txts is None or result.boxes is None or not len(result.txts):
        return "", 0.0
    boxes = np.asarray(result.boxes, dtype=np.float64)
    if engine.text_cls.turned > 0.5 * max(1, engine.text_cls.lines):
        boxes = np.array([image.width, image.height]) - boxes
    kept = [i for i, score in enumerate(result.scores) if score >= MIN_SCORE]
    if not kept:
        return "", 0.0
    heights = boxes[kept, :, 1].max(axis=1) - boxes[kept, :, 1].min(axis=1)
    lines = _lines(boxes[kept], [result.txts[i] for i in kept], heights)
    return "\n".join(lines), float(np.mean([result.scores[i] for i in kept]))


def _sideways(engine: Any, image: Any) -> bool:
    """Whether most boxes of text are clearly higher than wide; detection alone, at half the size."""
    import numpy as np

    found = engine(np.asarray(image.reduce(2))[:, :, ::-1], use_det=True, use_cls=False, use_rec=False)
    if found.boxes is None or not len(found.boxes):
        return False
    boxes = np.asarray(found.boxes, dtype=np.float64)
    heights = boxes[:, :, 1].max(axis=1) - boxes[:, :, 1].min(axis=1)
    widths = boxes[:, :, 0].max(axis=1) - boxes[:, :, 0].min(axis=1)
    return bool(np.mean(heights > 1.5 * widths) > 0.5)


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
