"""Post-hoc calibrators, the measures that judge them, and the file that carries one to where it is used.

Light to import: SciPy, scikit-learn and onnx-ir are loaded by the functions that need them.
"""

from c2i_fast.calibration.file import load_calibrator, save_calibrator
from c2i_fast.calibration.interface import CALIBRATORS
from c2i_fast.calibration.report import fit_report

__all__ = ["CALIBRATORS", "fit_report", "load_calibrator", "save_calibrator"]
