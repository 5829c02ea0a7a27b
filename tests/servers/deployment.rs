//! `compose.yaml`, its proxy and `packaging/kubernetes` name paths, ports and variables that the server knows.
//!
//! There is no YAML parser here: the files are read line by line, in the form in which they are written.

use std::{collections::BTreeMap, fs, path::Path};

use model_registry::settings::{ServeFlags, Settings};

use crate::{
    client::{Client, InFlight, Outcome},
    server::Server,
};

const KUBERNETES: &str = "packaging/kubernetes/deployment.yaml";
const PROXY: &str = "packaging/compose/Caddyfile";
/// The server's port, in the image and wherever a file names it.
const PORT: u16 = 8001;

/// Returns a file of the repository; `None` in a package, which lacks these files.
fn read(path: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("packaging").is_dir() {
        return None;
    }
    Some(fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// Returns what follows `key` in lines that begin with it.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    text.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key))
        .map(str::trim)
        .collect()
}

/// Returns the lines below the first line that is `head`, as long as they are indented further.
fn below<'t>(text: &'t str, head: &str) -> Vec<&'t str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim_end() != head);
    let depth = indent(lines.next().unwrap_or_else(|| panic!("no {head:?}")));
    lines.take_while(|line| line.trim().is_empty() || indent(line) > depth).collect()
}

/// Resolves settings from variables, as the server does, and asserts that it warns of none.
#[track_caller]
fn resolve(variables: &BTreeMap<String, String>) -> Settings {
    let settings = Settings::resolve(ServeFlags::default(), 2, |name| variables.get(name).cloned());
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    settings
}

/// Replaces `${NAME:-default}` by the default and `${NAME:?text}` by a value.
fn interpolated(value: &str) -> String {
    let Some((start, rest)) = value.split_once("${") else { return value.to_owned() };
    let (name, end) = rest.split_once('}').unwrap();
    let value = name.split_once(":-").map_or("a-value", |(_, default)| default);
    format!("{start}{value}{}", interpolated(end))
}

#[test]
fn compose_gives_each_server_valid_settings_and_no_secret_has_a_default() {
    let (Some(compose), Some(example)) = (read("compose.yaml"), read(".env.example")) else { return };
    let server = below(&compose, "x-registry: &registry").join("\n");
    let variables: BTreeMap<_, _> = below(&server, "  environment:")
        .iter()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.trim().split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), interpolated(value)))
        .collect();
    let settings = resolve(&variables);
    let database = settings.postgres.unwrap();
    assert!(database.has_password(), "from PGPASSWORD");
    assert_eq!(database.to_string(), "postgres://registry@postgres:5432/registry?sslmode=disable");
    assert_eq!(settings.key_file.as_deref(), Some(Path::new("/run/secrets/api_key")));
    assert!(server.contains("- source: api_key") && server.contains("target: api_key"));
    for name in ["POSTGRES_USER: registry", "POSTGRES_DB: registry", "  postgres:"] {
        assert!(compose.lines().any(|line| line.trim_end().ends_with(name)), "{name}");
    }
    // Every value from outside is a line of the example, and secrets are blank there and have no default here.
    let mut secrets = 0;
    let names = compose.match_indices("${").map(|(start, _)| &compose[start + 2..]);
    let declared = below(&compose, "secrets:").join("\n");
    for name in names.chain(values(&declared, "environment: ")) {
        let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (name, rest) = name.split_at(end.unwrap_or(name.len()));
        assert!(example.contains(&format!("\n#{name}=")), "{name} is not in .env.example");
        if ["KEY", "PASSWORD"].iter().any(|word| name.ends_with(word)) {
            secrets += 1;
            assert!(example.contains(&format!("\n#{name}=\n")), "{name} has a value");
            assert!(!rest.starts_with(":-"), "{name} has a default");
        }
    }
    assert!(secrets >= 4, "{secrets}");
}

#[test]
fn the_proxy_sends_requests_to_the_port_of_each_server_in_compose() {
    let (Some(compose), Some(proxy)) = (read("compose.yaml"), read(PROXY)) else { return };
    let servers: Vec<_> = compose
        .lines()
        .filter_map(|line| line.strip_prefix("  registry-")?.split_once(':'))
        .map(|(number, _)| format!("registry-{number}"))
        .collect();
    assert_eq!(servers.len(), 3);
    let upstreams: Vec<_> = servers.iter().map(|server| format!("{server}:{PORT}")).collect();
    assert_eq!(values(&proxy, "reverse_proxy "), [format!("{} {{", upstreams.join(" "))]);
    // The proxy's own port is published.
    let own = proxy.lines().find_map(|line| line.strip_prefix(':')?.strip_suffix(" {")).unwrap();
    assert!(compose.contains(&format!("127.0.0.1:{PORT}:{own}\"")), "{own}");
    assert!(compose.contains(&format!("./{PROXY}:/etc/caddy/Caddyfile:ro")));
}

