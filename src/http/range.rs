//! The ranges of bytes that a request asks for.

/// The part of a content that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// All of it: there is no `Range`, or one that is not understood, which may be ignored.
    Whole,
    /// From the first byte to before the second.
    Part(u64, u64),
    /// It begins beyond the end.
    Unsatisfiable,
}

impl ByteRange {
    /// Reads a `Range` for a content of this size. Several ranges are answered with all of the content, as RFC 9110 permits.
    pub(super) fn read(header: Option<&str>, size_bytes: u64) -> Self {
        let range = header.and_then(|header| {
            let (unit, range) = header.split_once('=')?;
            let is_one = unit.trim().eq_ignore_ascii_case("bytes") && !range.contains(',');
            range.trim().split_once('-').filter(|_| is_one)
        });
        let number = |text: &str| match text.trim() {
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() => {
                // A number that is too large for any content.
                Some(digits.parse().unwrap_or(u64::MAX))
            }
            _ => None,
        };
        match range {
            Some((first, last)) if first.trim().is_empty() => match number(last) {
                None => Self::Whole,
                Some(0) => Self::Unsatisfiable,
                Some(_) if size_bytes == 0 => Self::Unsatisfiable,
                Some(length) => Self::Part(size_bytes.saturating_sub(length), size_bytes),
            },
            Some((first, last)) => {
                let last = if last.trim().is_empty() { Some(u64::MAX) } else { number(last) };
                match (number(first), last) {
                    (Some(first), Some(last)) if first > last => Self::Whole,
                    (Some(first), Some(_)) if first >= size_bytes => Self::Unsatisfiable,
                    (Some(first), Some(last)) => Self::Part(first, last.saturating_add(1).min(size_bytes)),
                    _ => Self::Whole,
                }
            }
            None => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteRange::*, *};

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        for (header, expected) in [
            ("bytes=0-0", Part(0, 1)),
            ("bytes=0-9", Part(0, 10)),
            ("bytes=5-", Part(5, 10)),
            ("bytes=5-99999999999999999999999", Part(5, 10)),
            ("bytes=-3", Part(7, 10)),
            ("bytes=-30", Part(0, 10)),
            ("Bytes= 2-3 ", Part(2, 4)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=3-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("items=0-1", Whole),
            ("bytes=a-1", Whole),
            ("bytes=-", Whole),
            ("bytes", Whole),
            ("bytes=+1-2", Whole),
        ] {
            assert_eq!(ByteRange::read(Some(header), 10), expected, "{header}");
        }
        assert_eq!(ByteRange::read(None, 10), Whole);
        assert_eq!(ByteRange::read(Some("bytes=0-"), 0), Unsatisfiable);
        assert_eq!(ByteRange::read(Some("bytes=-1"), 0), Unsatisfiable);
    }
}
