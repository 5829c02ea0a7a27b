use super::{flags::MAX_BUSY_TIMEOUT_MS, *};

/// Looks a variable up by its name without the prefix.
fn lookup(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    |name| {
        let found = variables.iter().find(|(key, _)| name.strip_prefix("CAIA_REGISTRY_") == Some(key));
        found.map(|(_, value)| (*value).to_owned())
    }
}

fn resolve(flags: ServeFlags, variables: &[(&str, &str)]) -> Settings {
    Settings::resolve(flags, 2, lookup(variables)).unwrap()
}

#[test]
fn invalid_numbers_and_limits_of_zero_are_replaced_by_the_default() {
    for value in ["x", "", "0", "-5", "1.5", "99999999999999999999999"] {
        let settings = resolve(
            ServeFlags::default(),
            &[("MAX_HASH_BYTES", value), ("SQLITE_BUSY_TIMEOUT_MS", value), ("READERS", value)],
        );
        assert_eq!(settings.rules.max_hash_bytes, DEFAULT_MAX_HASH_BYTES, "{value}");
        assert_eq!(settings.database.store.busy_timeout, Duration::from_secs(5), "{value}");
        assert_eq!(settings.database.readers, 2, "{value}");
    }
    let settings = resolve(ServeFlags::default(), &[("MAX_HASH_BYTES", " 4 ")]);
    assert_eq!(settings.rules.max_hash_bytes, 4);
}

#[test]
fn webhooks_call_only_the_networks_that_are_named_and_with_dev_loopback() {
    let allowed = |dev: bool, value: &str| {
        let flags = ServeFlags { dev, ..ServeFlags::default() };
        Settings::resolve(flags, 2, lookup(&[("WEBHOOK_ALLOW", value)]))
            .map(|settings| settings.deliveries.allowed.len())
    };
    for (dev, value, count) in
        [(false, "", 0), (false, "10.0.0.0/8, ::1", 2), (true, "", 2), (true, "10.0.0.7", 3)]
    {
        assert_eq!(allowed(dev, value).unwrap(), count, "{dev} {value}");
    }
    assert!(allowed(false, "10.0.0.0/99").unwrap_err().to_string().contains("--webhook-allow"));
    let settings = resolve(ServeFlags::default(), &[("WEBHOOK_RETRY_MS", "20")]);
    assert_eq!(settings.deliveries.first_pause_ms, 20);
}

#[test]
fn commits_are_fully_synced_unless_normal_is_set() {
    for (value, read) in [
        ("normal", Synchronous::Normal),
        ("NORMAL", Synchronous::Normal),
        ("full", Synchronous::Full),
        ("off", Synchronous::Full),
        ("", Synchronous::Full),
    ] {
        let settings = resolve(ServeFlags::default(), &[("SYNCHRONOUS", value)]);
        assert_eq!(settings.database.store.synchronous, read, "{value}");
        let flags = ServeFlags { synchronous: Some(Durability::Full), ..ServeFlags::default() };
        let settings = resolve(flags, &[("SYNCHRONOUS", value)]);
        assert_eq!(settings.database.store.synchronous, Synchronous::Full, "{value}");
    }
}

#[test]
fn workers_leave_cores_to_readers_which_are_bounded() {
    for (cores, workers, readers) in [(1, 1, 1), (2, 1, 2), (3, 2, 3), (8, 5, 8), (64, 42, 16)] {
        let settings = Settings::resolve(ServeFlags::default(), cores, |_| None).unwrap();
        assert_eq!((settings.http.workers, settings.database.readers), (workers, readers), "{cores}");
    }
}

#[test]
fn booleans_are_true_for_four_words_in_any_case() {
    for (value, read) in [
        ("1", true),
        ("TRUE", true),
        ("Yes", true),
        (" on ", true),
        ("0", false),
        ("2", false),
        ("y", false),
        ("", false),
    ] {
        let settings = resolve(ServeFlags::default(), &[("ALLOW_LOCAL_PATHS", value)]);
        assert_eq!(settings.rules.allow_local_paths, read, "{value:?}");
    }
}

#[test]
fn keys_come_from_both_variables_and_are_kept_as_digests() {
    let variables = [("API_KEY", " test-key "), ("API_KEYS", "k1, k2,,k1"), ("API_KEY_FILE", "keys")];
    let settings = resolve(ServeFlags::default(), &variables);
    assert_eq!(settings.http.keys.count(), 3);
    assert_eq!(settings.key_file, Some(PathBuf::from("keys")));
    let variables = [("API_KEY_FILE", "keys"), ("TLS_CERT", "c"), ("TLS_KEY", "k")];
    let secrets = resolve(ServeFlags::default(), &variables).hasher.secrets;
    assert_eq!(secrets, [PathBuf::from("keys"), PathBuf::from("k")], "clients must not have them digested");
    assert!(!format!("{settings:?}").contains("test-key"));
}

