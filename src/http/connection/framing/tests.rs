use proptest::prelude::*;

use super::*;

/// The verdict on a stream that comes in pieces of these sizes, the last of them again and again.
fn verdict(stream: &[u8], pieces: &[usize]) -> Result<(Stage, u64), Malformed> {
    let mut framing = Framing::new();
    let (mut rest, mut sizes) = (stream, pieces.iter().copied());
    let mut size = stream.len().max(1);
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size).max(1);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        framing.take(piece).map_err(|(malformed, _)| malformed)?;
        rest = behind;
    }
    Ok((framing.stage(), framing.requests()))
}

fn judged(stream: &[u8]) -> Result<(Stage, u64), Malformed> {
    let whole = verdict(stream, &[]);
    assert_eq!(verdict(stream, &[1]), whole, "byte by byte: {:?}", String::from_utf8_lossy(stream));
    whole
}

const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

fn with(fields: &str) -> String {
    format!("POST /models HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n")
}

#[test]
fn requests_end_where_their_bodies_do() {
    for (stream, expected) in [
        (String::new(), (Stage::Idle, 0)),
        (GET.to_owned(), (Stage::Idle, 1)),
        (GET.repeat(3), (Stage::Idle, 3)),
        (GET[..GET.len() - 1].to_owned(), (Stage::Head, 1)),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), (Stage::Idle, 1)),
        (format!("\r\n{GET}"), (Stage::Idle, 1)),
        (with("Content-Length: 0") + GET, (Stage::Idle, 2)),
        (with("content-length:3") + "abc" + GET, (Stage::Idle, 2)),
        (with("Content-Length: 3") + "abc\r\n" + GET, (Stage::Idle, 2)),
        (with("Content-Length: 3") + "abc\r\n", (Stage::Blank, 1)),
        (with("Content-Length: 3") + "abc\r", (Stage::Blank, 1)),
        (with("Content-Length: 3") + "ab", (Stage::Body, 1)),
        (with("Content-Length: 40") + GET, (Stage::Body, 1)),
        (with("Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + GET, (Stage::Idle, 2)),
        (with("Transfer-Encoding: Chunked") + "0\r\n\r\n" + GET, (Stage::Idle, 2)),
        (
            with("Transfer-Encoding: chunked") + "00A;a=\"b\" \r\n0123456789\r\n0\r\nX: y\r\n\r\n",
            (Stage::Idle, 1),
        ),
        (with("Transfer-Encoding: chunked") + "2 \t;x\r\nab\r\n", (Stage::Body, 1)),
        (with("Transfer-Encoding: chunked") + "FFFFFFFFFFFFFFF\r\n" + GET, (Stage::Body, 1)),
    ] {
        assert_eq!(judged(stream.as_bytes()), Ok(expected), "{stream}");
    }
}

