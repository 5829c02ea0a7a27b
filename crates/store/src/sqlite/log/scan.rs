//! Reading a write-ahead log as SQLite would, and further: up to its end, past what is not sound.
//!
//! Pure, over any reader. The format is described at <https://sqlite.org/fileformat2.html#the_write_ahead_log>.
//! SQLite takes the sound frames up to the last one that ends a transaction and drops whatever lies behind, be it what a
//! crash left unfinished or what was committed and is damaged. Here the two are told apart. Each frame has
//! the checksum of all before it, kept in its header; so a frame can be verified from what the one before it *says*,
//! also where that one is damaged. What proves that a damaged transaction had been committed is that another one was
//! begun behind it.

use std::io::{self, ErrorKind, Read};

pub(super) const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Without its last bit, which tells in which order of bytes checksums are made.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// What a log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Its salts and the size of its pages; none where its header is not sound.
    pub(super) header: Option<Header>,
    /// Frames up to the end of the last sound transaction.
    pub(super) frames: u64,
    /// The sound transactions in them.
    pub(super) transactions: u64,
    /// Pages the database has after those.
    pub(super) pages: u32,
    /// Page one as the first of those wrote it, where it did.
    pub(super) first_page_one: Option<PageOne>,
    /// Page one as it is after those, where any wrote it.
    pub(super) page_one: Option<PageOne>,
    /// What lies behind.
    pub(super) tail: Tail,
}

/// What a log's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of a page.
    pub(super) page_bytes: u32,
    /// Drawn anew each time the log is begun anew; older frames carry older ones.
    pub(super) salts: [u8; 8],
}

/// What the head of a database's first page says of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageOne {
    /// Rises now and then as the file is changed, and never falls.
    pub(super) changes: u32,
    /// Rises with every change of the schema.
    pub(super) schema_cookie: u32,
    /// See [`mark`](super::mark).
    pub(super) mark: u32,
}

/// What lies behind the last sound transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing that was ever committed here: the beginning of a transaction, or what is left from before the log was begun anew.
    Unfinished,
    /// A transaction with its end and not all of the rest. A loss of power leaves that where it came before the sync, and so
    /// before the answer; and so does a commit that failed and was overwritten. A disk that has changed it since leaves the same.
    Torn,
    /// Committed transactions: so many, the damaged one among them.
    Damaged(u64),
}

impl PageOne {
    /// Of the first bytes of the page.
    pub(super) fn of(page: &[u8]) -> Option<Self> {
        Some(Self { changes: word(page, 24)?, schema_cookie: word(page, 40)?, mark: word(page, 68)? })
    }
}

impl Scan {
    /// Where in the file the last sound transaction ends.
    pub(super) fn sound_bytes(&self) -> u64 {
        match self.header {
            Some(header) if self.frames > 0 => {
                HEADER_BYTES as u64 + self.frames * (FRAME_HEADER_BYTES as u64 + u64::from(header.page_bytes))
            }
            _ => 0,
        }
    }
}

/// Reads a log to its end. Where its header is not sound, its frames are looked for by the database's `page_bytes`.
pub(super) fn scan(log: &mut impl Read, page_bytes: u32) -> io::Result<Scan> {
    let mut scan = Scan {
        header: None,
        frames: 0,
        transactions: 0,
        pages: 0,
        first_page_one: None,
        page_one: None,
        tail: Tail::Unfinished,
    };
    let mut bytes = [0; HEADER_BYTES];
    if !fill(log, &mut bytes)? {
        return Ok(scan);
    }
    let order = Order::of(&bytes);
    let made = Sum::default().over(&bytes[..24], order);
    scan.header = sound_header(&bytes).filter(|_| Sum::kept(&bytes, 24) == made);
    let page_bytes = scan.header.map_or(page_bytes, |header| header.page_bytes);
    let Ok(page_len) = usize::try_from(page_bytes) else { return Ok(scan) };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_len];
    let mut chain = made;
    let mut behind = scan.header.is_none().then(|| Behind::a_lost_header(order));
    let (mut read, mut page_one) = (0, None);
    while fill(log, &mut frame)? {
        read += 1;
        let sum = chain.over(&frame[..8], order).over(&frame[FRAME_HEADER_BYTES..], order);
        let sound = scan.header.is_some_and(|header| frame[8..16] == header.salts)
            && Sum::kept(&frame, 16) == sum
            && frame[..4] != [0; 4];
        match &mut behind {
            None if sound => {
                chain = sum;
                if word(&frame, 0) == Some(1) {
                    page_one = PageOne::of(&frame[FRAME_HEADER_BYTES..]);
                }
                if let Some(pages @ 1..) = word(&frame, 4) {
                    (scan.frames, scan.pages) = (read, pages);
                    scan.transactions += 1;
                    scan.page_one = page_one.or(scan.page_one);
                    if scan.transactions == 1 {
                        scan.first_page_one = page_one;
                    }
                }
            }
            None => {
                let mut first = Behind::sound_frames(scan.header.map(|header| header.salts), order, chain);
                first.begin(&frame, sum);
                behind = Some(first);
            }
            Some(behind) => behind.add(&frame),
        }
    }
    scan.tail = behind.map_or(Tail::Unfinished, |behind| behind.tail());
    Ok(scan)
}

