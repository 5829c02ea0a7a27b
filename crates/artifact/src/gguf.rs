//! How many bytes a GGUF file must have, by its header.
//!
//! The format is described in <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::{error::ArtifactError, open_file::OpenFile};

/// The first bytes of a GGUF file.
pub(super) const START: &[u8] = b"GGUF";
/// The longest header that is read, in bytes. Vocabularies take a few megabytes.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// How much of the header is read at once, in bytes.
const CHUNK_BYTES: u64 = 256 << 10;
/// How tensors are aligned unless the header says otherwise, in bytes.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &[u8] = b"general.alignment";
const TYPE_U32: u32 = 4;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

impl OpenFile {
    /// Checks that a GGUF file has all tensors that its header names.
    ///
    /// # Errors
    /// [`ArtifactError::CutOff`], [`ArtifactError::Unreadable`].
    pub(super) fn check_gguf(&self) -> Result<(), ArtifactError> {
        let mut header = Header { file: self, at: 0, chunk: Vec::new(), chunk_at: 0 };
        let announced = match header.announced_bytes() {
            Ok(Some(announced)) => announced,
            // Another version of the format, or a header that no tool writes.
            Ok(None) => return Ok(()),
            Err(Stop::End) => return Err(self.cut_off("its header does not end".to_owned())),
            Err(Stop::TooLong) => return Ok(()),
            Err(Stop::Failed(error)) => return Err(error),
        };
        if announced > self.size_bytes() {
            return Err(self.cut_off(format!(
                "its header announces {announced} bytes, and it has {}",
                self.size_bytes()
            )));
        }
        Ok(())
    }

    fn cut_off(&self, reason: String) -> ArtifactError {
        ArtifactError::CutOff { path: self.path().to_owned(), reason }
    }
}

/// Why a header can't be read on.
enum Stop {
    /// The file ends.
    End,
    TooLong,
    Failed(ArtifactError),
}