#[test]
fn keys_of_fewer_than_16_characters_cause_a_warning_and_keep_working() {
    for (key, warnings) in [("0123456789abcdef", 0), ("0123456789abcde", 1), ("schlüssel-äöü-äö", 0)] {
        let settings =
            resolve(ServeFlags::default(), &[("API_KEY", key), ("API_KEYS", "an-ordinary-long-key")]);
        assert_eq!((settings.warnings.len(), settings.http.keys.count()), (warnings, 2), "{key}");
        assert!(!settings.warnings.iter().any(|warning| warning.contains(key)));
    }
}

#[test]
fn invalid_variables_cause_a_warning_with_name_and_value_and_blank_ones_do_not() {
    let settings = resolve(
        ServeFlags::default(),
        &[
            ("PORT", "99999"),
            ("READERS", "-1"),
            ("PUBLIC_METRICS", "y"),
            ("SYNCHRONOUS", "off"),
            ("HASHERS", " "),
        ],
    );
    assert_eq!(settings.warnings.len(), 4, "{:?}", settings.warnings);
    for part in ["PORT is \"99999\"", "READERS is \"-1\"", "not true or false", "SYNCHRONOUS is \"off\""] {
        assert!(settings.warnings.iter().any(|warning| warning.contains(part)), "{part}");
    }
}

#[test]
fn the_number_of_connections_must_be_supported_only_if_it_was_set() {
    assert!(!resolve(ServeFlags::default(), &[]).requires_max_connections);
    let settings = resolve(ServeFlags::default(), &[("MAX_CONNECTIONS", "50000")]);
    assert_eq!((settings.http.max_connections, settings.requires_max_connections), (50_000, true));
}

#[test]
fn dev_makes_a_key_only_if_none_is_configured() {
    let dev = || ServeFlags { dev: true, ..ServeFlags::default() };
    for configured in [("API_KEY", "mine"), ("API_KEYS", "mine"), ("API_KEY_FILE", "mine")] {
        assert_eq!(resolve(dev(), &[configured]).dev_key, None);
    }
    let (one, other) = (resolve(dev(), &[]), resolve(dev(), &[]));
    assert_eq!(one.http.keys.count(), 1);
    assert_eq!(one.dev_key.as_ref().map(String::len), Some(2 * DEV_KEY_BYTES));
    assert_ne!(one.dev_key, other.dev_key);
    assert!(!format!("{one:?}").contains(&one.dev_key.unwrap()));
}

#[test]
fn https_needs_both_files_and_proxies_are_addresses() {
    let failed = |variables: &[(&str, &str)]| {
        Settings::resolve(ServeFlags::default(), 2, lookup(variables)).err().map(|error| error.to_string())
    };
    assert!(failed(&[("TLS_CERT", "c")]).is_some_and(|error| error.contains("--tls-cert and --tls-key")));
    assert!(failed(&[("TLS_KEY", "k")]).is_some());
    assert_eq!(failed(&[("TLS_CERT", "c"), ("TLS_KEY", "k")]), None);
    assert_eq!(failed(&[("TRUSTED_PROXIES", "10.0.0.1, 10.0.0.0/8,::1")]), None);
    assert!(
        failed(&[("TRUSTED_PROXIES", "proxy")])
            .is_some_and(|error| error.starts_with("\"proxy\" is not an address"))
    );
}

#[test]
fn the_url_of_a_server_on_this_machine_follows_its_variables() {
    for (variables, url) in [
        (&[][..], "http://127.0.0.1:8001"),
        (&[("HOST", "0.0.0.0"), ("PORT", "9000")], "http://127.0.0.1:9000"),
        (&[("HOST", "::")], "http://[::1]:8001"),
        (&[("HOST", "[::]"), ("PORT", "x")], "http://[::1]:8001"),
        (&[("HOST", "fd00::7")], "http://[fd00::7]:8001"),
        (&[("HOST", "10.0.0.7")], "http://10.0.0.7:8001"),
        (&[("HOST", "ml.example.org"), ("TLS_CERT", "c")], "https://ml.example.org:8001"),
    ] {
        assert_eq!(own_url(lookup(variables)), url);
    }
}

