"""Figures of a training: the loss curve as a picture, and TensorBoard's event files.

The curve is a function of `figures.jsonl` alone and comes out byte for byte; TensorBoard's files carry times
and a host's name, so they are volatile files of the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


def read_figures(text: bytes | str) -> list[dict[str, Any]]:
    """Records of `figures.jsonl`."""
    lines = text.decode() if isinstance(text, bytes) else text
    return [json.loads(line) for line in lines.splitlines() if line]


def losses(records: Iterable[Record]) -> list[float]:
    """Loss of every step that was learned, in nats a token."""
    return [r["loss"] for r in records if r["loss"] is not None and not r.get("skipped")]


def first_and_last(records: Sequence[Record], share: float = 0.1) -> tuple[float, float]:
    """Mean loss over the first and the last tenth of the steps; raises ValueError if there is none."""
    values = losses(records)
    if not values:
        raise ValueError("figures.jsonl: no step with a finite loss")
    n = max(1, int(len(values) * share))
    return sum(values[:n]) / n, sum(values[-n:]) / n


def draw_losses(records: Sequence[Record], title: str, folder: Path) -> list[Path]:
    """Write `loss.png` and `loss.svg` into `folder`: the loss, and that of each stratum, by step."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "luca"
    from matplotlib import pyplot

    names = sorted({name for r in records for name in r["strata"]})
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6), dpi=110, layout="constrained")
    for i, name in enumerate(names):
        points = [(r["step"], r["strata"][name]) for r in records if r["strata"].get(name) is not None]
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=pyplot.get_cmap("tab20")(i % 20), lw=0.7, alpha=0.65, label=name)
    good = [(r["step"], r["loss"]) for r in records if r["loss"] is not None]
    if good:
        steps, values = zip(*good, strict=True)
        axes.plot(steps, values, color="#14342b", lw=1.8, label="all")
    for r in records:
        if r.get("skipped"):
            axes.axvline(r["step"], color="#b3261e", lw=0.6, alpha=0.7)
    axes.set(xlabel="step", ylabel="loss (nats a token)", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if good:
        axes.legend(fontsize=6.5, ncols=2, frameon=False)
    paths = [folder / "loss.png", folder / "loss.svg"]
    figure.savefig(paths[0], metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return paths


def write_tensorboard(records: Iterable[Record], timings: Iterable[Record], folder: Path) -> list[Path]:
    """Write the records as TensorBoard scalars into `folder`; returns the event files."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for r in records:
            scalars = {"loss/all": r["loss"], "optimizer/learning_rate": r["learning_rate"]}
            scalars["optimizer/gradient_norm"] = r["grad_norm"]
            scalars["optimizer/skipped"] = float(bool(r.get("skipped")))
            scalars |= {f"loss/{name}": value for name, value in r["strata"].items()}
            for tag, value in scalars.items():
                if value is not None:
                    writer.add_scalar(tag, value, r["step"])  # type: ignore[no-untyped-call]
        for t in timings:
            speed = t["targets"] / max(t["seconds"], 1e-9)
            writer.add_scalar("speed/targets_per_second", speed, t["step"])  # type: ignore[no-untyped-call]
    return sorted(folder.iterdir())
