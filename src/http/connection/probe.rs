//! The framing of requests as a fuzzer drives it. Built for fuzzers only; the tests of `framing` hold more against it.

use super::framing::{Framing, Malformed};

/// Any bytes are judged, and in the same way however they are cut into pieces; the first byte says how.
///
/// # Panics
/// Where that does not hold.
pub fn framing(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else { return };
    let verdict = |size: usize| {
        let mut framing = Framing::new();
        for piece in stream.chunks(size) {
            framing.take(piece).map_err(|(malformed, _)| malformed)?;
        }
        Ok::<_, Malformed>((framing.stage(), framing.requests()))
    };
    let whole = verdict(stream.len().max(1));
    assert_eq!(verdict(usize::from(*size).max(1)), whole);
    assert_eq!(verdict(1), whole);
}
