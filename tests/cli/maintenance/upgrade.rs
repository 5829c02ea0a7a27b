//! Files of older servers: upgraded once, after a backup that restores them.

use super::*;

const BEFORE_0_2_0: &str = include_str!("../../old_files/before_0_2_0.sql");
const OF_0_2_0: &str = include_str!("../../old_files/0_2_0.sql");
const OF_SCHEMA_301: &str = include_str!("../../old_files/schema_301.sql");
const OF_SCHEMA_400: &str = include_str!("../../old_files/schema_400.sql");
const BACKUP: &str = concat!("registry.db.before-upgrade-", env!("CARGO_PKG_VERSION"));

/// Every row of both tables.
fn rows(database: &Path) -> Vec<String> {
    let file = Connection::open(database).unwrap();
    let mut all = Vec::new();
    for table in ["models", "model_events"] {
        let Ok(mut statement) = file.prepare(&format!("SELECT * FROM {table} ORDER BY id")) else { continue };
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
            all.push(format!("{table} {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    all
}

fn old_file(sql: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = Connection::open(at(&folder, "registry.db")).unwrap();
    sql.iter().for_each(|sql| file.execute_batch(sql).unwrap());
    let row = "INSERT OR IGNORE INTO models (name, version, checkpoint_path) VALUES ('old', '1', '/data/1')";
    file.execute_batch(row).unwrap();
    folder
}

fn end(server: Server) -> TempDir {
    server.signal("TERM");
    server.ended().folder
}

#[test]
fn an_old_file_is_upgraded_once_after_a_backup_that_restores_equal_rows() {
    for sql in [&[BEFORE_0_2_0][..], &[BEFORE_0_2_0, OF_0_2_0], &[OF_SCHEMA_301], &[OF_SCHEMA_400]] {
        let folder = old_file(sql);
        let before = rows(&at(&folder, "registry.db"));
        // A file with this name may exist from an earlier upgrade.
        fs::write(at(&folder, BACKUP), "an older one").unwrap();
        let backup = format!("{BACKUP}-2");
        let server = Server::start_in(folder);
        server.post("/models", &json!({"name": "new", "version": "1", "artifact_uri": "s3://b"}));
        let folder = end(Server::start_in(end(server)));
        assert_eq!(
            names(folder.path()),
            ["registry.db", BACKUP, &backup],
            "one backup, however often it starts"
        );
        assert_eq!(fs::read(at(&folder, BACKUP)).unwrap(), b"an older one");
        assert_eq!(rows(&at(&folder, &backup)), before);

        done(restore(&at(&folder, "registry.db"), &at(&folder, &backup)));
        assert_eq!(rows(&at(&folder, "registry.db")), before, "as before the upgrade");
        // And upgraded again, with the same backup.
        let folder = end(Server::start_in(folder));
        assert_eq!(names(folder.path()).iter().filter(|name| name.contains("before-upgrade")).count(), 2);
        let report = done(maintenance(&at(&folder, "registry.db"), ["--check"]));
        assert_eq!(report["check"]["errors"], json!([]));
    }
}

#[test]
fn an_upgrade_without_space_for_its_backup_is_refused_and_changes_nothing() {
    let folder = old_file(&[BEFORE_0_2_0]);
    let before = snapshot(folder.path());
    let mut limited = Command::new("sh");
    // In blocks of 512 bytes; the backup needs more than that.
    limited.args(["-c", "ulimit -f 4; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_registry"));
    limited.args(["serve", "--port", "0", "--db-path"]).arg(at(&folder, "registry.db"));
    let refused =
        Ran::of(limited.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_LOG", "off")).failed(1);
    assert!(
        refused.contains("the backup that must precede its upgrade failed") && refused.contains("disk"),
        "{refused}"
    );
    assert_eq!(snapshot(folder.path()), before);
}
