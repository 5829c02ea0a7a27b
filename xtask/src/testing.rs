//! A small repository of its own for tests: a workspace without dependencies, committed.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    command,
    process::{Interrupt, capture},
    repository::Repository,
};

/// A server whose only answer is its document.
const PROGRAM: &str = r#"
use std::{io::{Read, Write}, net::TcpListener};
fn main() {
    if std::env::args().nth(1).as_deref() != Some("serve") {
        println!("registry {}", env!("CARGO_PKG_VERSION"));
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("registry at http://{}", listener.local_addr().unwrap());
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        let (mut head, mut piece) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            let count = connection.read(&mut piece).unwrap();
            head.extend_from_slice(&piece[..count]);
        }
        let body = format!("{{\"info\": {{\"version\": \"{}\"}}}}", env!("CARGO_PKG_VERSION"));
        let _ = write!(connection, "HTTP/1.0 200 OK\r\n\r\n{body}");
    }
}
"#;

/// What a test run for coverage sets, which is meant for the repository that is tested.
const NOT_FOR_US: [&str; 7] = [
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "LLVM_PROFILE_FILE",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// The repository, which goes with it.
pub(crate) struct Fixture {
    pub(crate) repository: Repository,
    _folder: TempDir,
}

impl Fixture {
    /// One to which nothing can be objected.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mut environment: Vec<_> = NOT_FOR_US.map(|name| (name, None)).into();
        environment.push(("CARGO_TARGET_DIR", Some(root.join("target"))));
        let repository = Repository { root, interrupt: Interrupt::default(), environment };
        let fixture = Self { repository, _folder: folder };
        fixture.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\n[workspace.package]\nversion = \"0.3.0\"\n\n[package]\nname = \"small\"\n\
             description = \"small\"\nlicense = \"MIT\"\nedition = \"2024\"\nversion.workspace = true\n\n\
             [[bin]]\nname = \"registry\"\npath = \"src/main.rs\"\n",
        );
        fixture.write("src/main.rs", PROGRAM);
        fixture.write("README.md", "small 0.3.0\n");
        fixture.write("LICENSE", "MIT\n");
        fixture.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- New.\n");
        fixture.write(".gitignore", "/target/\n");
        let locked = fixture.repository.cargo(&["generate-lockfile", "--offline"]).unwrap();
        assert!(locked.success, "{}", locked.stderr);
        fixture.git(&["init", "--quiet", "--initial-branch=main"]);
        fixture.commit();
        fixture
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.repository.root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.repository.root.join(path)).unwrap()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.must(command::git(&self.repository.root, args))
    }

    /// Everything that is there.
    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        self.git(&[&who[..], &["commit", "--quiet", "--message", "all"]].concat());
    }

    fn must(&self, mut command: Command) -> String {
        let ended = capture(&mut command, &Interrupt::default()).unwrap();
        assert!(ended.success, "{command:?}: {}", ended.stderr);
        ended.stdout
    }
}
