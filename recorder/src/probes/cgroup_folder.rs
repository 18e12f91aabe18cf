//! Where the files of a process's control group lie.

use std::path::{Path, PathBuf};

/// Version of the control group interface that accounts for memory here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupVersion {
    /// One hierarchy for each controller; also on hybrid systems.
    One,
    /// The unified hierarchy.
    Two,
}

/// A control group with memory accounting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupFolder {
    pub(crate) version: CgroupVersion,
    /// Its own folder, then those above it, as far as they can be seen.
    pub(crate) folders: Vec<PathBuf>,
}

impl CgroupFolder {
    /// The group of a process, from its `/proc/PID/cgroup` and from the mounts that this process sees
    /// (`/proc/self/mountinfo`). None if there is none, or it is the root, which has neither figures nor limits.
    pub(crate) fn find(cgroup: &str, mountinfo: &str) -> Option<Self> {
        Self::find_two(cgroup, mountinfo).or_else(|| Self::find_one(cgroup, mountinfo))
    }

    fn find_two(cgroup: &str, mountinfo: &str) -> Option<Self> {
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mount = mounts(mountinfo).find(|mount| mount.kind == "cgroup2")?;
        let mut folders = mount.folders(path);
        // A group without the controller is accounted for in the next one above that has it.
        let own = folders.iter().position(|folder| folder.join("memory.current").exists())?;
        folders.drain(..own);
        Some(Self { version: CgroupVersion::Two, folders })
    }

    fn find_one(cgroup: &str, mountinfo: &str) -> Option<Self> {
        let path = cgroup.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|controller| controller == "memory").then_some(path)
        })?;
        let is_memory = |mount: &Mount| mount.options.split(',').any(|option| option == "memory");
        let mount = mounts(mountinfo).filter(|mount| mount.kind == "cgroup").find(is_memory)?;
        let folders = mount.folders(path);
        let own = folders.first()?;
        // This file is in the root of a hierarchy only.
        let is_root = own.join("release_agent").exists();
        let has_figures = own.join("memory.usage_in_bytes").exists();
        (has_figures && !is_root).then_some(Self { version: CgroupVersion::One, folders })
    }
}

/// A line of `mountinfo`.
#[derive(Debug)]
struct Mount<'text> {
    /// What of the file system is mounted.
    root: &'text str,
    point: PathBuf,
    kind: &'text str,
    /// Of the file system, not of the mount.
    options: &'text str,
}

impl Mount<'_> {
    /// The folder of the group `path` and those above it, up to the mount point.
    fn folders(&self, path: &str) -> Vec<PathBuf> {
        // In a container the path may be one that is seen from outside, of which only the end is mounted.
        let relative = Path::new(path).strip_prefix(self.root).unwrap_or(Path::new(""));
        let relative = relative.strip_prefix("/").unwrap_or(relative);
        let is_above = relative.components().any(|component| component == std::path::Component::ParentDir);
        let own = self.point.join(if is_above { Path::new("") } else { relative });
        let own = if own.is_dir() { own } else { self.point.clone() };
        own.ancestors().take_while(|folder| folder.starts_with(&self.point)).map(Path::to_path_buf).collect()
    }
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Mount {
            root: mount.next()?,
            point: PathBuf::from(unescaped(mount.next()?)),
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    })
}

/// Blanks in a mount point are written as octal numbers.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount point with groups, each with its files.
    fn hierarchy(groups: &[(&str, &[&str])]) -> tempfile::TempDir {
        let point = tempfile::tempdir().unwrap();
        for (group, files) in groups {
            let folder = point.path().join(group);
            std::fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|file| std::fs::write(folder.join(file), "1\n").unwrap());
        }
        point
    }

    fn mount(point: &tempfile::TempDir, root: &str, kind: &str, options: &str) -> String {
        let point = point.path().display();
        format!(
            "24 1 254:0 / / rw - ext4 /dev/root rw\n30 24 0:27 {root} {point} rw,nosuid - {kind} {kind} {options}\n"
        )
    }

    #[test]
    fn the_group_of_version_2_and_those_above_it() {
        let point =
            hierarchy(&[("", &[]), ("a", &["memory.current"]), ("a/b", &["memory.current"]), ("c", &[])]);
        let find = |cgroup: &str, root: &str| {
            let found = CgroupFolder::find(cgroup, &mount(&point, root, "cgroup2", "rw"))?;
            assert_eq!(found.version, CgroupVersion::Two);
            let relative =
                |folder: &PathBuf| folder.strip_prefix(point.path()).unwrap().display().to_string();
            Some(found.folders.iter().map(relative).collect::<Vec<_>>())
        };
        let found = |folders: &[&str]| Some(folders.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(find("0::/a/b\n", "/"), found(&["a/b", "a", ""]));
        assert_eq!(find("1:name=systemd:/x\n0::/a\n", "/"), found(&["a", ""]));
        // Only what lies below /outer is mounted here.
        assert_eq!(find("0::/outer/a/b\n", "/outer"), found(&["a/b", "a", ""]));
        // A group that is made below one without the controller counts there.
        std::fs::create_dir(point.path().join("a/b/leaf")).unwrap();
        assert_eq!(find("0::/a/b/leaf\n", "/"), found(&["a/b", "a", ""]));
        // The root, no controller anywhere above, another namespace, garbage.
        for cgroup in ["0::/\n", "0::/c\n", "0::/../elsewhere\n", "", "0:", "nonsense\n"] {
            assert_eq!(find(cgroup, "/"), None, "{cgroup}");
        }
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let point = hierarchy(&[("", &["memory.current"])]);
        for cgroup in ["0::/\n", "0::/../../x\n", "0::/docker/1234\n"] {
            let found = CgroupFolder::find(cgroup, &mount(&point, "/", "cgroup2", "rw")).unwrap();
            assert_eq!(found.folders, [point.path()], "{cgroup}");
        }
    }

    #[test]
    fn version_1_is_found_by_its_controller() {
        let files = ["memory.usage_in_bytes"];
        let point =
            hierarchy(&[("", &["memory.usage_in_bytes", "release_agent"]), ("a", &files), ("a/b", &files)]);
        let mountinfo = mount(&point, "/", "cgroup", "rw,memory");
        let found = CgroupFolder::find("5:cpu,memory:/a/b\n0::/\n", &mountinfo).unwrap();
        let folders = [point.path().join("a/b"), point.path().join("a"), point.path().to_owned()];
        assert_eq!((found.version, found.folders.as_slice()), (CgroupVersion::One, &folders[..]));
        assert_eq!(CgroupFolder::find("5:memory:/\n", &mountinfo), None, "the root");
        assert_eq!(CgroupFolder::find("5:cpu:/a\n", &mountinfo), None, "another controller");
        let other = mount(&point, "/", "cgroup", "rw,cpu");
        assert_eq!(CgroupFolder::find("5:memory:/a\n", &other), None, "another hierarchy");
    }

    #[test]
    fn blanks_in_a_mount_point_are_understood() {
        let line = "30 24 0:27 / /sys/a\\040b rw - cgroup2 none rw";
        assert_eq!(mounts(line).next().unwrap().point, Path::new("/sys/a b"));
        assert!(mounts("30 24 0:27 / /sys rw - cgroup2\nx\n\n - \n").next().is_none());
    }
}
