//! Files that some process is still writing.
//!
//! Linux tells which processes have a file open, as far as this user may see them. Elsewhere the time since the last write tells.

use std::path::Path;

use crate::error::ArtifactError;

/// Checks that no process has one of these files open for writing.
///
/// Processes of other users, in other containers and on other machines are not seen, unless this one runs as root.
///
/// # Errors
/// [`ArtifactError::BeingWritten`] names the first such file.
#[cfg(target_os = "linux")]
pub fn expect_no_writer<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), ArtifactError> {
    use std::{collections::HashMap, fs};

    use crate::open_file::FileIdentity;

    let files: HashMap<FileIdentity, &Path> =
        paths.into_iter().filter_map(|path| Some((FileIdentity::at(path)?, path))).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        for descriptor in descriptors {
            // What the process has open, even if its name was replaced.
            let file = FileIdentity::at(&descriptor.path()).and_then(|identity| files.get(&identity));
            let Some(path) = file else { continue };
            let info = process.path().join("fdinfo").join(descriptor.file_name());
            if fs::read_to_string(info).is_ok_and(|info| is_for_writing(&info)) {
                let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Err(ArtifactError::BeingWritten {
                    path: path.to_path_buf(),
                    by: format!("{} (process {id})", command.trim_end()),
                });
            }
        }
    }
    Ok(())
}

/// Reads the flags of an open file, in octal.
#[cfg(target_os = "linux")]
fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).unwrap_or_default();
    flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// Checks that these files have not been written to for two seconds.
///
/// # Errors
/// [`ArtifactError::BeingWritten`] names the first that has.
#[cfg(not(target_os = "linux"))]
pub fn expect_no_writer<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), ArtifactError> {
    const REST: std::time::Duration = std::time::Duration::from_secs(2);

    for path in paths {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < REST)) {
            let by = "a process that wrote to it a moment ago".to_owned();
            return Err(ArtifactError::BeingWritten { path: path.to_owned(), by });
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_file_that_is_open_for_writing_is_named_and_one_that_is_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let reader = File::open(&one).unwrap();
        let both = || [one.as_path(), two.as_path()];
        assert!(expect_no_writer(both()).is_ok());
        for options in [File::options().write(true), File::options().append(true).read(true)] {
            let writer = options.open(&two).unwrap();
            let refused = expect_no_writer(both()).unwrap_err().to_string();
            let expected = format!("(process {})", std::process::id());
            assert!(
                refused.contains("two is open for writing by ") && refused.contains(&expected),
                "{refused}"
            );
            drop(writer);
            assert!(expect_no_writer(both()).is_ok());
        }
        drop(reader);
        assert!(expect_no_writer([folder.path().join("none").as_path()]).is_ok());
    }
}
