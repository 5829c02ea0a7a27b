//! Where the files of an MLflow version can be read: passed on by the server, in an object store, or on this machine.
//!
//! The server says where they are, and its users told it. So nothing on this machine is read but the folder of a model, and only for
//! a server on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::arrived::Arrived;
use crate::{
    artifact::objects::{ObjectError, ObjectUri, Objects},
    cli::{exit::Failure, interrupt::Interrupt, location::Location, object_flags::ObjectFlags},
    client::mlflow::{MlflowError, MlflowFile, MlflowFolder, MlflowServer, MlflowVersion, joined},
    domain::manifest::MAX_FILES,
};

/// The file that each folder of a model has that MLflow wrote.
const MODEL_FILE: &str = "MLmodel";
/// Times that a transfer is begun.
const MAX_ATTEMPTS: u32 = 3;

/// Why files are not copied.
#[derive(Debug)]
pub(super) enum CopyError {
    /// They can't be, so the version is imported without them.
    Impossible(String),
    /// They can be later, or nothing can: the import ends.
    Ended(Failure),
}

impl From<MlflowError> for CopyError {
    fn from(error: MlflowError) -> Self {
        if error.is_transient() { Self::Ended(error.into()) } else { Self::Impossible(error.to_string()) }
    }
}

impl From<ObjectError> for CopyError {
    fn from(error: ObjectError) -> Self {
        match &error {
            ObjectError::Unreachable { .. }
            | ObjectError::Unavailable { .. }
            | ObjectError::CredentialsUnavailable { .. }
            | ObjectError::Interrupted { .. } => Self::Ended(error.into()),
            // They were good when the import began.
            ObjectError::CredentialsRefused { reason, .. }
                if reason.to_ascii_lowercase().contains("expired") =>
            {
                Self::Ended(error.into())
            }
            _ => Self::Impossible(error.to_string()),
        }
    }
}

/// A folder, or a single file.
pub(super) enum Place {
    Server(MlflowFolder),
    Bucket(Arc<Objects>, String),
    Disk(PathBuf),
}

/// Finds places, with the connections for them.
pub(super) struct Places<'a> {
    server: &'a MlflowServer,
    flags: &'a ObjectFlags,
    interrupt: &'a Interrupt,
    /// One for each bucket.
    buckets: Mutex<Vec<Arc<Objects>>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(server: &'a MlflowServer, flags: &'a ObjectFlags, interrupt: &'a Interrupt) -> Self {
        Self { server, flags, interrupt, buckets: Mutex::default() }
    }

    /// Returns where the files of a version are, which MLflow says are at `location`, and which they are.
    pub(super) fn find(
        &self,
        version: &MlflowVersion,
        location: &str,
    ) -> Result<(Place, Vec<MlflowFile>), CopyError> {
        let in_run = location.strip_prefix("runs:/").map(|rest| rest.trim_matches('/'));
        let in_run = in_run.map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let Some((run_id, path)) = in_run else {
            let found = self.find_at(location);
            return match (found, &version.run_id) {
                (Err(CopyError::Impossible(why)), Some(run_id)) => {
                    let run = self.server.run(run_id)?;
                    let path = location.strip_prefix(&run.artifact_uri).filter(|path| path.starts_with('/'));
                    let path = path.ok_or(CopyError::Impossible(why.clone()))?;
                    self.find_in_run(run_id, path.trim_matches('/'), why)
                }
                (found, _) => found,
            };
        };
        let run = self.server.run(run_id)?;
        let why = match self.find_at(&joined(&run.artifact_uri, path)) {
            Err(CopyError::Impossible(why)) => why,
            found => return found,
        };
        // Such a URI may also name a logged model, whose files are not in the run.
        let (name, below) = path.split_once('/').unwrap_or((path, ""));
        for id in &run.logged_models {
            let (logged, artifact_uri) = self.server.logged_model(id)?;
            if logged == name {
                return self.find_at(&joined(&artifact_uri, below));
            }
        }
        self.find_in_run(run_id, path, why)
    }

    /// Lets the server read the files of a run, or else says why they can't be read without it.
    fn find_in_run(
        &self,
        run_id: &str,
        path: &str,
        why: String,
    ) -> Result<(Place, Vec<MlflowFile>), CopyError> {
        let folder = MlflowFolder::OfRun { run_id: run_id.to_owned(), path: path.to_owned() };
        match self.server.files(&folder) {
            Ok(files) => Ok((Place::Server(folder), files)),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(_) => Err(CopyError::Impossible(why)),
        }
    }

    fn find_at(&self, uri: &str) -> Result<(Place, Vec<MlflowFile>), CopyError> {
        if let Some(folder) = self.server.passed_folder(uri) {
            let files = self.server.files(&folder)?;
            return Ok((Place::Server(folder), files));
        }
        match Location::registered(uri) {
            Some(Location::Object(object)) => self.in_bucket(&object),
            Some(Location::File(path)) => on_disk(self.server, path),
            None if uri.starts_with('/') => on_disk(self.server, uri.into()),
            None => Err(CopyError::Impossible(format!("{uri:?} can't be fetched from here"))),
        }
    }

    fn in_bucket(&self, folder: &ObjectUri) -> Result<(Place, Vec<MlflowFile>), CopyError> {
        let objects = self.bucket(folder)?;
        let below = format!("{}/", folder.key().trim_end_matches('/'));
        let mut files = Vec::new();
        objects.list(folder, &mut |key, _, size_bytes| {
            // Some tools mark a folder by an object of its name.
            if let Some(path) = key.strip_prefix(&below).filter(|path| !path.is_empty()) {
                files.push(MlflowFile { path: path.to_owned(), size_bytes: Some(size_bytes) });
            }
            Ok::<_, CopyError>(())
        })?;
        if files.is_empty() {
            let found = objects.find(folder, &|| self.interrupt.requested())?;
            let found = found.ok_or_else(|| ObjectError::Missing { uri: folder.clone() })?;
            files.push(MlflowFile { path: String::new(), size_bytes: Some(found.size_bytes) });
        }
        Ok((Place::Bucket(objects, folder.to_string()), files))
    }

    fn bucket(&self, uri: &ObjectUri) -> Result<Arc<Objects>, CopyError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(objects) = buckets.iter().find(|objects| objects.serves(uri)) {
            return Ok(Arc::clone(objects));
        }
        let objects = Arc::new(self.flags.connect(uri)?);
        buckets.push(Arc::clone(&objects));
        Ok(objects)
    }

    /// Fetches a file that is not on this machine.
    pub(super) fn fetch(&self, place: &Place, file: &MlflowFile) -> Result<Arrived<'a>, CopyError> {
        let mut arrived = Arrived::empty(self.interrupt).map_err(unwritable)?;
        for attempt in 1.. {
            let mut failed = None;
            let mut take = |bytes: &[u8]| {
                failed = arrived.add(bytes).err();
                failed.is_none() && !self.interrupt.requested()
            };
            let read = self.read_once(place, file, &mut take);
            if let Some(error) = failed {
                return Err(unwritable(error));
            }
            match read {
                Err(CopyError::Ended(_)) if attempt < MAX_ATTEMPTS && !self.interrupt.requested() => {
                    arrived.restart().map_err(unwritable)?;
                }
                read => return read.map(|()| arrived),
            }
        }
        Ok(arrived)
    }

    fn read_once(
        &self,
        place: &Place,
        file: &MlflowFile,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), CopyError> {
        match place {
            Place::Server(folder) => match self.server.read_file(folder, &file.path, take)? {
                true => Ok(()),
                false => Err(CopyError::Ended(super::interrupted())),
            },
            Place::Bucket(objects, folder) => {
                let uri = ObjectUri::parse(&joined(folder, &file.path)).map_err(ObjectError::from)?;
                match file.size_bytes.unwrap_or_default() {
                    0 => Ok(()),
                    size => Ok(objects.read(&uri, 0..size, take, &|| self.interrupt.requested())?),
                }
            }
            Place::Disk(_) => Ok(()),
        }
    }
}

