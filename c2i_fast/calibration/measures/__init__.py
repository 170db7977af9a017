"""Calibration measures beyond those of `calibration.error`: pure functions in float64, one idea a file."""

from c2i_fast.calibration.measures.binned import ece, mce
from c2i_fast.calibration.measures.binning import DEFAULT_BINS, BinnedOutcomes, Binning, bin_outcomes
from c2i_fast.calibration.measures.classwise import ece_classwise
from c2i_fast.calibration.measures.convex_allocation import ece_ac_farther_centre, ece_ac_linear
from c2i_fast.calibration.measures.debiased import ece_debiased_l1, ece_debiased_l2, ece_l2
from c2i_fast.calibration.measures.kernel_kl import kernel_bandwidth, kernel_kl_canonical, kernel_kl_top_label
from c2i_fast.calibration.measures.ks import ks_ascending
from c2i_fast.calibration.measures.redraw import redraw_interval
from c2i_fast.calibration.measures.registry import MEASURES, MeasuredValue, Predictions, measure
from c2i_fast.calibration.measures.smooth import SmoothCurve, smooth_accuracy, smooth_ece, smooth_ece_at
from c2i_fast.calibration.measures.top_label import brier_top_label

__all__ = [
    "DEFAULT_BINS",
    "MEASURES",
    "BinnedOutcomes",
    "Binning",
    "MeasuredValue",
    "Predictions",
    "SmoothCurve",
    "bin_outcomes",
    "brier_top_label",
    "ece",
    "ece_ac_farther_centre",
    "ece_ac_linear",
    "ece_classwise",
    "ece_debiased_l1",
    "ece_debiased_l2",
    "ece_l2",
    "kernel_bandwidth",
    "kernel_kl_canonical",
    "kernel_kl_top_label",
    "ks_ascending",
    "mce",
    "measure",
    "redraw_interval",
    "smooth_accuracy",
    "smooth_ece",
    "smooth_ece_at",
]
