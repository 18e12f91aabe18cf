"""Where to record if nobody says, by the same rule as `tidegauge-record`: `tidegauge-runs/NAME-WHEN`."""

from __future__ import annotations

import os
import time

#: Folder of runs that bear no name of their own.
_FOLDER = "tidegauge-runs"
#: Ids of jobs, as schedulers and launchers of ranks give them: all ranks of a job have the same.
_JOB_VARIABLES = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "PBS_JOBID")
_WORLD_SIZE_VARIABLES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")


def default_run(name: str) -> str:
    """The folder that the environment names, or one for a program of this name and this second.

    Ranks of one job, which start in different seconds, take the job's id instead.
    """
    named = os.environ.get("TIDEGAUGE")
    if named:
        return named
    job = next((os.environ[variable] for variable in _JOB_VARIABLES if variable in os.environ), "")
    when = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    if job not in ("", "none") and _are_several():
        when = job
    text = f"{name}-{when}"
    return os.path.join(_FOLDER, "".join(c if c.isalnum() or c in "-_." else "_" for c in text))


def _are_several() -> bool:
    sizes = (os.environ.get(variable, "") for variable in _WORLD_SIZE_VARIABLES)
    return next((int(size) > 1 for size in sizes if size.isdecimal()), False)
