//! Reads a WAL as SQLite does, and past the point where SQLite stops.
//!
//! Pure, over any reader. The format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>. SQLite takes the sound
//! frames up to the last commit and drops everything after it: a transaction that a crash cut short, but also
//! transactions that were committed, if damage precedes them. This scan tells the two apart. The checksum of a frame
//! covers all frames before it and is kept in its header, so a frame can be verified from the checksum that the frame
//! before *states*, even if that one is damaged. A frame that continues a commit proves that this commit was complete.

use std::io::{self, ErrorKind, Read};

pub(super) const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Without its last bit, which gives the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The contents of a WAL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct WalScan {
    pub(super) page_bytes: u32,
    /// Frames up to the last commit that SQLite recovers.
    pub(super) frames: u64,
    /// Transactions in those frames.
    pub(super) transactions: u64,
    /// Commits after those frames.
    pub(super) dropped_commits: u64,
    /// What kind of frames those are.
    pub(super) tail: Tail,
}

/// What follows the last commit that SQLite recovers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) enum Tail {
    /// Nothing that was committed: an unfinished transaction, or frames from before the WAL was restarted.
    #[default]
    Unfinished,
    /// A transaction with its commit but not all of its pages. A loss of power before the sync leaves one, and so does
    /// a failed commit that was overwritten, or a disk that damaged it later.
    Torn,
    /// Committed transactions after damage, or after a lost header.
    Damaged,
}

impl WalScan {
    /// Returns the position in the file at which the last sound transaction ends.
    pub(super) fn sound_bytes(&self) -> u64 {
        match self.frames {
            0 => 0,
            frames => HEADER_BYTES as u64 + frames * (FRAME_HEADER_BYTES as u64 + u64::from(self.page_bytes)),
        }
    }
}

/// What the check of a frame needs from the frame before it, or from the header.
struct Previous {
    /// The checksum that it states, and the one computed from what comes before.
    sums: [Sum; 2],
    is_commit: bool,
    /// True if it belongs to this generation of the WAL: a restart leaves older frames behind.
    is_current: bool,
}

/// Reads a WAL to its end. If its header is damaged, the database's `page_bytes` gives the size of the frames.
pub(super) fn scan(wal: &mut impl Read, page_bytes: u32) -> io::Result<WalScan> {
    let mut header = [0; HEADER_BYTES];
    if !fill(wal, &mut header)? {
        return Ok(WalScan::default());
    }
    let order = Order::of(&header);
    let sum = Sum::default().over(&header[..24], order);
    let stated = word(&header, 8);
    let is_sound_header = word(&header, 0) & !1 == MAGIC
        && word(&header, 4) == VERSION
        && stated.is_power_of_two()
        && PAGE_BYTES.contains(&stated)
        && Sum::stated(&header, 24) == sum;
    let page_bytes = if is_sound_header { stated } else { page_bytes };
    // Each restart of the WAL draws new salts. If the header is lost, the first frame's salts are used.
    let mut salts = is_sound_header.then(|| eight_bytes(&header, 16));
    let mut found = WalScan { page_bytes, ..WalScan::default() };
    let (mut is_sound, mut is_certain) = (is_sound_header, false);
    let mut previous = Previous { sums: [Sum::stated(&header, 24), sum], is_commit: false, is_current: true };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    let mut frames = 0;
    while fill(wal, &mut frame)? {
        frames += 1;
        let sums =
            previous.sums.map(|sum| sum.over(&frame[..8], order).over(&frame[FRAME_HEADER_BYTES..], order));
        let stated = Sum::stated(&frame, 16);
        let own_salts = eight_bytes(&frame, 8);
        if own_salts != [0; 8] {
            salts.get_or_insert(own_salts);
        }
        let has_salts = salts == Some(own_salts);
        let is_commit = word(&frame, 4) != 0;
        let continues = previous.is_current && stated != Sum::default() && sums.contains(&stated);
        let is_current = has_salts || continues;
        is_sound &= has_salts && stated == sums[1] && word(&frame, 0) != 0;
        if is_sound && is_commit {
            found.frames = frames;
            found.transactions += 1;
        } else if !is_sound {
            is_certain |= continues && previous.is_commit;
            found.dropped_commits += u64::from(is_commit && is_current);
        }
        previous = Previous { sums: [stated, sums[usize::from(is_sound)]], is_commit, is_current };
    }
    // The header is synced before the first frame, so commits after a lost one were sound.
    found.tail = match found.dropped_commits {
        0 => Tail::Unfinished,
        _ if is_certain || !is_sound_header => Tail::Damaged,
        _ => Tail::Torn,
    };
    Ok(found)
}

/// The byte order in which checksums read words.
#[derive(Debug, Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn of(header: &[u8]) -> Self {
        if header[3] & 1 == 1 { Self::Big } else { Self::Little }
    }
}

/// The checksum over everything read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum([u32; 2]);

impl Sum {
    /// Reads the checksum that a header states.
    fn stated(bytes: &[u8], at: usize) -> Self {
        Self([word(bytes, at), word(bytes, at + 4)])
    }

    /// Continues the checksum over further bytes, a multiple of eight.
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

/// Reads four bytes as a big-endian number, as all numbers in a WAL are.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn eight_bytes(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut eight_bytes = [0; 8];
    eight_bytes.copy_from_slice(&bytes[at..at + 8]);
    eight_bytes
}

/// Fills the buffer; returns false at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
