"""Numbers of studies; `docs/studies.md` explains them."""

from ttfs.metrics.metric import Metric

METRICS = (
    Metric(
        "validation_accuracy",
        "Validation accuracy",
        "%",
        ".2f",
        "higher",
        in_summary=False,
        place=160,
    ),
    Metric("jacobian_gain", "Gain of the Jacobian", "", ".3g", in_summary=False, place=170),
    Metric(
        "diverged_at",
        "Step at which the loss left the finite numbers",
        "",
        ",.0f",
        in_summary=False,
        place=180,
    ),
)
