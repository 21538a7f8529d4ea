"""Queue a run on a Slurm cluster, which starts its ranks on several machines, and once more.

The ranks make the same call as one process does, `train(recipe, folder)`; a run that was started on
one machine can be resumed on a cluster, and the other way round.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from towers import files
from towers.progress import beat
from towers.training.errors import TrainingError
from towers.training.logs import Followed
from towers.training.recipe import Recipe
from towers.training.runs import train

FOLDER = "slurm"
"""Below that of the run: the scripts and output of its jobs."""
TOGETHER = ("--kill-on-bad-exit=1",)
"""Of srun: a rank that fails, also before it has met the others, takes all down."""
AGAIN = 10_000
"""How often a job is queued again at its time limit; submitit by itself would stop at the third."""


@dataclass(frozen=True)
class Queued(Followed):
    """A run that a cluster queues, starts, and queues again.

    Attributes:
        job: submitit's, as `submit` gives it.
    """

    job: Any
    look: ClassVar[float] = 10.0

    @property
    def output(self) -> Path:
        """What its first rank prints."""
        return Path(self.job.paths.stderr)

    @property
    def running(self) -> bool:
        """Whether the job waits or runs, as far as the cluster has told."""
        beat()  # the cluster ends what hangs; to wait in its queue is no stall
        return not self.job.done()

    def stop(self) -> None:
        """Cancel the job; `submit` with the same folder goes on from the newest checkpoint."""
        self.job.cancel()


class Rank:
    """The callable that submitit runs on each rank; a job that is preempted is queued again.

    Attributes:
        recipe: fields of the recipe.
        folder: of the run, on a disk that all machines see.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe.mapping(), str(folder)

    def __call__(self) -> int:
        """Train on this rank; returns the updates done in all."""
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        done = train(Recipe.from_mapping(self.recipe), Path(self.folder), progress=False)
        return done.steps

    def checkpoint(self):
        """Called by submitit at a job's time limit and when it is preempted: go on in a new job.

        The update under way is done by then, and in a checkpoint.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(
    recipe: Recipe,
    folder: Path,
    ranks: int,
    *,
    nodes: int = 1,
    minutes: int = 60,
    cluster: str = "slurm",
    gpus: bool = True,
    options: dict[str, Any] | None = None,
):
    """Queue a run on a Slurm cluster.

    The job's scripts and output lie in `slurm/` below the folder.

    Args:
        recipe: what to train.
        folder: of the run, on a disk that all machines see.
        ranks: processes on each machine, one for each accelerator.
        nodes: machines.
        minutes: until the cluster ends the job; it is then queued again and goes on, as often as
            the run needs.
        cluster: "slurm", or "local" for processes of this machine under the same code.
        gpus: ask for an accelerator per rank.
        options: further parameters of submitit, such as {"slurm_partition": "gpu"}; those of srun,
            "slurm_srun_args", replace `TOGETHER`.

    Returns:
        submitit's job: `job.job_id`, `job.state`, `job.results()` (the updates done, by rank),
        `job.cancel()`.

    Raises:
        TrainingError: numbers that make no job, or no Slurm on this machine.
    """
    import submitit

    if ranks < 1 or nodes < 1 or minutes < 1:
        raise TrainingError(
            f"expected at least one rank, machine and minute; got {ranks}, {nodes} and {minutes}"
        )
    folder = files.user_path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.AutoExecutor(
            folder / FOLDER, cluster=cluster, slurm_max_num_timeout=AGAIN
        )
    except RuntimeError as error:
        raise TrainingError(
            f"expected Slurm's commands on this machine, got {error}; run this where sbatch is, or "
            "start the ranks with `towers train`"
        ) from None
    executor.update_parameters(
        name=recipe.title.replace(" ", "-"), nodes=nodes, tasks_per_node=ranks,
        gpus_per_node=ranks if gpus else 0, timeout_min=minutes,
        **({"slurm_srun_args": [*TOGETHER]} | (options or {})),
    )  # fmt: skip
    return executor.submit(Rank(recipe, folder))
