//! The write-ahead log as it lies beside the database before anybody opens it.
//!
//! SQLite recovers a log that a crash has left, and does so without a word where it can't: it drops whatever lies behind
//! damage, replays a log onto a file it was never written for, and deletes it where the database is empty. So
//! the log is looked at first. What a crash leaves is left to SQLite; for the rest the server does not start, and
//! nothing is touched. Only to be looked at while this process has no connection to the database: closing any
//! descriptor of it or of the log's index would drop the locks. The log itself carries none.

mod aside;
mod index;
pub(super) mod mark;
mod scan;

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::Instant,
};

use rusqlite::{Connection, ErrorCode, config::DbConfig};

pub(super) use self::aside::{copy_aside, keep_dropped};
use self::{
    index::Index,
    mark::{Kinship, kinship},
    scan::{HEADER_BYTES, PageOne, Scan, Tail, scan},
};
use super::opening::{Options, Synchronous};

/// As much of a database's first page as is looked at.
const DATABASE_HEAD_BYTES: u64 = 100;
/// Where it says whether a log is kept, once for readers and once for writers.
const MODES: std::ops::Range<usize> = 18..20;
const WITHOUT_LOG: [u8; 2] = [1, 1];
/// What SQLite gives a new database.
const USUAL_PAGE_BYTES: u32 = 4_096;
/// Read at once.
const BUFFER_BYTES: usize = 1 << 18;

/// What is wrong with the log of a database. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LogFault {
    #[error(
        "{} is damaged: {sound} transactions in it are sound, and {behind} that were committed after those can't be read; nothing was changed. `registry maintenance --salvage-log` copies the log aside and keeps what is sound; a backup may have more", .log.display())]
    Damaged { log: PathBuf, sound: u64, behind: u64 },
    #[error(
        "{} has lost what was committed to it: of {known} pages, {has} are there; nothing was changed. Put the log back if it was moved; `registry maintenance --salvage-log` goes on without the rest; a backup may have more", .log.display())]
    Cut { log: PathBuf, has: u64, known: u64 },
    #[error(
        "{} is missing or empty, but its log {} is there, with {transactions} transactions; put the database back beside it, or move the log away to begin anew", .path.display(), .log.display())]
    Bereft { path: PathBuf, log: PathBuf, transactions: u64 },
    #[error(
        "{} is not the log of {} ({why}); nothing was changed. If a copy was put in the place of the database, move the log away; otherwise put the database back that it belongs to", .log.display(), .path.display())]
    Foreign { path: PathBuf, log: PathBuf, why: &'static str },
    #[error(
        "{} and its log {} don't hold together ({finding}); nothing was changed. If a copy was put in the place of the database, move the log away; otherwise restore a backup", .path.display(), .log.display())]
    Incoherent { path: PathBuf, log: PathBuf, finding: String },
    #[error("{} can't be read ({why}); check its disk and its permissions", .file.display())]
    Unreadable { file: PathBuf, why: String },
}

/// What was found beside a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Transactions that SQLite will take over from the log; 0 where another process has the database open, and
    /// so nothing has to be recovered.
    pub(super) transactions: u64,
    /// What it won't.
    pub(super) dropped: Dropped,
    /// Whether the log is known to have been begun on this very database.
    pub(super) is_own: bool,
    /// Whether another process has the database open.
    pub(super) is_in_use: bool,
}

/// What lies in a log, or lay there, and is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Nothing that was ever committed.
    Nothing,
    /// A last transaction that is not whole.
    Torn,
    /// With [`Synchronous::Normal`]: so many transactions, at a hole and behind it.
    Transactions(u64),
    /// With [`Synchronous::Normal`]: so many pages that the index knows and the log does not have.
    Pages(u64),
}

impl Found {
    /// Whether the log is to be left as it is until it was checked, and what is dropped of it kept.
    pub(super) fn is_to_be_left(self) -> bool {
        self.transactions > 0 || self.dropped != Dropped::Nothing
    }

    /// Whether what SQLite makes of the two has to be checked.
    pub(super) fn is_to_be_checked(self) -> bool {
        self.transactions > 0 || matches!(self.dropped, Dropped::Transactions(_) | Dropped::Pages(_))
    }

    /// What an error means that came up as a connection read the database together with this log.
    pub(super) fn incoherent(self, options: &Options, error: &rusqlite::Error) -> Option<LogFault> {
        let is_corrupt =
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        let [path, log, ..] = options.files();
        (is_corrupt && self.is_to_be_checked()).then(|| LogFault::Incoherent {
            path,
            log,
            finding: error.to_string(),
        })
    }
}

