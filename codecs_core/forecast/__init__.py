"""What a transfer or a live migration would take with each codec, from measured rates."""

from __future__ import annotations

from codecs_core.forecast.model import Engine, Measured, Plan, Prediction, break_even, predict, rank

__all__ = ["Engine", "Measured", "Plan", "Prediction", "break_even", "predict", "rank"]