#[test]
fn the_port_in_the_files_is_the_servers_default() {
    let (Some(image), Some(kubernetes)) = (read("Dockerfile"), read(KUBERNETES)) else { return };
    assert_eq!(resolve(&BTreeMap::new()).port, PORT);
    assert_eq!(values(&image, "EXPOSE "), [PORT.to_string()]);
    assert_eq!(values(&kubernetes, "containerPort: "), [PORT.to_string()]);
    assert!(kubernetes.contains(&format!("- name: http\n              containerPort: {PORT}\n")));
    assert_eq!(values(&kubernetes, "port: "), ["http"; 3], "the probes name the port");
    assert_eq!(values(&read("packaging/kubernetes/service.yaml").unwrap(), "targetPort: "), ["http"]);
    let user = values(&image, "USER ")[0].split(':').next().unwrap();
    assert_eq!(values(&kubernetes, "runAsUser: "), [user]);
    assert_eq!(values(&kubernetes, "args: "), ["[serve]"]);
}

#[test]
fn kubernetes_gives_the_server_valid_settings_from_a_secret_that_its_readme_creates() {
    let (Some(kubernetes), Some(readme)) = (read(KUBERNETES), read("packaging/kubernetes/README.md")) else {
        return;
    };
    let environment = below(&kubernetes, "          env:");
    let mut variables = BTreeMap::new();
    for (number, line) in environment.iter().enumerate() {
        let Some(name) = line.trim().strip_prefix("- name: ") else { continue };
        let own: Vec<_> =
            environment[number + 1..].iter().take_while(|line| !line.contains("- name: ")).collect();
        let of = |key: &str| own.iter().find_map(|line| line.trim().strip_prefix(key));
        let value = match (of("value: "), of("key: ")) {
            (Some(value), None) => value.trim_matches('"'),
            (None, Some("database-url")) => {
                "postgres://registry:s3cret@db.example.org/registry?sslmode=require"
            }
            (None, Some("api-keys")) => "one-key-of-the-secret,another-key-of-the-secret",
            other => panic!("{name}: {other:?}"),
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    let settings = resolve(&variables);
    assert_eq!(settings.http.keys.count(), 2);
    assert_eq!((settings.database.readers, settings.postgres.unwrap().writers), (4, 4));
    for key in values(&kubernetes, "key: ") {
        let is_created =
            ["--from-literal", "--from-file"].iter().any(|flag| readme.contains(&format!("{flag}={key}=")));
        assert!(is_created, "the README's command creates no key {key}");
    }
    assert!(readme.contains("sslrootcert=/etc/registry/ca.pem"));
    assert_eq!(values(&kubernetes, "mountPath: "), ["/etc/registry"]);
    let budget = read("packaging/kubernetes/poddisruptionbudget.yaml").unwrap();
    let selected = values(&budget, "app.kubernetes.io/name: ");
    assert_eq!(selected, ["registry"], "without a selector it selects no pod");
    for file in ["deployment.yaml", "service.yaml", "poddisruptionbudget.yaml"] {
        let kustomization = read("packaging/kubernetes/kustomization.yaml").unwrap();
        assert!(
            kustomization.contains(&format!("  - {file}\n"))
                && read(&format!("packaging/kubernetes/{file}")).is_some()
        );
    }
}

#[test]
fn every_path_that_is_probed_is_one_of_the_server() {
    let (Some(compose), Some(proxy), Some(kubernetes)) =
        (read("compose.yaml"), read(PROXY), read(KUBERNETES))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("registry.db"));
    let in_flight = InFlight::default();
    let mut client = Client::new(server.wait_for_address(), &in_flight);
    let of_compose = format!("http://127.0.0.1:{PORT}");
    let of_compose = compose
        .match_indices(&of_compose)
        .map(|(start, found)| compose[start + found.len()..].split('"').next().unwrap());
    let paths = values(&proxy, "health_uri ").into_iter().chain(of_compose);
    let probes = values(&kubernetes, "path: ").into_iter().filter(|path| path.starts_with('/'));
    let paths: Vec<_> = paths.chain(probes).collect();
    assert_eq!(paths, ["/ready", "/health", "/health", "/health", "/ready"]);
    for path in paths {
        let answer = client.send("GET", path, "probe", None);
        assert!(matches!(answer, Outcome::Answered(200, _)), "{path}: {answer:?}");
    }
    server.stop();
}
