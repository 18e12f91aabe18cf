//! Where to record if nobody says: `tidegauge-runs/NAME-WHEN`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::environment::RUN_VARIABLE;
use crate::run_folder;

/// Folder of runs that bear no name of their own.
const FOLDER: &str = "tidegauge-runs";
/// Ids of jobs, as schedulers and launchers of ranks give them: all ranks of a job have the same.
const JOB_VARIABLES: [&str; 4] = ["SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "PBS_JOBID"];

/// The folder that the environment names, or one for this command and this second. Ranks of one job, which start in
/// different seconds, take the job's id instead.
pub(crate) fn default_run(command: &[OsString]) -> PathBuf {
    if let Some(run) = std::env::var_os(RUN_VARIABLE).filter(|run| !run.is_empty()) {
        return PathBuf::from(run);
    }
    let job = JOB_VARIABLES
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|job| !job.is_empty() && job != "none");
    let several = run_folder::world_size().is_some_and(|size| size > 1);
    let when = match job.filter(|_| several) {
        Some(job) => job,
        None => jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string(),
    };
    Path::new(FOLDER).join(folder_name(&format!("{}-{when}", subject(command))))
}

/// The script, where the command is an interpreter of one.
fn subject(command: &[OsString]) -> String {
    let stem = |path: &OsStr| Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let Some(program) = command.first() else { return "run".to_owned() };
    let is_interpreter = ["python", "torchrun", "sh", "bash", "mpirun", "mpiexec", "srun", "accelerate"]
        .iter()
        .any(|name| stem(program).starts_with(name));
    let is_script = |word: &&OsString| {
        let ending = Path::new(word).extension();
        ending.is_some_and(|ending| ending == "py" || ending == "sh")
    };
    let script = command.iter().skip(1).find(is_script).filter(|_| is_interpreter);
    stem(script.unwrap_or(program))
}

fn folder_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject_of(command: &[&str]) -> String {
        subject(&command.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn runs_are_named_after_what_runs() {
        assert_eq!(subject_of(&["/usr/bin/python3", "-u", "src/train.py", "--config", "a.py"]), "train");
        assert_eq!(subject_of(&["torchrun", "--nproc-per-node", "8", "train.py"]), "train");
        assert_eq!(subject_of(&["./train", "x.py"]), "train");
        assert_eq!(subject_of(&["python3", "-c", "pass"]), "python3");
        assert_eq!(subject_of(&[]), "run");
        assert_eq!(folder_name("a b/c@1-20260101"), "a_b_c_1-20260101");
    }
}