/// No log, or none that has to be recovered.
pub(super) const NOTHING: Found =
    Found { transactions: 0, dropped: Dropped::Nothing, is_own: false, is_in_use: false };

/// Looks at the log of a database that this process has not opened.
///
/// # Errors
/// Where opening the database would lose what was committed, or spoil it.
pub(super) fn inspect(options: &Options) -> Result<Found, LogFault> {
    let [path, log, index, _] = options.files();
    let mut fault = None;
    // A process that begins meanwhile may be seen in the middle of beginning the log anew. Damage stays.
    for _ in 0..2 {
        if index::is_in_use(&index) {
            return Ok(Found { is_in_use: true, ..NOTHING });
        }
        match Looked::at(&path, &log, &index)
            .and_then(|looked| looked.judged(&path, &log, options.synchronous))
        {
            Ok(found) => return Ok(found),
            Err(error) => fault = Some(error),
        }
    }
    fault.map_or(Ok(NOTHING), Err)
}

/// A log that is to be salvaged, and what is wrong with it.
pub(super) struct Salvageable {
    pub(super) fault: Option<LogFault>,
    /// How much of it can be kept.
    pub(super) sound_bytes: u64,
    /// Transactions in that.
    pub(super) transactions: u64,
}

/// Looks at the log of a database that nobody has open. Where its index knows that more was moved into the database than is
/// sound in the log, the database alone is newer, and what is sound would stand before it.
///
/// # Errors
/// [`LogFault::Unreadable`].
pub(super) fn look_to_salvage(options: &Options) -> Result<Salvageable, LogFault> {
    let [path, log, index, _] = options.files();
    let looked = Looked::at(&path, &log, &index)?;
    let fault = looked.judged(&path, &log, Synchronous::Full).err();
    let scan = looked.scan.filter(|scan| match (scan.header, looked.known) {
        (Some(header), Some(known)) => header.salts != known.salts || known.moved < scan.frames,
        _ => true,
    });
    Ok(Salvageable {
        fault,
        sound_bytes: scan.as_ref().map_or(0, Scan::sound_bytes),
        transactions: scan.map_or(0, |scan| scan.transactions),
    })
}

/// What lies beside each other.
struct Looked {
    /// The beginning of the database.
    head: Vec<u8>,
    scan: Option<Scan>,
    /// What the log's index knows.
    known: Option<Index>,
}

impl Looked {
    fn at(path: &Path, log: &Path, index: &Path) -> Result<Self, LogFault> {
        let head = head(path)
            .map_err(|error| LogFault::Unreadable { file: path.to_owned(), why: error.to_string() })?;
        let mut known = index::read(index);
        let scan = match read(log, page_bytes(&head)) {
            Ok(scan) => scan,
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                // SQLite will say so. Nothing is known to be missing from it.
                known = None;
                None
            }
            Err(error) => {
                return Err(LogFault::Unreadable { file: log.to_owned(), why: error.to_string() });
            }
        };
        Ok(Self { head, scan, known })
    }

    fn judged(&self, path: &Path, log: &Path, synchronous: Synchronous) -> Result<Found, LogFault> {
        judge(path, log, &self.head, self.scan.as_ref(), self.known.as_ref(), synchronous)
    }
}

/// What is to be said of a log, by what it holds and what lies beside it.
fn judge(
    path: &Path,
    log: &Path,
    head: &[u8],
    scan: Option<&Scan>,
    known: Option<&Index>,
    synchronous: Synchronous,
) -> Result<Found, LogFault> {
    let (path, log) = (path.to_owned(), log.to_owned());
    let tail = scan.map_or(Tail::Unfinished, |scan| scan.tail);
    let sound = scan.map_or(0, |scan| scan.transactions);
    let is_torn = tail == Tail::Torn;
    if head.is_empty() {
        let transactions = sound + if let Tail::Damaged(behind) = tail { behind } else { u64::from(is_torn) };
        return if transactions == 0 {
            Ok(NOTHING)
        } else {
            Err(LogFault::Bereft { path, log, transactions })
        };
    }
    let modes = head.get(MODES);
    if modes == Some(&WITHOUT_LOG) {
        let why = "the database is one that keeps no log, such as a backup";
        return if sound == 0 { Ok(NOTHING) } else { Err(LogFault::Foreign { path, log, why }) };
    }
    let may_miss = synchronous == Synchronous::Normal && scan.is_some_and(|scan| may_miss(scan, known));
    let cut = known.and_then(|known| cut(scan, known).map(|has| (has, known.frames)));
    let dropped = match (tail, cut) {
        (Tail::Damaged(behind), _) if may_miss => Dropped::Transactions(behind),
        (Tail::Damaged(behind), _) => return Err(LogFault::Damaged { log, sound, behind }),
        (_, Some((has, known))) if may_miss => Dropped::Pages(known - has),
        (_, Some((has, known))) => return Err(LogFault::Cut { log, has, known }),
        (Tail::Torn, None) => Dropped::Torn,
        (Tail::Unfinished, None) => Dropped::Nothing,
    };
    let Some(scan) = scan.filter(|scan| scan.transactions > 0) else {
        return Ok(Found { dropped, ..NOTHING });
    };
    let foreign = |why| Err(LogFault::Foreign { path: path.clone(), log: log.clone(), why });
    if scan.header.is_some_and(|header| header.page_bytes != page_bytes(head)) {
        return foreign("its pages are of another size");
    }
    let Some(kept) = PageOne::of(head) else { return foreign("the database is cut") };
    if scan
        .page_one
        .is_some_and(|last| kept.changes > last.changes || kept.schema_cookie > last.schema_cookie)
    {
        return foreign("the database was changed since by somebody who did not know of it");
    }
    match kinship(kept, scan) {
        Kinship::Foreign => foreign("it was begun on another state of it, or on another database"),
        kin => {
            let is_own = kin == Kinship::Own;
            Ok(Found { transactions: scan.transactions, dropped, is_own, ..NOTHING })
        }
    }
}

