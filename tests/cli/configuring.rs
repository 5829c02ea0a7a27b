//! `registry config`: the effective settings and their sources, and never a key.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, Ran, registry, server::Server};

/// Returns a folder for configurations with this file in it.
fn configured(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("caia")).unwrap();
    fs::write(folder.path().join("caia/registry.toml"), text).unwrap();
    fs::write(folder.path().join("caia/key"), KEY).unwrap();
    for name in ["registry.toml", "key"] {
        chmod(&folder.path().join("caia").join(name), 0o600);
    }
    folder
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn config(folder: &TempDir, arguments: &[&str]) -> Ran {
    Ran::of(registry(["config"].iter().chain(arguments)).env("XDG_CONFIG_HOME", folder.path()))
}

#[test]
fn it_shows_the_settings_and_their_sources() {
    let file = "url = 'http://top'\n[profiles.b]\nurl = 'http://b'\napi_key_file = 'key'\n[profiles.a]\ns3_region = 'r'";
    let folder = configured(file);
    let path = folder.path().join("caia/registry.toml").display().to_string();
    assert_eq!(
        config(&folder, &[]).shown(),
        format!(
            "configuration  {path}\nprofile        -\nprofiles       a,b\nregistry       http://top ({path})\nAPI key        none\n"
        )
    );
    let ran = config(&folder, &["--profile", "b", "--json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        shown,
        json!({
            "config_path": path, "config_exists": true, "profile": "b", "profiles": ["a", "b"],
            "url": "http://b", "url_source": path, "api_key_found": true,
            "api_key_source": folder.path().join("caia/key").display().to_string(),
        })
    );
    let flags = ["--registry-url", "http://flag", "--api-key", KEY, "-o", "csv", "--no-header"];
    let lines = config(&folder, &flags).shown();
    assert!(lines.contains("url,http://flag\nurl_source,'--registry-url\n"), "{lines}");
    assert!(lines.contains("api_key_source,'--api-key\n"), "{lines}");
    assert_eq!(config(&folder, &["path"]).shown(), format!("{path}\n"));
    assert_eq!(config(&folder, &["path", "--config", "/else.toml"]).shown(), "/else.toml\n");
}

#[test]
fn without_a_file_it_shows_the_default_path() {
    let folder = tempfile::tempdir().unwrap();
    let text = config(&folder, &[]).shown();
    assert!(text.contains("caia/registry.toml (does not exist)\n"), "{text}");
    assert!(text.contains("registry       http://localhost:8001 (default)\n"), "{text}");
}

#[test]
fn a_wrong_file_is_an_error_of_one_line_without_the_key() {
    for (file, said) in [
        (format!("api_key = {KEY}"), "line 1"),
        (format!("api_key = '{KEY}'\nurk = 'x'"), "unknown field `urk`"),
        (format!("profile = 'p'\napi_key = '{KEY}'"), "it has no table [profiles.p]"),
    ] {
        let folder = configured(&file);
        let line = config(&folder, &[]).failed(1);
        assert!(line.contains(said) && line.contains("registry.toml is wrong"), "{line}");
        let listed = Ran::of(registry(["list"]).env("XDG_CONFIG_HOME", folder.path())).failed(1);
        assert_eq!(listed, line);
    }
}

#[test]
fn commands_take_url_and_key_from_the_file() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let folder = configured(&format!("[profiles.here]\nurl = '{}'\napi_key_file = 'key'", server.url));
    let list = |arguments: &[&str]| {
        Ran::of(
            registry(["list", "-o", "name"].iter().chain(arguments)).env("XDG_CONFIG_HOME", folder.path()),
        )
    };
    assert_eq!(list(&["--profile", "here"]).shown(), "m:v1\n");
    list(&["--profile", "there"]).failed(1);
    list(&[]).failed(4);
}

#[test]
fn a_password_in_a_url_is_never_repeated() {
    let password = "hunter2";
    let inside = format!("http://ann:{password}@host");
    let plain = configured("url = 'http://own'\napi_key_file = 'key'");
    let own = configured(&format!("url = '{inside}'\napi_key_file = 'key'"));
    for (folder, flags) in [
        (&plain, &["--registry-url", inside.as_str()][..]),
        (&plain, &["--registry-url", &inside, "--json"]),
        (&own, &[]),
        (&own, &["--registry-url", "http://other"]),
    ] {
        for command in ["config", "list"] {
            let arguments = [command].into_iter().chain(flags.iter().copied());
            let line = Ran::of(registry(arguments).env("XDG_CONFIG_HOME", folder.path())).failed(2);
            assert!(!line.contains(password), "{command} {flags:?}: {line}");
            assert!(line.contains("contains a user or a password, which is not allowed"), "{line}");
            let is_own = folder.path() == own.path();
            assert_eq!(line.contains("; this one is from "), is_own, "{line}");
        }
    }
}

#[test]
fn a_profile_without_a_key_says_that_variables_do_not_count() {
    let folder = configured("[profiles.p]\nurl = 'http://p'");
    let path = folder.path().join("caia/registry.toml");
    let mut command = registry(["list", "--profile", "p"]);
    command.env("XDG_CONFIG_HOME", folder.path()).env("CAIA_REGISTRY_API_KEY", KEY);
    assert_eq!(
        Ran::of(&mut command).failed(4),
        format!(
            "error: profile p in {} has no API key (variables don't count with --profile); add api_key or \
             api_key_file there, or use --api-key-file\n",
            path.display()
        )
    );
}

#[test]
fn a_used_key_that_others_can_read_causes_a_warning() {
    for (file, key_is_in) in
        [(format!("api_key = '{KEY}'"), "registry.toml"), ("api_key_file = 'key'".to_owned(), "key")]
    {
        let folder = configured(&file);
        assert_eq!(config(&folder, &[]).stderr, "", "{file}");
        let path = folder.path().join("caia").join(key_is_in);
        chmod(&path, 0o644);
        let warning = format!(
            "warning: {} holds an API key and others on this machine can read it; chmod 600 it\n",
            path.display()
        );
        assert_eq!(config(&folder, &[]).stderr, warning, "{file}");
        assert_eq!(config(&folder, &["--api-key", KEY]).stderr, "", "{file}");
    }
}

#[test]
fn a_broken_default_file_is_a_warning_if_flags_give_url_and_key() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let folder = configured("nonsense");
    let list = |flags: &[&str]| {
        let arguments = ["list", "-o", "name"].iter().chain(flags);
        Ran::of(registry(arguments).env("XDG_CONFIG_HOME", folder.path()))
    };
    let flags = ["--registry-url", &server.url, "--api-key", KEY];
    let (stdout, stderr) = list(&flags).done();
    assert_eq!(stdout, "m:v1\n");
    assert!(stderr.starts_with("warning: the configuration ") && stderr.contains("line 1"), "{stderr}");
    let path = folder.path().join("caia/registry.toml").display().to_string();
    list(&flags[..2]).failed(1);
    list(&[&flags[..], &["--config", &path]].concat()).failed(1);
}
