//! Backups and restores: which file may replace which, and in what order, so that a crash leaves the old one or the new one.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    super::{exit::Failure, print},
    outcome::{Restored, kept_as_note},
};
use crate::{
    artifact::{FileIdentity, Replacement, folder_of, follow_links, free_bytes},
    registry::system_clock,
    store::sqlite::{
        DatabaseLock, Options,
        maintenance::{Copied, MaintenanceError, Source, Watch, is_registry_at_rest, merge_wal},
    },
};

/// Writes a verified backup, which replaces an older one.
pub(super) fn back_up(to: &Path, options: &Options, watch: &Watch) -> Result<Copied, Failure> {
    expect_apart(to, options)?;
    // Before long work, so that a folder that can't be written fails at once.
    let replacement = Replacement::like(to, &options.path)?;
    expect_replaceable(to)?;
    let source = Source::open(options, watch)?;
    let size = fs::metadata(&options.path).map_or(0, |found| found.len());
    expect_space(replacement.destination(), size, "the backup is as large as the database")?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    drop(source);
    replacement.persist()?;
    Ok(copied)
}

/// Replaces the database by a verified copy of the backup, with one rename: a crash leaves the old one or the new one.
pub(super) fn restore(from: &Path, options: &Options, watch: &Watch) -> Result<Restored, Failure> {
    let path = &options.path;
    expect_apart(from, options).map_err(|_| {
        Failure::usage(format!("{} is the database itself; give a backup of it", from.display()))
    })?;
    let lock = DatabaseLock::acquire(options).map_err(MaintenanceError::from)?;
    let source = Source::open(&Options { path: from.to_owned(), ..options.clone() }, watch)?;
    source.verify(watch)?;
    let schema_version = source.schema_version()?;
    let old = fs::metadata(path).ok();
    let replacement = Replacement::like(path, if old.is_some() { path } else { from })?;
    let [size, old_size] =
        [fs::metadata(from).ok().as_ref(), old.as_ref()].map(|file| file.map_or(0, |file| file.len()));
    expect_space(
        replacement.destination(),
        size + old_size,
        "the old database is kept next to the restored one",
    )?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    drop(source);
    if let Some(old) = &old {
        // Root may restore for the user that the server runs as.
        let _ = std::os::unix::fs::chown(replacement.temporary_path(), Some(old.uid()), Some(old.gid()));
        merge_wal(options, watch, &lock).map_err(|error| explain_unmerged(error, path))?;
    }
    let kept_as = set_aside(path, replacement.destination())?;
    replacement.persist().map_err(|error| Failure::from(error).followed_by(&kept_as_note(&kept_as)))?;
    Ok(Restored { kept_as, copied, schema_version })
}

/// Says what to do about a database whose WAL can't be moved into it.
fn explain_unmerged(error: MaintenanceError, path: &Path) -> Failure {
    let path = path.display();
    match error {
        MaintenanceError::Damaged { .. } | MaintenanceError::NotADatabase { .. } => Failure::failed(format!(
            "{path} is too damaged to be kept as a database; move it away yourself, then restore again"
        )),
        MaintenanceError::Wal(fault) => Failure::failed(format!(
            "{path} can't be kept as a database: {fault}. To restore anyway, move it and its WAL away first"
        )),
        error => error.into(),
    }
}

/// Copies the old database to another name in its folder, and moves away files that a lost one left, because a WAL would
/// be read with the restored database.
fn set_aside(path: &Path, database: &Path) -> Result<Vec<PathBuf>, Failure> {
    let aside = aside_name(path);
    let failed =
        |what: &Path, error: io::Error| Failure::failed(format!("{} can't be kept: {error}", what.display()));
    let mut kept_as = Vec::new();
    if database.exists() {
        let copy = Replacement::like(&aside, database)?;
        fs::copy(database, copy.temporary_path()).map_err(|error| failed(database, error))?;
        copy.persist_new()?;
        kept_as.push(aside.clone());
    }
    let [_, beside @ ..] = Options::files_of(database);
    let [_, names @ ..] = Options::files_of(&aside);
    for (stray, name) in beside.iter().zip(names).filter(|(stray, _)| stray.exists()) {
        fs::rename(stray, &name)
            .map_err(|error| failed(stray, error).followed_by(&kept_as_note(&kept_as)))?;
        kept_as.push(name);
    }
    Ok(kept_as)
}

/// Returns the name that keeps the old database, in its folder: `registry.db.before-restore-2026-01-31T130509.250Z`.
fn aside_name(path: &Path) -> PathBuf {
    let now = system_clock()().to_string().replace(' ', "T").replace(':', "");
    let mut name = follow_links(path).into_os_string();
    name.push(format!(".before-restore-{now}Z"));
    PathBuf::from(name)
}

/// Refuses to write to or read from the database's own files, under any name.
fn expect_apart(other: &Path, options: &Options) -> Result<(), Failure> {
    let own = options.files();
    let identity = FileIdentity::at(other);
    let [resolved, ..] = Options::files_of(&absolute(other));
    let is_own = own
        .iter()
        .any(|file| absolute(file) == resolved || identity.is_some() && FileIdentity::at(file) == identity);
    if is_own {
        let other = other.display();
        return Err(Failure::usage(format!("{other} belongs to the database itself; give another file")));
    }
    Ok(())
}

/// Returns the absolute path with all links resolved, even if the file does not exist.
fn absolute(path: &Path) -> PathBuf {
    let path = follow_links(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    match (path.parent().and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Refuses to replace another file than an older backup, such as one named by mistake, or a database in use, whose WAL
/// would be read with the backup.
fn expect_replaceable(path: &Path) -> Result<(), Failure> {
    let [file, beside @ ..] = Options::files_of(path);
    let shown = path.display();
    if let Some(stray) = beside.iter().find(|file| file.exists()) {
        return Err(Failure::failed(format!(
            "{shown} is in use, or was when its process died: there is a {}; choose another file",
            stray.display()
        )));
    }
    let is_empty = fs::metadata(&file).is_ok_and(|found| found.len() == 0);
    if file.is_file() && !is_empty && !is_registry_at_rest(&file) {
        return Err(Failure::failed(format!(
            "{shown} exists and is not a registry database, so it is not replaced; choose another file, or move it away"
        )));
    }
    Ok(())
}

/// Refuses work that needs more bytes than are free in the folder of `path`.
pub(super) fn expect_space(path: &Path, needed: u64, why: &str) -> Result<(), Failure> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(Failure::failed(format!(
            "the folder {} has {} free, but {} are needed: {why}; free space there",
            folder_of(path).display(),
            print::size(free),
            print::size(needed),
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_folder_is_named_for_a_bare_file_name_too() {
        let refused = expect_space(Path::new("registry.db"), u64::MAX, "it is large").unwrap_err().text();
        assert!(refused.starts_with("the folder . has "), "{refused}");
    }

    #[test]
    fn the_name_of_a_kept_database_tells_the_time() {
        let name = aside_name(Path::new("/no/such/registry.db"));
        let name = name.to_str().unwrap();
        let time = name.strip_prefix("/no/such/registry.db.before-restore-").unwrap();
        assert_eq!((time.len(), &time[10..11], &time[17..18], &time[21..]), (22, "T", ".", "Z"), "{name}");
    }
}
