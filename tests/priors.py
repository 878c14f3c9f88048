"""Priors of independent coefficients, by which formulas are tested; nothing is learnt here."""

from horizon_bo.core.priors import Prior, Priors

PRIORS = Priors.independent(
    {
        "log_optimum": Prior(-6.5, 1.1, heavy=True),
        "optimum_per_params": Prior(-0.4, 0.2),
        "optimum_per_tokens": Prior(-0.1, 0.2),
        "optimum_per_batch": Prior(0.4, 0.3),
        "log_curvature": Prior(-4.4, 0.8, heavy=True),
        "curvature_per_params": Prior(-0.1, 0.15),
        "curvature_per_tokens": Prior(-0.2, 0.15),
        "curvature_per_batch": Prior(0.07, 0.15),
        "asymmetry": Prior(0.75, 0.3),
        "log_params_exponent": Prior(-1.2, 0.4),
        "log_tokens_exponent": Prior(-1.2, 0.4),
        "log_drift_sd": Prior(-1.9, 0.5),
        "log_length": Prior(0.7, 0.4),
        "log_misfit_sd": Prior(-5.8, 0.7),
        "log_noise_sd": Prior(-6.2, 0.9),
        "noise_per_compute": Prior(-0.1, 0.1),
        "log_bowl_error": Prior(-2.5, 0.5),
        "log_cliff": Prior(0.7, 0.6),
    }
)
