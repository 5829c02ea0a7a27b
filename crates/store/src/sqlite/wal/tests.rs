//! WALs that SQLite itself wrote: cut, torn and changed in every place.

use std::{fs, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use rusqlite::Connection;

use super::*;

const PAGE: usize = 512;
const FRAME: usize = PAGE + 24;

/// A database whose WAL holds some transactions of several pages each, followed by the frames of an earlier, longer WAL.
struct Written {
    folder: TempDir,
    wal: Vec<u8>,
    /// Frames at the end of each transaction.
    ends: Vec<usize>,
}

fn options(folder: &TempDir) -> Options {
    let path = folder.path().join("registry.db");
    Options { path, busy_timeout: Duration::ZERO, synchronous: Synchronous::Full }
}

fn open(folder: &TempDir) -> Connection {
    let connection = Connection::open(options(folder).path).unwrap();
    connection
        .execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10")
        .unwrap();
    connection
}

impl Written {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder);
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, x)").unwrap();
        connection.execute_batch("INSERT INTO t (x) VALUES (zeroblob(20000)); DELETE FROM t").unwrap();
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        connection.execute_batch("VACUUM").unwrap();
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        let mut ends = Vec::new();
        for number in 0..6_i32 {
            let size = [10, 300, 700, 10, 1500, 600][number as usize];
            connection.execute("INSERT INTO t (n, x) VALUES (?1, randomblob(?2))", (number, size)).unwrap();
            let (frames, _): (usize, i64) = connection
                .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))
                .unwrap();
            ends.push(frames);
        }
        // As a crash leaves them.
        let left = tempfile::tempdir().unwrap();
        for (file, copy) in options(&folder).files().iter().zip(options(&left).files()).take(3) {
            fs::copy(file, copy).unwrap();
        }
        let wal = fs::read(&options(&left).files()[1]).unwrap();
        assert!(wal.len() > HEADER_BYTES + ends[5] * FRAME + 5 * FRAME, "older frames follow");
        Self { folder: left, wal, ends }
    }

    /// Returns a sound header of a WAL with pages of 512 bytes.
    fn header() -> [u8; HEADER_BYTES] {
        static HEADER: std::sync::OnceLock<[u8; HEADER_BYTES]> = std::sync::OnceLock::new();
        *HEADER.get_or_init(|| Self::new().wal[..HEADER_BYTES].try_into().unwrap())
    }

    fn scan(&self) -> WalScan {
        scan(&mut &self.wal[..], PAGE as u32).unwrap()
    }

    /// Returns the rows of the table after SQLite has recovered this WAL.
    fn recovered(&self) -> usize {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(options(&self.folder).path, options(&folder).path).unwrap();
        fs::write(&options(&folder).files()[1], &self.wal).unwrap();
        let connection = Connection::open(options(&folder).path).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// Returns the transaction that a byte belongs to.
    fn transaction_at(&self, at: usize) -> Option<usize> {
        let frame = at.checked_sub(HEADER_BYTES)? / FRAME;
        self.ends.iter().position(|end| frame < *end)
    }

    fn flip(&mut self, bit: usize) {
        self.wal[bit / 8] ^= 1 << (bit % 8);
    }

    /// Asserts that the scan notices a flipped bit.
    fn expect_detected(&mut self, bit: usize) {
        self.flip(bit);
        let found = self.scan();
        let (at, last) = (bit / 8, self.ends.len() - 1);
        // A commit that no longer looks like one makes its transaction and the next look like one.
        let lost_commit = at.checked_sub(HEADER_BYTES).is_some_and(|at| {
            let frame = HEADER_BYTES + at / FRAME * FRAME;
            (4..8).contains(&(at % FRAME)) && self.wal[frame + 4..frame + 8] == [0; 4]
        });
        match self.transaction_at(at) {
            _ if at < HEADER_BYTES => {
                assert_eq!(found.tail, Tail::Damaged, "bit {bit} of the header: {found:?}");
            }
            Some(hit) if hit == last => {
                assert_eq!(found.transactions, last as u64, "bit {bit}: {found:?}");
                assert!(found.tail != Tail::Unfinished || lost_commit, "bit {bit}: {found:?}");
            }
            Some(hit) => {
                let looks_like_the_last = lost_commit && hit + 1 == last;
                assert!(
                    found.tail == Tail::Damaged || looks_like_the_last,
                    "bit {bit} of transaction {hit}: {found:?}"
                );
                assert_eq!(found.transactions, hit as u64, "bit {bit}: {found:?}");
            }
            None => {
                assert_eq!(
                    (found.transactions, found.tail),
                    (self.ends.len() as u64, Tail::Unfinished),
                    "bit {bit}"
                );
            }
        }
        self.flip(bit);
    }
}

