//! Whether a file is what it seems: not a pointer of Git LFS, not cut off, and an index with all its shards.
//!
//! Little is read: a header, the end of an archive, an index.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{error::ArtifactError, gguf, open_file::OpenFile};

/// The longest pointer of Git LFS, in bytes.
const MAX_POINTER_BYTES: u64 = 1024;
const POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// The longest header of a safetensors file, in bytes, as its own library allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The longest index that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The end record of a ZIP archive with the longest comment, in bytes.
const MAX_ZIP_END_BYTES: u64 = 22 + 65_535;
const ZIP_START: &[u8] = b"PK\x03\x04";
const ZIP_END: &[u8] = b"PK\x05\x06";

impl OpenFile {
    /// Checks that the file is whole, as far as its beginning and its end tell.
    ///
    /// # Errors
    /// [`ArtifactError::LfsPointer`]; [`ArtifactError::CutOff`] for a safetensors or GGUF file or a PyTorch archive that has fewer
    /// bytes than it announces.
    pub fn check_complete(&self) -> Result<(), ArtifactError> {
        let start = self.bytes(0, MAX_POINTER_BYTES.min(self.size_bytes()))?;
        if start.starts_with(POINTER_START) {
            return Err(ArtifactError::LfsPointer { path: self.path().to_owned() });
        }
        let name = self.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.ends_with(".safetensors") {
            self.check_safetensors(&start)
        } else if start.starts_with(ZIP_START) {
            self.check_zip()
        } else if start.starts_with(gguf::START) || name.ends_with(".gguf") {
            self.check_gguf()
        } else {
            Ok(())
        }
    }

    fn check_safetensors(&self, start: &[u8]) -> Result<(), ArtifactError> {
        let cut_off = |reason: String| ArtifactError::CutOff { path: self.path().to_owned(), reason };
        let Some(length) = start.first_chunk::<8>() else {
            return Err(cut_off(format!("it has {} bytes and no header", self.size_bytes())));
        };
        let header_bytes = u64::from_le_bytes(*length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > self.size_bytes() {
            return Err(cut_off(format!(
                "its header announces {header_bytes} bytes, and {} follow",
                self.size_bytes().saturating_sub(8)
            )));
        }
        let header: Value = serde_json::from_slice(&self.bytes(8, header_bytes)?)
            .map_err(|_| cut_off("its header is not JSON".to_owned()))?;
        let tensors = header.as_object().into_iter().flatten().filter(|(name, _)| *name != "__metadata__");
        let end = |tensor: &Value| tensor.get("data_offsets")?.get(1)?.as_u64();
        let data_bytes = tensors.filter_map(|(_, tensor)| end(tensor)).max().unwrap_or_default();
        let announced = data_bytes.saturating_add(header_bytes).saturating_add(8);
        if announced > self.size_bytes() {
            return Err(cut_off(format!(
                "its header announces {announced} bytes, and it has {}",
                self.size_bytes()
            )));
        }
        Ok(())
    }

    fn check_zip(&self) -> Result<(), ArtifactError> {
        let tail_bytes = MAX_ZIP_END_BYTES.min(self.size_bytes());
        let tail = self.bytes(self.size_bytes() - tail_bytes, tail_bytes)?;
        if tail.windows(ZIP_END.len()).any(|window| window == ZIP_END) {
            return Ok(());
        }
        let reason = "it is a ZIP archive without its end".to_owned();
        Err(ArtifactError::CutOff { path: self.path().to_owned(), reason })
    }

    /// Returns the files that an index of shards names, relative to its folder. `None` if it is not such an index.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`], [`ArtifactError::Unreadable`].
    pub fn shards(&self) -> Result<Option<BTreeSet<String>>, ArtifactError> {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        if !name.ends_with(".index.json") {
            return Ok(None);
        }
        if self.size_bytes() > MAX_INDEX_BYTES {
            return Err(ArtifactError::TooLarge {
                path: self.path().to_owned(),
                limit_bytes: MAX_INDEX_BYTES,
            });
        }
        let index: Option<Value> = serde_json::from_slice(&self.bytes(0, self.size_bytes())?).ok();
        let weights = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
        Ok(weights
            .map(|weights| weights.values().filter_map(|shard| shard.as_str().map(str::to_owned)).collect()))
    }

    pub(super) fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, ArtifactError> {
        let unreadable = |source| ArtifactError::Unreadable { path: self.path().to_owned(), source };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let filled = self.fill(&mut bytes, offset).map_err(unreadable)?;
        bytes.truncate(filled);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(name: &str, content: &[u8]) -> OpenFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        OpenFile::open(path).unwrap()
    }

    fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat()
    }

    #[test]
    fn files_that_are_cut_off_are_refused() {
        let header = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let whole = safetensors(header, 8);
        let zip = [ZIP_START, &[0; 100], ZIP_END, &[0; 18]].concat();
        for (name, content, problem) in [
            ("m.safetensors", whole.clone(), None),
            ("m.safetensors", safetensors("{}", 0), None),
            ("m.safetensors", whole[..whole.len() - 1].to_vec(), Some("announces 95 bytes, and it has 94")),
            ("m.safetensors", whole[..20].to_vec(), Some("announces 79 bytes, and 12 follow")),
            ("m.safetensors", whole[..7].to_vec(), Some("it has 7 bytes and no header")),
            ("m.safetensors", u64::MAX.to_le_bytes().to_vec(), Some("and 0 follow")),
            ("m.safetensors", safetensors("{", 0), Some("not JSON")),
            ("M.SAFETENSORS", vec![0; 7], Some("no header")),
            ("m.pt", zip.clone(), None),
            ("m.pt", zip[..100].to_vec(), Some("without its end")),
            ("m.pt", b"\x80\x02}".to_vec(), None),
            ("README.md", b"version 1".to_vec(), None),
            (
                "model.bin",
                [POINTER_START, b"oid sha256:00\nsize 5\n"].concat(),
                Some("is a pointer of Git LFS"),
            ),
        ] {
            match (open(name, &content).check_complete(), problem) {
                (Ok(()), None) => {}
                (Err(error), Some(problem)) => {
                    assert!(error.to_string().contains(problem), "{name}: {error}")
                }
                (checked, _) => panic!("{name} {}: {checked:?}", content.len()),
            }
        }
    }

    #[test]
    fn an_index_names_its_shards() {
        let index = br#"{"metadata":{},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-1.safetensors"}}"#;
        let shards = open("model.safetensors.index.json", index).shards().unwrap().unwrap();
        assert_eq!(shards.into_iter().collect::<Vec<_>>(), ["m-1.safetensors", "m-2.safetensors"]);
        assert_eq!(open("config.json", index).shards().unwrap(), None);
        assert_eq!(open("other.index.json", b"[1]").shards().unwrap(), None);
    }
}
