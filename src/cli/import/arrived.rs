//! A file on its way from MLflow to the registry: its bytes, with their digest.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{cli::interrupt::Interrupt, client::Source, domain::Digest};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// The bytes that have arrived.
pub(super) struct Arrived<'i> {
    file: File,
    hasher: Sha256,
    size_bytes: u64,
    interrupt: &'i Interrupt,
}

impl<'i> Arrived<'i> {
    /// Creates one without bytes. They are kept in a temporary file, which is gone with it.
    pub(super) fn empty(interrupt: &'i Interrupt) -> io::Result<Self> {
        Ok(Self::of(tempfile::tempfile()?, interrupt))
    }

    /// Reads a file of this machine, which keeps the bytes itself.
    pub(super) fn on_disk(path: &Path, interrupt: &'i Interrupt) -> io::Result<Self> {
        let mut arrived = Self::of(File::open(path)?, interrupt);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = BytesFrom { of: &arrived, offset: arrived.size_bytes }.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
                return Ok(arrived);
            };
            arrived.hasher.update(bytes);
            arrived.size_bytes += length as u64;
        }
    }

    fn of(file: File, interrupt: &'i Interrupt) -> Self {
        Self { file, hasher: Sha256::new(), size_bytes: 0, interrupt }
    }

    /// Forgets the bytes that have arrived.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hasher, self.size_bytes) = (Sha256::new(), 0);
        Ok(())
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }
}

impl Source for Arrived<'_> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(BytesFrom { of: self, offset }))
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.requested()
    }

    fn progress(&self, _arrived_bytes: u64, _location: &str) {}
}

/// Reads from an offset on, until the user stops the command.
struct BytesFrom<'f> {
    of: &'f Arrived<'f>,
    offset: u64,
}

impl Read for BytesFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.of.is_stopped() {
            // Not `Interrupted`, after which some readers go on.
            return Err(io::Error::other("stopped"));
        }
        let length = self.of.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
