"""Errors: everything this package raises on purpose, each naming what to do next."""


class HorizonBOError(Exception):
    """Base of every deliberate error, so that callers can catch the whole package."""


class InvalidTrialError(HorizonBOError, ValueError):
    """A run holds a value the model cannot use."""


class InvalidSpaceError(HorizonBOError, ValueError):
    """A target, scale, search space or setting of a study makes no sense."""


class InvalidTableError(HorizonBOError, ValueError):
    """A table of runs lacks a column or holds a value that cannot be read."""


class UnfinishedCurveError(InvalidTableError):
    """A learning curve has too few points so far; later it may have more."""


class UnknownTrialError(HorizonBOError, LookupError):
    """No pending trial answers to that id."""


class BudgetExhaustedError(HorizonBOError, RuntimeError):
    """No candidate run fits into the compute that is left."""


class StudyNotFoundError(HorizonBOError, FileNotFoundError):
    """No study is stored under that path."""


class StudyExistsError(HorizonBOError, FileExistsError):
    """A study is already stored under that path."""


class StudyFormatError(HorizonBOError, ValueError):
    """A stored study cannot be read by this version."""


class StorageError(HorizonBOError, OSError):
    """The disk or database refused to record an event."""


class InvalidObjectiveError(HorizonBOError, ValueError):
    """A training command or function, or how it should be run, makes no sense."""


class TrainingFailedError(HorizonBOError, RuntimeError):
    """Training keeps failing, so going on would only burn the budget."""


class StudyBusyError(HorizonBOError, BlockingIOError):
    """Another loop runs the same study."""


class EngineError(HorizonBOError, ConnectionError):
    """Slurm or Ray is not there, does not answer, or refuses what a run needs."""


class UnsupportedModelError(HorizonBOError, NotImplementedError):
    """A model was asked for what its mathematics cannot give."""


class MissingExtraError(HorizonBOError, ImportError):
    """Something needs a package that comes with one of the extras.

    Args:
        what: What was asked for.
        package: The package that is not installed.
        extra: The extra that it comes with.
    """

    def __init__(self, what: str, package: str, extra: str):
        super().__init__(what, package, extra)

    def __str__(self) -> str:
        what, package, extra = self.args
        return f"{what} needs {package}, which is not installed; pip install 'horizon-bo[{extra}]'"