fn unwritable(error: io::Error) -> CopyError {
    let folder = std::env::temp_dir();
    let message = format!("files can't be kept in {} on their way: {error}; set TMPDIR", folder.display());
    CopyError::Ended(Failure::failed(message))
}

fn on_disk(server: &MlflowServer, folder: PathBuf) -> Result<(Place, Vec<MlflowFile>), CopyError> {
    let impossible = |why: &str| CopyError::Impossible(format!("{} {why}", folder.display()));
    if !server.is_on_this_machine() {
        return Err(impossible("is on the disk of another machine"));
    }
    if !folder.join(MODEL_FILE).is_file() {
        return Err(impossible("is no folder with a file MLmodel that can be read here"));
    }
    let mut files = Vec::new();
    list(&folder, Path::new(""), &mut files).map_err(|why| impossible(&why))?;
    Ok((Place::Disk(folder), files))
}

/// Lists the files below a folder, and says why one can't be copied.
fn list(root: &Path, below: &Path, files: &mut Vec<MlflowFile>) -> Result<(), String> {
    let failed = |error: io::Error| format!("can't be read: {error}");
    for entry in fs::read_dir(root.join(below)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (below.join(entry.file_name()), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if kind.is_file() {
            let name = path.to_str().ok_or_else(|| format!("has {}, which is not UTF-8", path.display()))?;
            let size_bytes = Some(entry.metadata().map_err(failed)?.len());
            files.push(MlflowFile { path: name.to_owned(), size_bytes });
        } else {
            return Err(format!("has {}, which is no regular file", path.display()));
        }
        if files.len() > MAX_FILES {
            return Err(format!("has more than {MAX_FILES} files"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_the_folder_of_a_model_is_read_from_this_machine_and_only_for_a_server_on_it() {
        let (here, there) = ["http://localhost:5000", "http://ml.example.org:5000"]
            .map(|url| MlflowServer::new(url, None).unwrap())
            .into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let refused = |server: &MlflowServer| match on_disk(server, path.clone()) {
            Err(CopyError::Impossible(why)) => why,
            other => panic!("{:?}", other.map(|(_, files)| files)),
        };
        fs::create_dir(path.join("data")).unwrap();
        fs::write(path.join("data/secret"), "s").unwrap();
        assert!(refused(&here).ends_with("is no folder with a file MLmodel that can be read here"));
        fs::write(path.join(MODEL_FILE), "flavors: {}").unwrap();
        assert!(refused(&there).ends_with("is on the disk of another machine"));
        let (_, mut files) = on_disk(&here, path.clone()).unwrap();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let expected = [("MLmodel", 11), ("data/secret", 1)]
            .map(|(path, size)| MlflowFile { path: path.to_owned(), size_bytes: Some(size) });
        assert_eq!(files, expected);
        symlink("/etc", path.join("data/link")).unwrap();
        assert!(refused(&here).ends_with("has data/link, which is no regular file"));
    }
}