#[test]
fn a_sound_wal_holds_what_sqlite_finds_in_it() {
    let written = Written::new();
    let found = written.scan();
    assert_eq!((found.transactions, found.tail), (6, Tail::Unfinished));
    assert_eq!(found.frames as usize, written.ends[5]);
    assert_eq!(found.sound_bytes() as usize, HEADER_BYTES + written.ends[5] * FRAME);
    assert_eq!(written.recovered(), 6);
}

#[test]
fn a_wal_truncated_anywhere_is_not_damaged_and_holds_what_sqlite_finds_in_it() {
    let mut written = Written::new();
    let whole = written.wal.clone();
    let ends = [0, 1, 31, 32, 33, 55].into_iter().chain((0..written.ends[5]).flat_map(|frame| {
        let start = HEADER_BYTES + frame * FRAME;
        [start, start + 1, start + 24, start + FRAME - 1]
    }));
    for end in ends {
        written.wal = whole[..end].to_owned();
        let found = written.scan();
        assert_eq!(found.tail, Tail::Unfinished, "{end}");
        assert_eq!(
            found.transactions as usize,
            written.ends.iter().filter(|last| HEADER_BYTES + **last * FRAME <= end).count()
        );
        if end % 7 == 0 {
            assert_eq!(found.transactions as usize, written.recovered(), "{end}");
        }
    }
}

#[test]
fn a_last_transaction_torn_by_a_loss_of_power_is_not_damage() {
    let mut written = Written::new();
    let whole = written.wal.clone();
    let (first, last) = (written.ends[4], written.ends[5]);
    assert!(last - first >= 3);
    for old in [0_u8, 0xa5] {
        for lost in 1_u32..1 << (last - first) {
            for frame in (first..last).filter(|frame| lost >> (frame - first) & 1 == 1) {
                let start = HEADER_BYTES + frame * FRAME;
                written.wal[start..start + FRAME].fill(old);
            }
            let found = written.scan();
            assert_eq!(found.transactions, 5);
            assert!(found.tail != Tail::Damaged, "{lost:b}: {found:?}");
            written.wal.clone_from(&whole);
        }
    }
}

#[test]
fn a_block_lost_by_the_disk_is_damage_unless_it_may_belong_to_the_last_transaction() {
    let mut written = Written::new();
    let whole = written.wal.clone();
    // With it the end of the last but one may go, and then both look like one.
    let end = HEADER_BYTES + written.ends[3] * FRAME;
    for block in (0..end).step_by(128) {
        written.wal[block..(block + 512).min(end)].fill(0);
        let found = written.scan();
        assert!(found.tail == Tail::Damaged, "{block}: {found:?}");
        written.wal.clone_from(&whole);
    }
}

#[test]
fn the_frames_of_a_transaction_that_was_rolled_back_are_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let connection = open(&folder);
    connection.execute_batch("CREATE TABLE t (x)").unwrap();
    // More than the cache holds, so it is in the WAL before it is undone.
    connection.execute_batch("BEGIN; INSERT INTO t VALUES (randomblob(40000)); ROLLBACK").unwrap();
    for _ in 0..3 {
        connection.execute_batch("INSERT INTO t VALUES (randomblob(900))").unwrap();
        let wal = fs::read(&options(&folder).files()[1]).unwrap();
        let found = scan(&mut &wal[..], PAGE as u32).unwrap();
        assert!(wal.len() as u64 > found.sound_bytes() + 10 * FRAME as u64);
        assert_eq!(found.tail, Tail::Unfinished);
    }
}

