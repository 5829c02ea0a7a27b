//! Bodies in chunks, decoded from a buffer that grows.

use super::ExchangeError;

/// The length of a chunk with its extensions, or the trailer after the last chunk.
const MAX_LINES_BYTES: usize = 16 * 1024;

/// A position in a chunked body.
#[derive(Debug)]
pub(super) struct Chunked {
    /// The first byte of the buffer that is not decoded yet.
    pub(super) at: usize,
}

impl Chunked {
    /// Appends the complete chunks of `buffer` to `body`, which may hold `max_bytes`. Returns true once the body has
    /// ended, at [`Self::at`].
    pub(super) fn decode(
        &mut self,
        buffer: &[u8],
        body: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<bool, ExchangeError> {
        const MALFORMED: ExchangeError = ExchangeError::Malformed("its chunks");
        loop {
            let rest = &buffer[self.at..];
            // httparse takes an empty length for 0.
            if rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
                return Err(MALFORMED);
            }
            let (head, length) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((head, length))) => (head, length),
                Ok(httparse::Status::Partial) if rest.len() <= MAX_LINES_BYTES => return Ok(false),
                _ => return Err(MALFORMED),
            };
            if length > (max_bytes - body.len()) as u64 {
                return Err(ExchangeError::TooLarge("its body"));
            }
            if length == 0 {
                // The line break of the length ends an empty trailer too.
                let trailer = rest[head - 2..].windows(4).position(|bytes| bytes == b"\r\n\r\n");
                return match trailer {
                    Some(trailer) => {
                        self.at += head + 2 + trailer;
                        Ok(true)
                    }
                    None if rest.len() <= MAX_LINES_BYTES => Ok(false),
                    None => Err(MALFORMED),
                };
            }
            let end = head + usize::try_from(length).unwrap_or(usize::MAX);
            if rest.len() < end + 2 {
                return Ok(false);
            }
            if &rest[end..end + 2] != b"\r\n" {
                return Err(MALFORMED);
            }
            body.extend_from_slice(&rest[head..end]);
            self.at += end + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// Decodes `wire` as it arrives up to each cut: the body, whether it has ended, and the bytes behind it.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), ExchangeError> {
        let (mut chunked, mut body, mut done) = (Chunked { at: 0 }, Vec::new(), false);
        for cut in cuts.iter().copied().chain([wire.len()]) {
            done = done || chunked.decode(&wire[..cut], &mut body, MAX)?;
        }
        Ok((body, done, wire.len() - chunked.at))
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_arrives(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in prop::sample::select(vec!["", ";a=b", ";x=\"1;2\""]),
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
            cuts.sort_unstable();
            prop_assert_eq!(decode(&wire, &cuts), Ok((chunks.concat(), true, behind.len())));
        }

        #[test]
        fn garbage_is_an_error_or_incomplete_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes, &[]);
        }
    }

    #[test]
    fn malformed_and_huge_chunks_are_refused() {
        for wire in ["\r\n", "g\r\n", "1\r\nab\r\n", "1\r\na\n\n", "ffffffffffffffffff\r\n", "-1\r\n"] {
            assert_eq!(decode(wire.as_bytes(), &[]), Err(ExchangeError::Malformed("its chunks")), "{wire:?}");
        }
        assert_eq!(decode(b"fffffff\r\n", &[]), Err(ExchangeError::TooLarge("its body")));
        assert_eq!(decode(b"3\r\nab", &[]), Ok((Vec::new(), false, 5)));
    }
}
