//! The head of an answer: its status, how its body ends, and whether the connection can be used again.

use std::ops::Range;

use super::Fault;

/// More fields than any server or proxy sends.
const MAX_FIELDS: usize = 64;
pub(super) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// A page of 200 versions with the largest metrics stays far below.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What the head of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length, with the empty line.
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// Where in the buffer the URL of the next page stands.
    pub(super) next: Option<Range<usize>>,
}

/// Reads a head; `None` where it has not come whole. What announces another answer (100, 103) is a head too.
pub(super) fn read_head(buffer: &[u8]) -> Result<Option<Head>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let bytes = match answer.parse(buffer) {
        Ok(httparse::Status::Complete(bytes)) if bytes <= MAX_HEAD_BYTES => bytes,
        Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLarge("its head")),
        Err(_) => return Err(Fault::Malformed("its head")),
    };
    let status = answer.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(Fault::Malformed("its status"));
    }
    let mut keep_alive = answer.version == Some(1);
    let (mut length, mut chunked, mut coded, mut next) = (None, false, false, None);
    for field in answer.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            let said = read_length(value).ok_or(Fault::Malformed("its Content-Length"))?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err(Fault::Malformed("its Content-Length"));
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
            chunked = last_item(value).eq_ignore_ascii_case(b"chunked");
        } else if field.name.eq_ignore_ascii_case("connection") {
            for item in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if item.eq_ignore_ascii_case(b"close") {
                    keep_alive = false;
                } else if item.eq_ignore_ascii_case(b"keep-alive") {
                    keep_alive = true;
                }
            }
        } else if field.name.eq_ignore_ascii_case("link") {
            // The value is a part of the buffer, and its place in it outlives this borrow.
            let start = value.as_ptr() as usize - buffer.as_ptr() as usize;
            next = next_link(value).map(|link| start + link.start..start + link.end);
        }
    }
    let framing = match (status, chunked, length) {
        (100..=199 | 204 | 304, _, _) => Framing::Length(0),
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) if !coded => Framing::Length(length),
        _ => Framing::UntilClose,
    };
    if matches!(framing, Framing::Length(length) if length > MAX_BODY_BYTES) {
        return Err(Fault::TooLarge("its body"));
    }
    Ok(Some(Head { bytes, status, framing, keep_alive: keep_alive && framing != Framing::UntilClose, next }))
}

/// Digits and nothing else: a sign or a space would be read differently by others.
fn read_length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn last_item(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// The URL of `<URL>; rel="next"`.
fn next_link(value: &[u8]) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(open) = value[from..].iter().position(|byte| *byte == b'<') {
        let start = from + open + 1;
        let end = start + value[start..].iter().position(|byte| *byte == b'>')?;
        let rest = &value[end..];
        let parameters = &rest[..rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len())];
        if [b"rel=\"next\"".as_slice(), b"rel=next"]
            .iter()
            .any(|wanted| parameters.windows(wanted.len()).any(|found| found.eq_ignore_ascii_case(wanted)))
        {
            return Some(start..end);
        }
        from = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Fault> {
        read_head(text.as_bytes())
    }

    #[test]
    fn how_a_body_ends_is_read_as_the_standard_has_it() {
        for (head, framing, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Framing::Length(12), true),
            ("HTTP/1.1 200 OK\r\ncontent-length:12\r\ncontent-length: 12\r\n\r\n", Framing::Length(12), true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked, true),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
                Framing::UntilClose,
                false,
            ),
            ("HTTP/1.1 200\r\n\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 204\r\n\r\n", Framing::Length(0), true),
            ("HTTP/1.1 200\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\n", Framing::Length(1), false),
            ("HTTP/1.0 200\r\nContent-Length: 1\r\n\r\n", Framing::Length(1), false),
            ("HTTP/1.0 200\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", Framing::Length(1), true),
        ] {
            let read = read(head).unwrap().unwrap();
            assert_eq!(
                (read.framing, read.keep_alive, read.bytes),
                (framing, keep_alive, head.len()),
                "{head}"
            );
        }
    }

    #[test]
    fn what_is_no_head_is_named() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        for (text, fault) in [
            ("SSH-2.0-OpenSSH\r\n", Fault::Malformed("its head")),
            ("HTTP/1.1 099 x\r\n\r\n", Fault::Malformed("its status")),
            ("HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n", Fault::Malformed("its Content-Length")),
            (
                "HTTP/1.1 200\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Fault::Malformed("its Content-Length"),
            ),
            ("HTTP/1.1 200\r\nContent-Length: 99999999999\r\n\r\n", Fault::TooLarge("its body")),
            (&many, Fault::TooLarge("its head")),
            (&long, Fault::TooLarge("its head")),
        ] {
            assert_eq!(read(text), Err(fault), "{text:.60}");
        }
    }

    #[test]
    fn a_head_that_has_not_come_whole_is_waited_for() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        for (link, next) in [
            ("</models?cursor=a>; rel=\"next\"", Some("/models?cursor=a")),
            ("</a>; rel=\"prev\", </b>; title=x; rel=next", Some("/b")),
            ("</a>; rel=\"prev\"", None),
            ("<half", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\nLink: {link}\r\nContent-Length: 0\r\n\r\n");
            let head = read(&text).unwrap().unwrap();
            assert_eq!(head.next.map(|range| &text[range]), next, "{link}");
        }
    }
}
