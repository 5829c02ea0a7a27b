//! Where the bytes of a version are: the registry's store, an object store, another HTTP server, or local files.
//!
//! A source reads ranges of files. It knows neither the cache nor the destination, and trusts nothing: who reads compares digests.

use std::{fmt, fs::File, ops::Range, os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    super::{exit::Failure, location::Location, object_flags::ObjectFlags, print},
    plan::{Base, Plan, WantedFile},
};
use crate::{
    artifact::objects::{ObjectError, ObjectUri, Objects},
    client::{Client, DownloadError, Downloader, Incoming},
};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Characters of a path that a URL can't have as they are.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// Where the bytes of a version are.
pub(in crate::cli) struct Source {
    place: Place,
    base: Base,
}

enum Place {
    Registry {
        downloader: Downloader,
        model: String,
    },
    Web {
        downloader: Downloader,
        base: String,
    },
    Objects {
        objects: Objects,
        base: String,
    },
    Files(PathBuf),
    /// Only the cache, because of this.
    Nowhere(String),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Takes bytes in order.
pub(in crate::cli) trait Sink {
    /// Returns where the next bytes go; empty if no more are wanted.
    fn space(&mut self) -> &mut [u8];

    /// Takes what was put there.
    ///
    /// # Errors
    /// If the bytes can't be kept, or the pull ends.
    fn filled(&mut self, length: usize) -> Result<(), Failure>;
}

/// Why a read failed.
#[derive(Debug)]
pub(in crate::cli) enum ReadError {
    /// It may succeed later; perhaps not before this time has passed.
    Transient(Failure, Option<Duration>),
    /// The server only sends whole files.
    NoRanges,
    /// There is nothing at this place.
    Missing(Failure),
    Final(Failure),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

impl From<DownloadError> for ReadError {
    fn from(error: DownloadError) -> Self {
        let is_transient = error.is_transient();
        match error {
            DownloadError::NoRanges { .. } => Self::NoRanges,
            DownloadError::Missing { .. } => Self::Missing(error.into()),
            DownloadError::Unavailable { retry_after, .. } => Self::Transient(error.into(), retry_after),
            _ if is_transient => Self::Transient(error.into(), None),
            _ => Self::Final(error.into()),
        }
    }
}

impl From<ObjectError> for ReadError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Unreachable { .. } | ObjectError::Unavailable { .. } => {
                Self::Transient(error.into(), None)
            }
            ObjectError::Missing { .. } => Self::Missing(error.into()),
            _ => Self::Final(error.into()),
        }
    }
}

impl Source {
    /// Returns the source of a version: the registry's store if it has the files, else the location of the artifact.
    ///
    /// # Errors
    /// If flags or variables of the object store are wrong.
    pub(in crate::cli) fn of(plan: &Plan, client: &Client, flags: &ObjectFlags) -> Result<Self, Failure> {
        if plan.version["stored"] == true {
            let place = Place::Registry { downloader: client.downloader(), model: plan.model().to_owned() };
            return Ok(Self { place, base: Base::Folder });
        }
        let uri = plan.version["artifact_uri"].as_str().unwrap_or_default().trim();
        let base = uri.trim_end_matches('/');
        let place = if uri.starts_with("https://") || uri.starts_with("http://") {
            Place::Web { downloader: Downloader::of_any(), base: base.to_owned() }
        } else if ObjectUri::has_known_scheme(uri) {
            // The folder may be the bucket itself.
            let any = match plan.files.first().filter(|_| plan.base == Base::Folder) {
                Some(file) => format!("{base}/{}", file.path),
                None => base.to_owned(),
            };
            let uri = ObjectUri::parse(&any).map_err(ObjectError::from)?;
            Place::Objects { objects: flags.connect(&uri)?, base: base.to_owned() }
        } else if let Some(Location::File(path)) = Location::registered(uri) {
            Place::Files(path)
        } else {
            Place::Nowhere(print::one_line(&format!(
                "the registry has no bytes of {}, and its artifact is registered as {uri:?}, which can't be fetched from here",
                plan.label()
            )))
        };
        let base = match &place {
            Place::Files(path) if path.is_dir() => Base::Folder,
            Place::Files(_) if plan.base == Base::Either => Base::File,
            _ => plan.base,
        };
        Ok(Self { place, base })
    }

    /// Returns a source that has nothing, because of `why`.
    pub(in crate::cli) fn nowhere(why: &str) -> Self {
        Self { place: Place::Nowhere(why.to_owned()), base: Base::Folder }
    }

    /// Returns true if its server may send only whole files.
    pub(in crate::cli) fn may_lack_ranges(&self) -> bool {
        matches!(self.place, Place::Web { .. })
    }

