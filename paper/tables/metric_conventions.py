"""What the same run is called under every convention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...vlm_validation import metrics
from ..results import Data, provenance
from ..trained import frozen_orders

CAPTION = (
    "One run under every convention (E3's protocol on the features, neutral order of {environments} environments, accuracy of the training "
    "samples): conventions differ under the same names.  Forgetting runs from {least:.3f} to {most:.3f}.  {zscl}: transfer, avg and last, which models "
    "with zero-shot ability are judged by.  Empty: not defined."
)


def compute(features: Any, seed: int) -> Data:
    """The neutral order's matrix R, judged by all conventions."""
    runs = frozen_orders(features)
    neutral = int(np.flatnonzero((runs.orders == np.arange(len(runs.names))).all(axis=1))[0])
    R = runs.accuracy[0, neutral]
    found = {name: metrics.all_metrics(R, convention=name) for name in metrics.CONVENTIONS}
    lost = [float(table["forgetting"]) for table in found.values()]
    zero_shot = metrics.transfer_avg_last(R)
    (zscl,) = {metric.convention for metric in zero_shot.values()}
    found[zscl] = zero_shot
    names = list(dict.fromkeys(metric for table in found.values() for metric in table))
    rows = [
        [convention, *(float(table[m]) if m in table else None for m in names)] for convention, table in found.items()
    ]
    return Data(
        values={"columns": ["convention", *names], "rows": rows, "environments": len(runs.names), "least": min(lost), "most": max(lost), "zscl": zscl, "R": R},
        provenance=provenance(("E3",), features, seed),
    )  # fmt: skip
