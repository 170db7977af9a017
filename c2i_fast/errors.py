"""Errors a user can mend. Each message says what was expected, what came, and what to do."""


class C2IError(Exception):
    """Base of every error that is the input's fault and not ours; the command line prints it in one line, exit 1."""


class InputError(C2IError, ValueError):
    """A file, array, option or combination of them that cannot be used."""


class UsageError(InputError):
    """Options that contradict each other; the command line exits 2."""


class NotFittedError(C2IError, ValueError, AttributeError):
    """A calibrator was used before `fit` (same bases as scikit-learn's)."""


class ContractError(C2IError, ValueError):
    """A graph does not keep the contract: wrong inputs, outputs, shapes, or a disagreement found by verification."""


class EngineError(C2IError, RuntimeError):
    """An engine could not be opened or refused to run."""


class MissingDependencyError(C2IError, ImportError):
    """An optional package is not installed; the message carries the install line.

    Example:
        >>> print(MissingDependencyError("openvino", "cpu"))
        openvino is not installed; install it with: pip install 'c2i-fast[cpu]'
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'c2i-fast[{extra}]'")
        self.package = package
        self.extra = extra