#[test]
fn what_is_no_request_is_refused_by_what_is_wrong() {
    let chunked = |body: &str| with("Transfer-Encoding: chunked") + body;
    let head = Malformed::BareLineEnd("its head");
    let framing = Malformed::BareLineEnd("the framing of its body");
    for (stream, expected) in [
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), head.clone()),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n".to_owned(), head.clone()),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n".to_owned(), head.clone()),
        ("GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n".to_owned(), head.clone()),
        (format!("\n{GET}"), head.clone()),
        (format!("\r{GET}"), head),
        (format!("\r\n\r\n{GET}"), Malformed::Head("several empty lines stand before it".to_owned())),
        ("GET / HTTP/1.1\r\nHost: x\0\r\n\r\n".to_owned(), Malformed::Nul),
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n".to_owned(), Malformed::Host),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned(), Malformed::Host),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), Malformed::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), Malformed::Version),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), Malformed::Connect),
        (with("Upgrade:  WebSocket \r\nContent-Length: 2"), Malformed::WebSocket),
        (with("Content-Length: 3\r\nContent-Length: 3"), Malformed::ContentLength),
        (with("Content-Length: +3"), Malformed::ContentLength),
        (with("Content-Length: -3"), Malformed::ContentLength),
        (with("Content-Length: 3, 3"), Malformed::ContentLength),
        (with("Content-Length: 0x3"), Malformed::ContentLength),
        (with("Content-Length:"), Malformed::ContentLength),
        (with("Content-Length: 18446744073709551616"), Malformed::ContentLength),
        (with("Content-Length: 3\r\nTransfer-Encoding: chunked"), Malformed::BothLengths),
        (with("Transfer-Encoding: chunked\r\nContent-Length: 3"), Malformed::BothLengths),
        (with("Transfer-Encoding: gzip, chunked"), Malformed::TransferEncoding),
        (with("Transfer-Encoding: identity"), Malformed::TransferEncoding),
        (with("Transfer-Encoding: xchunked"), Malformed::TransferEncoding),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Malformed::TransferEncoding),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Malformed::TransferEncoding),
        (with(&"X: y\r\n".repeat(96)), Malformed::TooManyFields),
        (with(&format!("X: {}", "y".repeat(MAX_HEAD_BYTES))), Malformed::HeadTooLarge),
        ("G".repeat(MAX_HEAD_BYTES + 1), Malformed::HeadTooLarge),
        (chunked("3\nabc\r\n0\r\n\r\n"), framing.clone()),
        (chunked("3;x\nabc\r\n0\r\n\r\n"), framing.clone()),
        (chunked("0\r\nX: y\n\r\n"), framing.clone()),
        (chunked("0\r\n\rX"), framing),
        (
            chunked("1000000000000000\r\n"),
            Malformed::Chunk("a length too large to be meant stands before a chunk"),
        ),
        (chunked("\r\n"), Malformed::Chunk("no length in hexadecimal digits stands before a chunk")),
        (chunked("-1\r\n"), Malformed::Chunk("no length in hexadecimal digits stands before a chunk")),
        (chunked("3x\r\n"), Malformed::Chunk("what is no length and no extension stands before a chunk")),
        (
            chunked("3;\u{1}\r\n"),
            Malformed::Chunk("what is no length and no extension stands before a chunk"),
        ),
        (chunked("3\r\nabcd\r\n"), Malformed::Chunk("more than was announced stands in a chunk")),
        (
            chunked(&format!("3;{}", "x".repeat(9_000))),
            Malformed::Chunk("a line too long stands before a chunk"),
        ),
        (
            chunked(&format!("0\r\n{}", "X: y\r\n".repeat(2_000))),
            Malformed::Chunk("trailers too long stand at the end"),
        ),
    ] {
        assert_eq!(judged(stream.as_bytes()), Err(expected), "{:.200}", stream);
    }
    for head in [
        "GET\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{7f}\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "GET ^bad HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let refused = judged(head.as_bytes());
        assert!(matches!(refused, Err(Malformed::Head(_))), "{head:?}: {refused:?}");
    }
}

#[test]
fn what_stands_before_the_fault_is_told_from_it() {
    let chunked = with("Transfer-Encoding: chunked");
    for (sound, fault) in [
        ("", "GET / HTTP/1.1\n"),
        (GET, "GET / HTTP/1.1\n"),
        (GET, "\n"),
        (&chunked, "x"),
        (&format!("{GET}{chunked}3\r\nabc"), "d"),
        (&format!("{chunked}3;x"), "\n"),
    ] {
        let refused = Framing::new().take(format!("{sound}{fault}{GET}").as_bytes()).unwrap_err();
        assert_eq!(refused.1, sound.len(), "{sound}{fault}");
    }
}

fn piece() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        GET,
        "\r\n",
        "\n",
        "\r",
        "\0",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "abc",
        "5;x=y\r\n",
        "Host: y\r\n",
        "X: \u{e9}\r\n",
    ];
    prop_oneof![proptest::sample::select(PIECES).prop_map(str::to_owned), "[ -~]{0,12}"]
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_the_stream_is_cut(
        stream in proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat()),
        pieces in proptest::collection::vec(1_usize..40, 0..12),
    ) {
        prop_assert_eq!(verdict(stream.as_bytes(), &pieces), verdict(stream.as_bytes(), &[]));
    }

    #[test]
    fn any_bytes_are_judged(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = judged(&stream);
    }
}