fn sound_header(bytes: &[u8]) -> Option<Header> {
    let page_bytes = word(bytes, 8)?;
    let known = word(bytes, 0)? & !1 == MAGIC && word(bytes, 4)? == VERSION;
    let salts = bytes.get(16..24)?.try_into().ok()?;
    (known && page_bytes.is_power_of_two() && PAGE_BYTES.contains(&page_bytes))
        .then_some(Header { page_bytes, salts })
}

/// What lies behind the first frame that is not sound, that one included.
struct Behind {
    /// Those of this log; where its header is lost, those of the first frame that has some.
    salts: Option<[u8; 8]>,
    order: Order,
    last: Last,
    /// Transactions of this log that end here.
    ends: u64,
    /// Whether this can't be what a loss of power leaves.
    is_certain: bool,
}

/// What has to be known of the frame before.
#[derive(Default)]
struct Last {
    is_end: bool,
    is_counted: bool,
    /// The checksum it has, and the one it should have as far as that is known.
    sums: [Sum; 2],
}

impl Behind {
    fn sound_frames(salts: Option<[u8; 8]>, order: Order, chain: Sum) -> Self {
        let last = Last { sums: [chain, chain], ..Last::default() };
        Self { salts, order, last, ends: 0, is_certain: false }
    }

    /// A header is written and synced before the first frame, so frames that end a transaction were once behind a sound one.
    fn a_lost_header(order: Order) -> Self {
        Self { is_certain: true, ..Self::sound_frames(None, order, Sum::default()) }
    }

    /// The first one that is not sound; `sum` is the checksum up to its end.
    fn begin(&mut self, frame: &[u8], sum: Sum) {
        let before = self.last.sums[0];
        self.note(frame, sum);
        if Sum::kept(frame, 16) == sum {
            // Left from before the log was begun anew, it would not continue this one's checksum.
            self.is_certain = true;
            self.count();
        } else if !self.last.is_end && self.was_end(frame, before) {
            self.last.is_end = true;
            self.last.is_counted = false;
            self.count();
        }
    }

    fn add(&mut self, frame: &[u8]) {
        let salts = eight(frame, 8);
        if self.salts.is_none() && salts != [0; 8] {
            self.salts = Some(salts);
        }
        let sums = self.last.sums.map(|sum| self.over(sum, frame));
        if sums.contains(&Sum::kept(frame, 16)) && self.salts == Some(salts) {
            // So the one before it was of this log too, whatever has become of its salts.
            self.count();
            self.is_certain |= self.last.is_end;
        }
        self.note(frame, sums[0]);
    }

    fn note(&mut self, frame: &[u8], sum: Sum) {
        let is_end = word(frame, 4) != Some(0);
        self.last = Last { is_end, is_counted: false, sums: [Sum::kept(frame, 16), sum] };
        if self.salts == Some(eight(frame, 8)) {
            self.count();
        }
    }

    /// The last frame is one of this log.
    fn count(&mut self) {
        if !self.last.is_counted {
            self.last.is_counted = true;
            self.ends += u64::from(self.last.is_end);
        }
    }

    fn over(&self, sum: Sum, frame: &[u8]) -> Sum {
        sum.over(&frame[..8], self.order).over(&frame[FRAME_HEADER_BYTES..], self.order)
    }

    /// Whether one bit has made the end of a transaction, where the size of the database stands, look like its middle.
    fn was_end(&self, frame: &[u8], before: Sum) -> bool {
        let kept = Sum::kept(frame, 16);
        let mut head = [0; 8];
        head.copy_from_slice(&frame[..8]);
        (0..32).any(|bit| {
            head[4..].copy_from_slice(&(1_u32 << bit).to_be_bytes());
            before.over(&head, self.order).over(&frame[FRAME_HEADER_BYTES..], self.order) == kept
        })
    }

    fn tail(&self) -> Tail {
        match self.ends {
            0 => Tail::Unfinished,
            // More than one are left where commits failed and were overwritten, one after the other.
            _ if !self.is_certain => Tail::Torn,
            ends => Tail::Damaged(ends),
        }
    }
}

/// In which order the bytes of a word are taken for checksums.
#[derive(Debug, Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn of(header: &[u8]) -> Self {
        if header.get(3).is_some_and(|byte| byte & 1 == 1) { Self::Big } else { Self::Little }
    }
}

/// A checksum over all that was read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum([u32; 2]);

impl Sum {
    /// As it stands in a header.
    fn kept(bytes: &[u8], at: usize) -> Self {
        Self([word(bytes, at).unwrap_or_default(), word(bytes, at + 4).unwrap_or_default()])
    }

    /// Continued over further bytes, of which there are a multiple of eight.
    fn over(self, bytes: &[u8], order: Order) -> Self {
        let Self([mut first, mut second]) = self;
        let number = |bytes: &[u8]| {
            let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
            match order {
                Order::Big => u32::from_be_bytes(bytes),
                Order::Little => u32::from_le_bytes(bytes),
            }
        };
        for pair in bytes.chunks_exact(8) {
            first = first.wrapping_add(number(pair)).wrapping_add(second);
            second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
        }
        Self([first, second])
    }
}

/// Four bytes as a big-endian number; all numbers of a log are such.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    eight
}

/// Reads as much as fits; whether there was so much.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
