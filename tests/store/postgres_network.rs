//! PostgreSQL over TLS, and behind PgBouncer.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use model_registry::store::{
    Backend as _,
    postgres::{Options, Postgres},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    left_out::left_out,
    now,
    postgres::PostgresFixture,
    postgres_cluster::{Cluster, own, unprivileged_command},
    suite,
};

/// An authority and what it has signed: for the server `localhost`, and for the user `registry`.
struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed = |names: &[&str], common_name: &str| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    let (server, client) = (signed(&["localhost"], "localhost"), signed(&[], "registry"));
    Certificates { authority: authority.as_ref().pem(), server, client }
}

#[test]
fn certificates_are_verified_as_sslmode_says_and_passwords_too() {
    let own = certificates();
    let foreign = certificates();
    // Free at this moment; the test is alone on this machine's loopback but for other tests.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let files = [
        ("ca.pem", own.authority.as_str()),
        ("server.pem", &own.server.0),
        ("server.key", &own.server.1),
        ("client.pem", &own.client.0),
        ("client.key", &own.client.1),
        ("foreign.pem", &foreign.authority),
        ("foreign-client.pem", &foreign.client.0),
        ("foreign-client.key", &foreign.client.1),
        (
            "hba.conf",
            "local all all trust\nhostssl strict all 127.0.0.1/32 cert\nhostssl secret all 127.0.0.1/32 scram-sha-256\n\
             hostssl all all 127.0.0.1/32 trust\n",
        ),
    ];
    let cluster = Cluster::with(&files, port, |folder| {
        let file = |name: &str| folder.join(name).display().to_string();
        vec![
            "-clisten_addresses=127.0.0.1".to_owned(),
            "-cssl=on".to_owned(),
            format!("-cssl_cert_file={}", file("server.pem")),
            format!("-cssl_key_file={}", file("server.key")),
            format!("-cssl_ca_file={}", file("ca.pem")),
            format!("-chba_file={}", file("hba.conf")),
        ]
    });
    let Some(cluster) = cluster else {
        return left_out("PostgreSQL is not installed, so TLS with it is not tested");
    };
    for database in ["open", "strict", "secret"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {database}"));
    }
    cluster.sql("postgres", "ALTER ROLE registry PASSWORD 'r1ght'");
    let connect = |host: &str, database: &str, parameters: &str| {
        let parameters = parameters.replace("DIR", &cluster.folder().display().to_string());
        let url = format!("postgres://registry@{host}:{port}/{database}?{parameters}");
        Postgres::open(&Options::parse(&url).unwrap(), now()).err().map(|error| error.to_string())
    };
    let client = "sslmode=verify-full&sslrootcert=DIR/ca.pem&sslcert=DIR/client.pem&sslkey=DIR/client.key";
    for (host, database, parameters, refused) in [
        ("localhost", "open", "sslmode=disable", Some("does not let user")),
        ("localhost", "secret", "password=r1ght", None),
        ("localhost", "secret", "password=wr0ng", Some("check the user, and the password in the URL")),
        ("localhost", "secret", "sslmode=require", Some("check the user, and the password in the URL")),
        ("localhost", "open", "sslmode=prefer", None),
        ("localhost", "open", "sslmode=require", None),
        // The certificate is for another name.
        ("127.0.0.1", "open", "sslmode=require", None),
        ("127.0.0.1", "open", "sslmode=verify-ca&sslrootcert=DIR/ca.pem", None),
        ("127.0.0.1", "open", "sslmode=require&sslrootcert=DIR/ca.pem", None),
        ("127.0.0.1", "open", "sslmode=verify-full&sslrootcert=DIR/ca.pem", Some("not valid for")),
        ("localhost", "open", "sslmode=verify-full&sslrootcert=DIR/ca.pem", None),
        // Another authority.
        ("localhost", "open", "sslmode=verify-ca&sslrootcert=DIR/foreign.pem", Some("TLS with PostgreSQL")),
        ("localhost", "open", "sslmode=require&sslrootcert=DIR/foreign.pem", Some("TLS with PostgreSQL")),
        ("localhost", "open", "sslmode=verify-full&sslrootcert=DIR/hba.conf", Some("PEM form")),
        ("localhost", "strict", "sslmode=verify-full&sslrootcert=DIR/ca.pem", Some("certificate")),
        ("localhost", "strict", client, None),
        (
            "localhost",
            "strict",
            "sslmode=require&sslcert=DIR/foreign-client.pem&sslkey=DIR/foreign-client.key",
            Some("localhost"),
        ),
    ] {
        let error = connect(host, database, parameters);
        match (refused, error) {
            (None, None) => {}
            (Some(said), Some(error)) => {
                assert!(error.contains(said), "{host} {parameters}: {error}");
                assert!(!error.contains("wr0ng"), "{error}");
            }
            (_, error) => panic!("{host} {database} {parameters}: {error:?}"),
        }
    }
}

/// A PgBouncer that ends with the test.
struct Bouncer(Child);

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pgbouncer() -> Option<PathBuf> {
    let places = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    places.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Starts a PgBouncer whose clients change from one connection to another after each transaction.
fn start_bouncer(program: &Path, folder: &Path) -> Bouncer {
    let config = folder.join("pgbouncer.ini");
    let folder = folder.display();
    let text = format!(
        "[databases]\n* = host={folder} user=registry\n[pgbouncer]\nunix_socket_dir = {folder}/bouncer\n\
         auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmin_pool_size = 2\n\
         server_round_robin = 1\nlogfile = {folder}/bouncer.log\n"
    );
    std::fs::write(&config, text).unwrap();
    own(&config);
    // Ends with the thread of this test, even if nothing is dropped.
    let mut command = unprivileged_command("setpriv");
    command.arg("--pdeathsig=KILL").arg(program).arg("--quiet").arg(&config);
    Bouncer(command.spawn().unwrap())
}

#[test]
fn postgres_behind_pgbouncer_passes_the_store_suite() {
    let (Some(program), Some(cluster)) =
        (pgbouncer(), Cluster::start(&["-cfsync=off", "-clisten_addresses=", "-cmax_connections=200"]))
    else {
        return left_out("PostgreSQL or PgBouncer is not installed, so they are not tested together");
    };
    let socket = cluster.folder().join("bouncer");
    std::fs::create_dir(&socket).unwrap();
    own(&socket);
    let _bouncer = start_bouncer(&program, cluster.folder());
    let begun = Instant::now();
    while !socket.join(".s.PGSQL.6432").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "PgBouncer did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let number = std::cell::Cell::new(0);
    suite::run(|| {
        number.set(number.get() + 1);
        let database = format!("bounced_{}", number.get());
        cluster.sql("postgres", &format!("CREATE DATABASE {database}"));
        let url =
            format!("postgres://registry@/{database}?host={}&port=6432&pgbouncer=true", socket.display());
        PostgresFixture::open(&Options::parse(&url).unwrap(), None)
    });
}
