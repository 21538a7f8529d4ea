"""What goes wrong with training, as errors of one line each."""


class TrainingError(ValueError):
    """A run that cannot start: a wrong recipe, or one that does not suit its data or machine."""


class TrainingFailed(RuntimeError):
    """A run that must not go on; what it had reached lies in its newest checkpoint."""


class NotFinite(TrainingFailed):
    """A loss or gradient that is not finite; the trainer is as it was before the update."""
