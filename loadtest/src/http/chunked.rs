//! Bodies that come in chunks of announced length, however the network cuts them.

use super::Fault;

/// A chunk's length and its extensions.
const MAX_LINE_BYTES: usize = 4096;
/// Fields behind the last chunk, which nobody reads.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Digits of a chunk's length; so many have come.
    Length {
        value: u64,
        digits: u32,
    },
    /// What follows the length, up to the line break.
    Extension {
        value: u64,
        seen: usize,
    },
    /// The line feed behind a length.
    LengthEnd(u64),
    /// So many bytes of the chunk are missing.
    Data(u64),
    DataCr,
    DataLf,
    /// A line behind the last chunk; so many bytes of it, and of all of them.
    Trailer {
        line: usize,
        all: usize,
    },
    TrailerLf {
        line: usize,
        all: usize,
    },
    Done,
}

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub(super) struct Chunked(Part);

impl Chunked {
    pub(super) fn new() -> Self {
        Self(Part::Length { value: 0, digits: 0 })
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.0 == Part::Done
    }

    /// Takes what has come and appends the body's part of it to `body`, which may not grow beyond `max_bytes`.
    /// Returns how much was taken: all of it, unless the body ended before.
    pub(super) fn take(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if let Part::Data(left) = self.0 {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                if body.len() + here > max_bytes {
                    return Err(Fault::TooLarge("its body"));
                }
                body.extend_from_slice(&input[at..at + here]);
                at += here;
                self.0 = match left - here as u64 {
                    0 => Part::DataCr,
                    left => Part::Data(left),
                };
                continue;
            }
            if self.is_done() {
                break;
            }
            self.0 = self.0.after(byte)?;
            at += 1;
        }
        Ok(at)
    }
}

impl Part {
    fn after(self, byte: u8) -> Result<Self, Fault> {
        let malformed = Err(Fault::Malformed("its chunks"));
        Ok(match (self, byte) {
            (Self::Length { value, digits }, byte) => match (char::from(byte).to_digit(16), byte) {
                (Some(digit), _) if digits < 15 => {
                    Self::Length { value: value * 16 + u64::from(digit), digits: digits + 1 }
                }
                (None, b'\r') if digits > 0 => Self::LengthEnd(value),
                (None, b';' | b' ' | b'\t') if digits > 0 => Self::Extension { value, seen: 0 },
                _ => return malformed,
            },
            (Self::Extension { value, .. }, b'\r') => Self::LengthEnd(value),
            (Self::Extension { .. }, b'\n') => return malformed,
            (Self::Extension { seen, .. }, _) if seen >= MAX_LINE_BYTES => return malformed,
            (Self::Extension { value, seen }, _) => Self::Extension { value, seen: seen + 1 },
            (Self::LengthEnd(0), b'\n') => Self::Trailer { line: 0, all: 0 },
            (Self::LengthEnd(value), b'\n') => Self::Data(value),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Length { value: 0, digits: 0 },
            (Self::Trailer { line, all }, b'\r') => Self::TrailerLf { line, all },
            (Self::Trailer { .. }, b'\n') => return malformed,
            (Self::Trailer { all, .. }, _) if all >= MAX_TRAILER_BYTES => return malformed,
            (Self::Trailer { line, all }, _) => Self::Trailer { line: line + 1, all: all + 1 },
            (Self::TrailerLf { line: 0, .. }, b'\n') => Self::Done,
            (Self::TrailerLf { all, .. }, b'\n') => Self::Trailer { line: 0, all },
            _ => return malformed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// The body and what is left behind it, where the input comes in the given pieces.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, bool, usize), Fault> {
        let (mut chunked, mut body, mut left) = (Chunked::new(), Vec::new(), 0);
        for piece in pieces {
            left += piece.len() - chunked.take(piece, &mut body, MAX)?;
        }
        Ok((body, chunked.is_done(), left))
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in prop::sample::select(vec!["", ";a=b", " ", ";x=\"1;2\""]),
            trailer in prop::sample::select(vec!["", "X-A: b\r\n", "X-A: b\r\nX-C: d\r\n"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            behind in prop::sample::select(vec!["", "H"]),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n{behind}").as_bytes());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]);
            prop_assert_eq!(read(pieces), Ok((chunks.concat(), true, behind.len())));
        }

        #[test]
        fn garbage_brings_an_error_or_a_wait_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read([bytes.as_slice()]);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wire in
            ["\r\n", "g\r\n", "1\r\nab", "1\r\na\n", "1\n", "ffffffffffffffff\r\n", "0\r\nX\n", "-1\r\n"]
        {
            assert_eq!(read([wire.as_bytes()]), Err(Fault::Malformed("its chunks")), "{wire:?}");
        }
        assert_eq!(read([b"fffffff\r\n".as_slice(), &[0; MAX + 1]]), Err(Fault::TooLarge("its body")));
    }

    #[test]
    fn half_a_body_is_not_done() {
        assert_eq!(read([b"3\r\nab".as_slice()]), Ok((b"ab".to_vec(), false, 0)));
    }
}