/// Whether what the log lacks may have been lost with the power by a server that synced it at checkpoints only: the system then
/// writes its pages in any order, and whole transactions lie behind a hole. The header is synced before the first frame also then,
/// and all that was moved into the database before it was moved.
fn may_miss(scan: &Scan, known: Option<&Index>) -> bool {
    scan.header.is_some_and(|header| {
        known.is_none_or(|known| known.salts != header.salts || known.moved <= scan.frames)
    })
}

/// How many frames the log has, where that is fewer than its index knows to have been committed. What was moved into the database
/// is not missed where the log is gone altogether; a part of it would stand before what is newer there.
fn cut(scan: Option<&Scan>, known: &Index) -> Option<u64> {
    match scan.and_then(|scan| scan.header.map(|header| (header, scan.frames))) {
        Some((header, has)) => (header.salts == known.salts && has < known.frames).then_some(has),
        None => (known.frames > known.moved).then_some(0),
    }
}

/// The beginning of the database; empty where there is none. What can't be read is not taken for missing.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(DATABASE_HEAD_BYTES as usize);
    match File::open(path).and_then(|file| file.take(DATABASE_HEAD_BYTES).read_to_end(&mut head)) {
        Ok(_) => Ok(head),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn page_bytes(head: &[u8]) -> u32 {
    match head.get(16..18).map(|size| u32::from(size[0]) << 8 | u32::from(size[1])) {
        Some(1) => 65_536,
        Some(size) if size >= 512 => size,
        _ => USUAL_PAGE_BYTES,
    }
}

/// Reads the log; nothing where it is too short to have a header.
fn read(log: &Path, page_bytes: u32) -> io::Result<Option<Scan>> {
    let file = File::open(log)?;
    if file.metadata()?.len() < HEADER_BYTES as u64 {
        return Ok(None);
    }
    scan(&mut BufReader::with_capacity(BUFFER_BYTES, file), page_bytes).map(Some)
}

/// Sees to it that closing a connection leaves the log as it is.
pub(super) fn leave(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on).map(drop)
}

/// Whether a database and the log that was found beside it make one whole. Where marks don't tell, SQLite reads all of its
/// pages for that. Until then closing the connection must leave the log.
///
/// # Errors
/// As SQLite's, where it could not be found out. What is wrong is returned.
pub(super) fn holds_together(
    connection: &Connection,
    options: &Options,
    found: Found,
) -> rusqlite::Result<Result<(), LogFault>> {
    if found.is_own && found.dropped == Dropped::Nothing {
        tracing::info!(
            transactions = found.transactions,
            "the database was not closed in order; its log is whole, and nothing is lost"
        );
        return Ok(Ok(()));
    }
    let began = Instant::now();
    let [path, log, ..] = options.files();
    tracing::info!(
        transactions = found.transactions,
        "the database was not closed in order, and its log may be another's or is not whole; all of it is checked, which may take a while"
    );
    let finding = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let finding = match finding {
        Ok(finding) => finding,
        Err(error) => return found.incoherent(options, &error).map(Err).ok_or(error),
    };
    if finding != "ok" {
        let finding = finding.lines().last().unwrap_or_default().to_owned();
        return Ok(Err(LogFault::Incoherent { path, log, finding }));
    }
    tracing::info!(
        transactions = found.transactions,
        milliseconds = began.elapsed().as_millis() as u64,
        "the database and its log are sound"
    );
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
