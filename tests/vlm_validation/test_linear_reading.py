"""T1.5 on real features: what its note says about the linear reading of the CLIP loss is measured here."""

from __future__ import annotations

import numpy as np
import pytest
from crossmodal.theory import registry
from crossmodal.vlm_validation.features import Features


@pytest.mark.realdata
def test_the_note_on_real_pairs(coco500: Features) -> None:
    u, v = coco500.image.astype(float), coco500.text.astype(float)
    cosine = u @ v.T
    found = []
    for tau in (1, 10, 100):
        z = tau * cosine
        top = z.max(axis=1)
        delta = np.log(np.exp(z - top[:, None]).mean(axis=1)) + top - z.mean(axis=1)
        width, b, variance = np.ptp(cosine, axis=1), (cosine.max(axis=1) - cosine.mean(axis=1)), cosine.var(axis=1)
        bennett = np.log(1 + variance / b**2 * (np.exp(tau * b) - 1 - tau * b))
        assert (delta <= np.minimum(np.minimum(tau**2 * width**2 / 8, tau * b), bennett)).all()
        found.append(float(delta.mean()))
    note = next(n for n in registry.get("T1.5").notes if "COCO" in n)
    for text in (f"{len(u)} pairs", f"{found[0]:.4f} at tau = 1", f"{found[1]:.3f} at 10", f"{found[2]:.1f} at 100"):
        assert text in note
