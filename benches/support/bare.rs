//! The baselines of the server: bare SQLite and bare actix-web.

use std::{path::Path, time::Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use rusqlite::Connection;

use super::{Result, options};

/// The changes of a metrics write alone: one transaction, one sync.
pub struct BareSqlite {
    connection: Connection,
    turn: u64,
}

const READ: &str = "SELECT metrics, updated_at FROM models WHERE id = ?1";
const CHANGE: &str = "UPDATE models SET metrics = ?2, updated_at = ?3 WHERE id = ?1";
const ADD_EVENT: &str = "INSERT INTO model_events (model_id, event_type, payload_json, actor, created_at) \
    VALUES (?1, 'eval', ?2, 'key:hush…', ?3)";
const METRICS: &str = r#"{"suites":{"smoke-v1":{"score":0.9371,"accuracy":0.91,"_meta":{"recorded_at":"2026-01-31T13:05:09.250+00:00","actor":"key:hush…"}}}}"#;
const PAYLOAD: &str = r#"{"suite":"smoke-v1","metrics":{"score":0.9371,"accuracy":0.91},"prior_metrics_sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

impl BareSqlite {
    /// Opens an existing registry with the settings of the server's writer.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(options(path).busy_timeout)?;
        for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("temp_store", "MEMORY")] {
            connection.pragma_update(None, name, value)?;
        }
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(Self { connection, turn: 0 })
    }

    /// Changes the row of version 1 and adds an event, and commits both.
    pub fn write(&mut self) -> rusqlite::Result<()> {
        self.turn += 1;
        // The time differs each turn, or the trigger that sets `updated_at` would add another change.
        let now = format!(
            "2026-02-01 {:02}:{:02}:{:02}.{:03}",
            self.turn / 3_600_000 % 24,
            self.turn / 60_000 % 60,
            self.turn / 1000 % 60,
            self.turn % 1000
        );
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let _: Option<String> = self.connection.prepare_cached(READ)?.query_row([1], |row| row.get(0))?;
        self.connection.prepare_cached(CHANGE)?.execute((1, METRICS, &now))?;
        self.connection.prepare_cached(ADD_EVENT)?.execute((1, PAYLOAD, &now))?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Commits for about this time, and returns the commits per second.
    pub fn rate(&mut self, seconds: f64) -> rusqlite::Result<f64> {
        let begun = Instant::now();
        let mut commits = 0_u32;
        while begun.elapsed().as_secs_f64() < seconds {
            self.write()?;
            commits += 1;
        }
        Ok(f64::from(commits) / begun.elapsed().as_secs_f64())
    }
}

/// The argument with which a benchmark runs itself as [`serve_constant`].
pub const SERVE_CONSTANT: &str = "--serve-constant";

/// Prints its address, and answers every request with the same few bytes until stdin is closed, which happens when the
/// benchmark ends.
pub fn serve_constant(workers: usize) -> Result<()> {
    async fn answer() -> HttpResponse {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"service":"model-registry","status":"ok"}"#)
    }
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().route("/", web::get().to(answer)))
            .workers(workers)
            .bind(("127.0.0.1", 0))?;
        println!("http://{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}
