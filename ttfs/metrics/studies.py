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
    Metric(
        "surrogate_gain", "Gain of the gradient per layer", "", ".3g", in_summary=False, place=190
    ),
    Metric("critical_alpha", "Critical alpha", "", ".3g", in_summary=False, place=200),
    Metric(
        "rate_error", "Error of rates, share of activations", "", ".2e", "lower",
        in_summary=False, place=210,
    ),
)  # fmt: skip
