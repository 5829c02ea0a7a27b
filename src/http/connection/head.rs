//! The part of a request's head that has arrived, and a check of its line ends.
//!
//! actix ends a line at a bare line feed, as RFC 9112 permits. A proxy that takes the line feed for part of a value
//! would see other headers than this server, and could be made to smuggle a request. So a bare line feed is refused.
//! The check covers the first head after a pause, which is where a proxy that reuses connections puts one.

/// Follows one head; [`PartialHead::default`] begins the next.
#[derive(Debug, Default)]
pub(super) struct PartialHead {
    /// Bytes since the last request began. They may include the beginning of its body.
    pub(super) bytes: usize,
    line_bytes: usize,
    has_line: bool,
    is_complete: bool,
    last: u8,
}

impl PartialHead {
    /// Adds what has arrived. Returns false if the head contains a bare line feed.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        self.bytes += bytes.len();
        for byte in bytes {
            if self.is_complete {
                break;
            }
            if *byte == b'\n' {
                if self.last != b'\r' {
                    return false;
                }
                // An empty line ends the head, unless old clients sent it in front.
                let is_empty = self.line_bytes == 1;
                self.is_complete = is_empty && self.has_line;
                self.has_line |= !is_empty;
                self.line_bytes = 0;
            } else {
                self.line_bytes += 1;
            }
            self.last = *byte;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_need_a_carriage_return_in_the_head_and_not_in_the_body() {
        for (text, is_sound) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n{\n}\n", true),
            ("GET / HTTP/1.1\nHost: x\n\n", false),
            ("GET / HTTP/1.1\r\nA: b\nContent-Length: 9\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", false),
            ("\nGET / HTTP/1.1\r\n\r\n", false),
        ] {
            for piece_bytes in [1, 2, 3, text.len()] {
                let mut head = PartialHead::default();
                let sound = text.as_bytes().chunks(piece_bytes).all(|piece| head.add(piece));
                assert_eq!(sound, is_sound, "{text:?} in pieces of {piece_bytes}");
            }
        }
    }
}