/// The next commit overwrites one whose sync failed, but the last frames of that one may stay, with its commit.
#[test]
fn the_frames_of_commits_that_failed_and_were_overwritten_are_not_damage() {
    let written = Written::new();
    let with_one_more = |wal: &[u8], size: u32| {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(options(&written.folder).path, options(&folder).path).unwrap();
        fs::write(&options(&folder).files()[1], wal).unwrap();
        let connection = open(&folder);
        connection.execute("INSERT INTO t (x) VALUES (randomblob(?1))", [size]).unwrap();
        fs::read(&options(&folder).files()[1]).unwrap()
    };
    let mut wal = written.wal.clone();
    for failed in [6_000, 3_000] {
        let sound = scan(&mut &wal[..], PAGE as u32).unwrap();
        let with_failed = with_one_more(&wal, failed);
        let overwritten = with_one_more(&wal, 1);
        let end = scan(&mut &overwritten[..], PAGE as u32).unwrap();
        assert_eq!(end.transactions, sound.transactions + 1);
        let end = end.sound_bytes() as usize;
        wal = [&overwritten[..end], &with_failed[end..]].concat();
        let found = scan(&mut &wal[..], PAGE as u32).unwrap();
        assert_eq!((found.transactions, found.tail), (sound.transactions + 1, Tail::Torn));
    }
}