#[test]
fn an_empty_list_of_origins_allows_none_and_an_unset_one_localhost() {
    let origins = |list| resolve(ServeFlags::default(), &[("CORS_ORIGINS", list)]).http.cors_origins;
    assert!(origins("").is_empty());
    assert_eq!(origins("https://a.example, https://b.example/,"), ["https://a.example", "https://b.example"]);
    assert_eq!(origins("HTTPS://ML.Example.org,null"), ["https://ml.example.org", "null"]);
    let settings = resolve(ServeFlags::default(), &[("CORS_ORIGINS", "https://a, 'http://b'")]);
    assert_eq!(settings.http.cors_origins, ["https://a"]);
    assert!(
        settings.warnings[0].contains("\"'http://b'\", which is not an origin"),
        "{:?}",
        settings.warnings
    );
    let flags = ServeFlags { cors_origins: Some("https://a, b".to_owned()), ..ServeFlags::default() };
    let error = Settings::resolve(flags, 2, |_| None).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.starts_with("\"b\" is not an origin")));
}

#[test]
fn a_busy_timeout_beyond_the_range_of_sqlite_is_capped() {
    let settings = resolve(ServeFlags::default(), &[("SQLITE_BUSY_TIMEOUT_MS", "99999999999999")]);
    assert_eq!(settings.database.store.busy_timeout, Duration::from_millis(MAX_BUSY_TIMEOUT_MS));
}

#[test]
fn the_root_of_local_paths_must_be_a_folder() {
    let settings = resolve(ServeFlags::default(), &[("LOCAL_PATH_ROOT", " ")]);
    assert!(settings.hasher.root.is_none());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let settings = resolve(ServeFlags::default(), &[("LOCAL_PATH_ROOT", path)]);
    assert!(settings.hasher.root.is_some());
    assert!(!settings.rules.allow_local_paths, "a root allows nothing by itself");
    let flags = ServeFlags { local_path_root: Some(folder.path().join("none")), ..ServeFlags::default() };
    let error = Settings::resolve(flags, 2, |_| None).err();
    let said = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(said.starts_with("--local-path-root: ") && said.contains("none does not exist"), "{said}");
}

#[test]
fn the_database_is_one_file_or_one_url_and_its_password_is_not_shown() {
    let url = "postgres://ann:s3cret@db/models";
    let place = |settings: &Settings| settings.postgres.as_ref().map(ToString::to_string);
    let flag = |url: &str| ServeFlags { database_url: Some(url.to_owned()), ..ServeFlags::default() };
    assert_eq!(place(&resolve(ServeFlags::default(), &[("DATABASE_URL", " ")])), None);
    // An image may set a path.
    let variables = [("DATABASE_URL", url), ("DB_PATH", "/data/registry.db"), ("DATABASE_WRITERS", "9")];
    let settings = resolve(ServeFlags::default(), &variables);
    assert_eq!(place(&settings).as_deref(), Some("postgres://ann@db:5432/models?sslmode=prefer"));
    assert_eq!(settings.postgres.as_ref().map(|options| options.writers), Some(9));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    assert!(!format!("{settings:?}").contains("s3cret"));
    let settings = resolve(flag(url), &[]);
    assert!(
        settings.warnings[0].contains("the password in --database-url; put it"),
        "{:?}",
        settings.warnings
    );
    assert!(resolve(flag("postgres://ann@db/models"), &[]).warnings.is_empty());

    let with_path = ServeFlags { db_path: Some(PathBuf::from("r.db")), ..ServeFlags::default() };
    let unsynced = ServeFlags { synchronous: Some(Durability::Normal), ..flag(url) };
    for (flags, variables, said) in [
        (with_path, &[("DATABASE_URL", url)][..], "unset one"),
        (unsynced, &[], "PostgreSQL syncs each commit; remove it"),
        (flag(url), &[("SYNCHRONOUS", "normal")], "PostgreSQL syncs each commit; remove it"),
        (flag("postgres://ann:s3cret@db/models?sslmode=yes"), &[], "choose disable, prefer"),
        (flag("registry.db"), &[], "must look like postgres://"),
    ] {
        let error = Settings::resolve(flags, 2, lookup(variables)).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let flags = ServeFlags {
        port: Some(9),
        max_hash_bytes: Some(7),
        allow_local_paths: Some(false),
        ..ServeFlags::default()
    };
    let settings = resolve(flags, &[("PORT", "1"), ("MAX_HASH_BYTES", "8"), ("ALLOW_LOCAL_PATHS", "1")]);
    assert_eq!((settings.port, settings.rules.max_hash_bytes), (9, 7));
    assert!(!settings.rules.allow_local_paths);
}
