"""What a transfer or a live migration would take with each codec, from measured rates.

::

    pages = of_programs()
    found = survey(["none", "zstd"], pages, Plan(memory=64 << 30, cpus=16), bandwidth=1.25e9)
    for each in found.predictions():
        print(each.codec, each.seconds)
"""

from __future__ import annotations

from codecs_core.forecast.model import Engine, Measured, Plan, Prediction, break_even, predict, rank
from codecs_core.forecast.sample import Sample, of_file, of_programs
from codecs_core.forecast.survey import Survey, survey

__all__ = [
    "Engine",
    "Measured",
    "Plan",
    "Prediction",
    "Sample",
    "Survey",
    "break_even",
    "of_file",
    "of_programs",
    "predict",
    "rank",
    "survey",
]
