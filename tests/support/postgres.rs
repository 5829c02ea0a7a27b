//! A PostgreSQL cluster of this test binary, in a temporary folder and on a Unix socket, and a database for each test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The superuser of the cluster.
const USER: &str = "registry";
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// PostgreSQL refuses to run as root.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
/// Creates the cluster `$2` with the programs of `$1`, runs it with the options that follow, and stops it at the end of the
/// input: when the test binary ends, however it ends.
const KEEPER: &str = r#"
bin=$1 folder=$2; shift 2
"$bin/initdb" -D "$folder/data" -U registry -A trust -E UTF8 --locale=C --no-sync >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"$bin/postgres" -D "$folder/data" -k "$folder" "$@" >>"$folder/log" 2>&1 &
echo started
while read -r command; do
    case $command in
        stop) kill -QUIT $! 2>/dev/null; wait $! 2>/dev/null;;
        start) "$bin/postgres" -D "$folder/data" -k "$folder" "$@" >>"$folder/log" 2>&1 &
    esac
    echo done
done
kill -QUIT $! 2>/dev/null
wait $!
rm -rf "$folder"
"#;

/// A running cluster. It ends with the process.
pub struct Cluster {
    keeper: Child,
    answers: BufReader<std::process::ChildStdout>,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Cluster {
    /// Starts a cluster with further options of `postgres`; `None` if PostgreSQL is not installed.
    pub fn start(options: &[&str]) -> Option<Self> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        Self::with(&[], 5432, |_| options)
    }

    /// Starts a cluster with files in its folder, which its options may name. The port is also a part of its socket's name.
    pub fn with(
        files: &[(&str, &str)],
        port: u16,
        options: impl FnOnce(&Path) -> Vec<String>,
    ) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("registry-postgres").tempdir().unwrap().keep();
        for (name, content) in files {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            own(&path);
        }
        own(&folder);
        let mut command = unprivileged_command("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&programs).arg(&folder).args(options(&folder));
        // Other folders may be closed to that user.
        command.arg(format!("-cport={port}")).current_dir(&folder);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut cluster = Self { keeper, answers, programs, folder, port };
        cluster.answered();
        cluster.wait();
        Some(cluster)
    }

    /// The folder with its socket and the files it was started with.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn answered(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "PostgreSQL did not start: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits until the cluster takes connections.
    fn wait(&self) {
        let begun = Instant::now();
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(begun.elapsed() < START_TIMEOUT, "PostgreSQL did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns a program of PostgreSQL that connects to the cluster.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(["-U", USER, "-p", &self.port.to_string()]).arg("-h").arg(&self.folder);
        command
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        let mut command = self.command("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        command.env("PGOPTIONS", "--client-min-messages=error").output().unwrap()
    }

    /// Runs SQL and returns its rows, their columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@/{database}?host={}", self.folder.display())
    }

    /// Ends the cluster as a crash would (`pg_ctl stop -m immediate`), and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    pub fn crash(&mut self) {
        self.tell("stop");
    }

    pub fn restart(&mut self) {
        self.tell("start");
        self.wait();
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.keeper.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.answered();
    }
}

/// An empty database for a test, dropped at its end.
pub struct TestDatabase {
    cluster: &'static Cluster,
    database: String,
    /// The schema that its connections use, if the database has others.
    schema: Option<String>,
}

/// Returns the cluster of this process, which has the database `shared`.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    // Durability is not tested here.
    let options = [
        "-cfsync=off",
        "-cfull_page_writes=off",
        "-cautovacuum=off",
        "-cmax_connections=200",
        "-clisten_addresses=",
    ];
    let start = || {
        let cluster = Cluster::start(&options)?;
        cluster.sql("postgres", "CREATE DATABASE shared");
        cluster.sql("shared", "CREATE EXTENSION pg_trgm");
        Some(cluster)
    };
    CLUSTER.get_or_init(start).as_ref()
}

impl TestDatabase {
    /// Creates a schema in a database that the tests of this process share, which takes a tenth of the time of a database;
    /// `None` if PostgreSQL is not installed.
    pub fn create() -> Option<Self> {
        let (cluster, name) = (cluster()?, new_name());
        cluster.sql("shared", &format!("CREATE SCHEMA {name}"));
        Some(Self { cluster, database: "shared".to_owned(), schema: Some(name) })
    }

    /// Creates a database of its own.
    pub fn create_own() -> Option<Self> {
        let (cluster, name) = (cluster()?, new_name());
        cluster.sql("postgres", &format!("CREATE DATABASE {name}"));
        Some(Self { cluster, database: name, schema: None })
    }

    /// Copies a database of its own, to which nothing is connected.
    pub fn copy(&self) -> Self {
        let (cluster, name) = (self.cluster, new_name());
        cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {}", self.database));
        Self { cluster, database: name, schema: None }
    }

    pub fn url(&self) -> String {
        let url = self.cluster.url(&self.database);
        match &self.schema {
            Some(schema) => format!("{url}&options=-csearch_path%3D{schema},public"),
            None => url,
        }
    }

    /// Lets no connection in, and ends those that are open.
    pub fn shut(&self) {
        let name = &self.database;
        self.cluster.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        let end =
            format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'");
        self.cluster.sql("postgres", &end);
    }

    pub fn reopen(&self) {
        let sql = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.database);
        self.cluster.sql("postgres", &sql);
    }

    /// Runs SQL and returns its rows, their columns separated by `|`.
    pub fn sql(&self, sql: &str) -> String {
        match &self.schema {
            Some(schema) => {
                self.cluster.sql(&self.database, &format!("SET search_path = {schema}, public; {sql}"))
            }
            None => self.cluster.sql(&self.database, sql),
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.schema {
            Some(schema) => self.cluster.psql(&self.database, &format!("DROP SCHEMA {schema} CASCADE")),
            // Its connections may still be open.
            None => self.cluster.psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.database)),
        };
    }
}

fn new_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Returns the folder of PostgreSQL's programs, which Debian does not put into the PATH.
fn programs() -> Option<PathBuf> {
    let of_pg_config = Command::new("pg_config").arg("--bindir").output().ok();
    let of_pg_config =
        of_pg_config.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let mut folders: Vec<_> = of_pg_config.into_iter().collect();
    folders.extend(versions.map(|version| version.path().join("bin")));
    folders.extend(of_path.into_iter().flatten());
    folders
        .into_iter()
        .find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file()))
}

/// Gives a file to the user of the cluster.
pub fn own(path: &Path) {
    if let Some((user, group)) = unprivileged() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// Returns a command that runs as the user of the cluster.
pub fn unprivileged_command(program: &str) -> Command {
    let Some((user, group)) = unprivileged() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}")]).args(["--clear-groups", program]);
    command
}

/// Returns user and group for the cluster, if this is root.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    UNPRIVILEGED.iter().find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}