struct Header<'f> {
    file: &'f OpenFile,
    at: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl Header<'_> {
    /// Returns the end of the last tensor; `None` if the header is of another version.
    fn announced_bytes(&mut self) -> Result<Option<u64>, Stop> {
        let start = self.u32()?.to_le_bytes();
        if start != START || !matches!(self.u32()?, 2 | 3) {
            return Ok(None);
        }
        let (tensors, pairs) = (self.u64()?, self.u64()?);
        let mut alignment = DEFAULT_ALIGNMENT;
        for _ in 0..pairs {
            let is_alignment = self.string()? == ALIGNMENT_KEY;
            match self.u32()? {
                TYPE_U32 if is_alignment => alignment = self.u32()?.into(),
                kind => {
                    if !self.skip_value(kind)? {
                        return Ok(None);
                    }
                }
            }
        }
        let mut data_bytes = 0;
        for _ in 0..tensors {
            self.string()?;
            let dimensions = self.u32()?;
            let mut elements = 1_u64;
            for _ in 0..dimensions {
                elements = elements.saturating_mul(self.u64()?);
            }
            let size = tensor_bytes(self.u32()?, elements);
            let end = self.u64()?.saturating_add(size);
            data_bytes = end.max(data_bytes);
        }
        let aligned = self.at.checked_next_multiple_of(alignment).unwrap_or(self.at);
        Ok(Some(if tensors == 0 { self.at } else { aligned.saturating_add(data_bytes) }))
    }

    /// Skips a value. Returns false if its type is unknown.
    fn skip_value(&mut self, kind: u32) -> Result<bool, Stop> {
        match (kind, scalar_bytes(kind)) {
            (_, Some(size)) => self.skip(size)?,
            (TYPE_STRING, _) => drop(self.string()?),
            (TYPE_ARRAY, _) => {
                let (kind, count) = (self.u32()?, self.u64()?);
                match (kind, scalar_bytes(kind)) {
                    (_, Some(size)) => self.skip(size.saturating_mul(count))?,
                    (TYPE_STRING, _) => {
                        for _ in 0..count {
                            let length = self.u64()?;
                            self.skip(length)?;
                        }
                    }
                    // No tool writes arrays of arrays.
                    _ => return Ok(false),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N as u64)?.first_chunk().copied().ok_or(Stop::End)
    }

    fn string(&mut self) -> Result<Vec<u8>, Stop> {
        let length = self.u64()?;
        // Only keys and names are kept, which are short.
        if length > CHUNK_BYTES {
            self.skip(length)?;
            return Ok(Vec::new());
        }
        Ok(self.take(length)?.to_vec())
    }

    fn skip(&mut self, length: u64) -> Result<(), Stop> {
        self.at = self.at.saturating_add(length);
        if self.at > self.file.size_bytes() { Err(Stop::End) } else { Ok(()) }
    }

    /// Returns the next bytes, at most [`CHUNK_BYTES`].
    fn take(&mut self, length: u64) -> Result<&[u8], Stop> {
        let from = self.at;
        self.skip(length)?;
        if self.at > MAX_HEADER_BYTES {
            return Err(Stop::TooLong);
        }
        if from < self.chunk_at || self.at > self.chunk_at + self.chunk.len() as u64 {
            self.chunk = self
                .file
                .bytes(from, CHUNK_BYTES.min(self.file.size_bytes() - from))
                .map_err(Stop::Failed)?;
            self.chunk_at = from;
        }
        let start = usize::try_from(from - self.chunk_at).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        self.chunk.get(start..end).ok_or(Stop::End)
    }
}

/// Returns the size of a value of metadata; `None` for strings, arrays and unknown types.
fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Returns the size of a tensor, by `ggml_type`. Of an unknown type it is 0, so that only the tensor's start is checked.
fn tensor_bytes(kind: u32, elements: u64) -> u64 {
    // Elements in a block, and bytes of a block.
    let (block, bytes) = match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        24 => (1, 1),
        27 | 28 => (1, 8),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        29 => (256, 56),
        34 => (256, 54),
        35 => (256, 66),
        39 => (32, 17),
        _ => return 0,
    };
    (elements / block).saturating_mul(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Writes strings with their lengths and numbers, little-endian.
    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    /// A file with a vocabulary, one tensor of 64 elements as F32 and one as Q4_0, and the alignment.
    fn gguf(alignment: Option<u32>) -> Vec<u8> {
        let (four, eight) = (u32::to_le_bytes, u64::to_le_bytes);
        let mut bytes = [START, &four(3), &eight(2), &eight(1 + u64::from(alignment.is_some()))].concat();
        bytes.extend([string("tokens"), four(TYPE_ARRAY).to_vec(), four(TYPE_STRING).to_vec()].concat());
        bytes.extend([&eight(2)[..], &string("hello"), &string("")].concat());
        if let Some(alignment) = alignment {
            bytes.extend([&string("general.alignment")[..], &four(TYPE_U32), &four(alignment)].concat());
        }
        for (name, kind, offset) in [("a", 0, 0), ("b", 2, 256)] {
            bytes.extend(
                [&string(name)[..], &four(2), &eight(32), &eight(2), &four(kind), &eight(offset)].concat(),
            );
        }
        bytes.resize(bytes.len().next_multiple_of(alignment.unwrap_or(32) as usize) + 256 + 36, 7);
        bytes
    }

    #[test]
    fn a_gguf_file_has_all_that_its_header_announces() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = folder.path().join("m.gguf");
            fs::write(&path, bytes).unwrap();
            OpenFile::open(path).unwrap().check_complete().map_err(|error| error.to_string())
        };
        for alignment in [None, Some(64)] {
            let whole = gguf(alignment);
            assert_eq!(check(&whole), Ok(()));
            assert_eq!(check(&[&whole[..], &[0; 20]].concat()), Ok(()), "padded");
            for length in 0..whole.len() {
                let refused = check(&whole[..length]).unwrap_err();
                assert!(refused.contains("is cut off: its header"), "{length}: {refused}");
            }
        }
        // Versions and counts that can't be read.
        let mut other = gguf(None);
        other[4] = 9;
        assert_eq!(check(&other), Ok(()));
        let mut endless = gguf(None);
        endless[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(check(&endless).is_err());
    }
}