    /// Reads a range of a file into `sink`, until it has enough.
    ///
    /// # Errors
    /// [`ReadError`]; `sink` keeps what it has got.
    pub(in crate::cli) fn read(
        &self,
        file: &WantedFile,
        range: Range<u64>,
        sink: &mut dyn Sink,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), ReadError> {
        let size_bytes = file.size_bytes;
        match &self.place {
            Place::Registry { downloader, model } => {
                drain(downloader.blob(model, file.sha256, size_bytes, range)?, 0, sink)
            }
            Place::Web { downloader, base } => self.at(base, &escaped(&file.path), |url| {
                drain(downloader.url(url, size_bytes, range.clone())?, 0, sink)
            }),
            Place::Objects { objects, base } => {
                self.at(base, &file.path, |uri| read_object(objects, uri, range.clone(), sink, stopped))
            }
            Place::Files(path) => {
                let path = if self.base == Base::File { path.clone() } else { path.join(&file.path) };
                read_file(&path, range.start, sink)
            }
            Place::Nowhere(why) => {
                Err(Failure::failed(format!("{}: {why}", print::one_line(&file.path))).into())
            }
        }
    }

    /// Reads a whole file from a server that sends no ranges, and drops what comes before `start`.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(in crate::cli) fn read_whole(
        &self,
        file: &WantedFile,
        start: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let Place::Web { downloader, base } = &self.place else { return Err(ReadError::NoRanges) };
        self.at(base, &escaped(&file.path), |url| {
            drain(downloader.url(url, file.size_bytes, 0..file.size_bytes)?, start, sink)
        })
    }

    /// Reads from the place of a file, of which `base` may be the folder.
    fn at(
        &self,
        base: &str,
        path: &str,
        mut read: impl FnMut(&str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let in_folder = format!("{base}/{path}");
        match self.base {
            Base::File => read(base),
            Base::Folder => read(&in_folder),
            Base::Either => match read(base) {
                Err(ReadError::Missing(_)) => read(&in_folder),
                other => other,
            },
        }
    }

    /// Ends all connections, so that no thread waits for them.
    pub(in crate::cli) fn shut_down(&self) {
        if let Place::Registry { downloader, .. } | Place::Web { downloader, .. } = &self.place {
            downloader.shutdown();
        }
    }
}

fn escaped(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

fn read_object(
    objects: &Objects,
    uri: &str,
    range: Range<u64>,
    sink: &mut dyn Sink,
    stopped: &dyn Fn() -> bool,
) -> Result<(), ReadError> {
    let uri = ObjectUri::parse(uri).map_err(ObjectError::from)?;
    let mut failure = None;
    let take = |mut chunk: &[u8]| {
        while !chunk.is_empty() {
            let space = sink.space();
            let length = space.len().min(chunk.len());
            if length == 0 {
                break;
            }
            space[..length].copy_from_slice(&chunk[..length]);
            if let Err(why) = sink.filled(length) {
                failure = Some(why);
                return false;
            }
            chunk = &chunk[length..];
        }
        true
    };
    let read = objects.read(&uri, range, take, stopped);
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(read?),
    }
}

/// Passes on the bytes of an answer after the first `skipped`.
fn drain(mut incoming: Incoming, mut skipped: u64, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let mut scrap = vec![0; if skipped > 0 { READ_BYTES } else { 0 }];
    while skipped > 0 {
        let limit = usize::try_from(skipped).unwrap_or(usize::MAX).min(scrap.len());
        match incoming.read(&mut scrap[..limit])? {
            0 => return Ok(()),
            length => skipped -= length as u64,
        }
    }
    loop {
        let space = sink.space();
        let limit = space.len().min(READ_BYTES);
        if limit == 0 {
            return Ok(());
        }
        match incoming.read(&mut space[..limit])? {
            0 => return Ok(()),
            length => sink.filled(length)?,
        }
    }
}

fn read_file(path: &std::path::Path, start: u64, sink: &mut dyn Sink) -> Result<(), ReadError> {
    let failed = |error| Failure::failed(format!("{} can't be read: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let mut at = start;
    loop {
        let space = sink.space();
        let limit = space.len().min(READ_BYTES);
        if limit == 0 {
            return Ok(());
        }
        match file.read_at(&mut space[..limit], at).map_err(failed)? {
            0 => {
                return Err(
                    Failure::failed(format!("{} ends too early, at byte {at}", path.display())).into()
                );
            }
            length => {
                at += length as u64;
                sink.filled(length)?;
            }
        }
    }
}