#[test]
fn every_bit_of_every_header_is_checked() {
    let mut written = Written::new();
    for bit in 0..HEADER_BYTES * 8 {
        written.expect_detected(bit);
    }
    for frame in 0..written.ends[5] + 2 {
        let start = (HEADER_BYTES + frame * FRAME) * 8;
        for bit in start..start + 24 * 8 {
            written.expect_detected(bit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn a_flipped_bit_never_hides_a_committed_transaction(bits in prop::collection::vec(any::<prop::sample::Index>(), 64)) {
        let mut written = Written::new();
        let all = written.wal.len() * 8;
        for bit in bits {
            written.expect_detected(bit.index(all));
        }
    }
}

/// Describes the result of inspecting a database and its WAL, which must not change.
fn inspected(folder: &TempDir) -> String {
    let contents = || options(folder).files().map(|file| fs::read(file).ok());
    let before = contents();
    let said = match inspect(&options(folder)) {
        Ok(found) => format!("{} recovered, then {:?}", found.transactions, found.tail),
        Err(error) => error.to_string(),
    };
    assert_eq!(before, contents());
    said
}

/// Returns a change of one of the files.
fn change(file: usize, change: impl Fn(&mut Vec<u8>)) -> impl Fn(&TempDir) {
    move |folder| {
        let path = &options(folder).files()[file];
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_database_and_its_wal_are_inspected_together() {
    let remove =
        |file: usize| move |folder: &TempDir| fs::remove_file(&options(folder).files()[file]).unwrap();
    let last = HEADER_BYTES + (Written::new().ends[5] - 1) * FRAME + 100;
    type Change<'c> = &'c dyn Fn(&TempDir);
    let cases: [(&str, &[Change<'_>], &str); 11] = [
        ("as a crash leaves it", &[], "6 recovered, then Unfinished"),
        ("without its index", &[&remove(2)], "6 recovered, then Unfinished"),
        (
            "damaged early",
            &[&change(1, |bytes| bytes[200] ^= 1)],
            "is damaged: 0 transactions in it are sound",
        ),
        (
            "a lost header",
            &[&change(1, |bytes| bytes[13] ^= 1)],
            "is damaged: 0 transactions in it are sound, and 6",
        ),
        (
            "the last transaction damaged",
            &[&change(1, move |bytes| bytes[last] ^= 1)],
            "5 recovered, then Torn",
        ),
        ("gone", &[&remove(1)], "0 recovered, then Unfinished"),
        ("without its database", &[&remove(0)], "is missing or empty, but its WAL"),
        (
            "beside an empty database",
            &[&change(0, |bytes| bytes.clear())],
            "has 6 transactions; put the database back",
        ),
        ("beside a backup", &[&change(0, |bytes| bytes[18..20].fill(1))], "without a WAL, such as a backup"),
        (
            "of other pages",
            &[&change(0, |bytes| bytes[16..18].copy_from_slice(&[16, 0]))],
            "have another size",
        ),
        (
            "of a database with two names",
            &[&|folder| fs::hard_link(options(folder).path, folder.path().join("twin.db")).unwrap()],
            "has 2 names (hard links)",
        ),
    ];
    for (case, changes, expected) in cases {
        let folder = Written::new().folder;
        changes.iter().for_each(|change| change(&folder));
        let said = inspected(&folder);
        assert!(said.contains(expected), "{case}: {said}");
    }
}

#[test]
fn an_unreadable_database_is_not_mistaken_for_a_missing_one() {
    type Put<'p> = &'p dyn Fn(&Path);
    let cases: [(&str, Put<'_>, &str); 4] = [
        ("missing", &|_| (), "is missing or empty, but its WAL"),
        ("empty", &|path| fs::write(path, "").unwrap(), "is missing or empty, but its WAL"),
        ("a folder", &|path| fs::create_dir(path).unwrap(), "registry.db can't be read (Is a directory"),
        (
            "a link to itself",
            &|path| std::os::unix::fs::symlink(path, path).unwrap(),
            "registry.db can't be read (Too many levels",
        ),
    ];
    for (case, put, expected) in cases {
        let folder = Written::new().folder;
        let path = options(&folder).path;
        fs::remove_file(&path).unwrap();
        put(&path);
        let said = inspected(&folder);
        assert!(said.contains(expected), "{case}: {said}");
    }
}

#[test]
fn a_salvaged_wal_keeps_its_sound_part_and_a_copy_of_the_whole() {
    let written = Written::new();
    let start = HEADER_BYTES + written.ends[1] * FRAME;
    let damage = change(1, |bytes| bytes[start..start + FRAME].fill(0));
    damage(&written.folder);
    let before = fs::read(&options(&written.folder).files()[1]).unwrap();
    let salvaged = salvage(&options(&written.folder)).unwrap();
    assert_eq!(salvaged.transactions, 2);
    assert!(salvaged.lost_transactions >= 3, "{salvaged:?}");
    assert_eq!(fs::read(salvaged.kept_as.unwrap()).unwrap(), before);
    let again = salvage(&options(&written.folder)).unwrap();
    assert_eq!(again, Salvaged { kept_as: None, transactions: 2, lost_transactions: 0 });
    assert_eq!(inspected(&written.folder), "2 recovered, then Unfinished");

    // A server with `--synchronous normal` does the same by itself, as a loss of power may leave such a hole.
    let written = Written::new();
    damage(&written.folder);
    let normal = Options { synchronous: Synchronous::Normal, ..options(&written.folder) };
    inspect_to_recover(&normal).unwrap();
    assert_eq!(inspected(&written.folder), "2 recovered, then Unfinished");
    assert!(written.folder.path().join("registry.db-wal.damaged").exists());
}

proptest! {
    #[test]
    fn any_bytes_are_scanned_to_their_end(
        bytes in prop::collection::vec(any::<u8>(), 0..5_000),
        head: [u8; HEADER_BYTES],
        page_bytes: u32,
        at in 0_usize..5_000,
    ) {
        let mut written = Written::header().to_vec();
        written.extend(&bytes);
        let _ = scan(&mut &bytes[..], page_bytes % 65_537).unwrap();
        let _ = scan(&mut &written[..], 512).unwrap();
        let at = at.min(written.len() - HEADER_BYTES);
        written[at..at + HEADER_BYTES].copy_from_slice(&head);
        let _ = scan(&mut &written[..], 512).unwrap();
    }
}
