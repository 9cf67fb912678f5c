"""Options of the objective of diffusion models."""

from __future__ import annotations

from pydantic import Field

from tunewise.config.base import Config


class DenoisingConfig(Config):
    snr_gamma: float | None = Field(default=None, gt=0)
    """Weight the squared error of each timestep by min(SNR, snr_gamma) / SNR (min-SNR, Hang et al. 2023; 5 is usual),
    so that timesteps with little noise, of which there is little to learn, do not rule. Where left out, all timesteps
    count the same (Ho et al. 2020, L_simple). Validation and tests are told unweighted, whatever this says."""
