//! Loads a server with `wrk`, which uses less of the processor than other clients.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use super::{
    Result,
    process::{KEY, output},
    words,
};

/// A file with the requests of a load.
#[derive(Clone, Copy)]
pub enum Script {
    /// `GET /models/{id}`
    Read,
    /// `GET /models?limit=50`
    List,
    /// `POST /models/{id}/metrics` of one version.
    WriteOne,
    /// `POST /models/{id}/metrics` of all versions in turn.
    WriteMany,
}

/// The result of a load.
pub struct Load {
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub failed: u64,
}

impl Script {
    const ALL: [Self; 4] = [Self::Read, Self::List, Self::WriteOne, Self::WriteMany];

    fn file_name(self) -> &'static str {
        match self {
            Self::Read => "read.lua",
            Self::List => "list.lua",
            Self::WriteOne => "write-one.lua",
            Self::WriteMany => "write-many.lua",
        }
    }

    /// Writes the scripts for a registry of `models` versions. They build each request once, because `wrk`'s only thread is
    /// busy sending.
    pub fn write_all(folder: &Path, models: u64) -> Result<()> {
        for script in Self::ALL {
            let ids: Vec<u64> = match script {
                Self::Read => (0..2000).map(|turn| words::hash(turn, 40) % models + 1).collect(),
                Self::List | Self::WriteOne => vec![1],
                Self::WriteMany => (1..=models).collect(),
            };
            let body = metrics_body();
            let (method, path, body) = match script {
                Self::Read => ("GET", r#""/models/" .. id"#, "nil".to_owned()),
                Self::List => ("GET", r#""/models?limit=50""#, "nil".to_owned()),
                Self::WriteOne | Self::WriteMany => {
                    ("POST", r#""/models/" .. id .. "/metrics""#, format!("'{body}'"))
                }
            };
            let mut list = String::new();
            for id in ids {
                write!(list, "{id},")?;
            }
            let text = format!(
                "local ids, made, turn = {{{list}}}, {{}}, 0\n\
                 local headers = {{[\"X-API-Key\"] = \"{KEY}\", [\"Content-Type\"] = \"application/json\"}}\n\
                 function request()\n\
                 \x20 if #made == 0 then\n\
                 \x20   for at, id in ipairs(ids) do made[at] = wrk.format(\"{method}\", {path}, headers, {body}) end\n\
                 \x20 end\n\
                 \x20 turn = turn % #made + 1\n\
                 \x20 return made[turn]\n\
                 end\n"
            );
            fs::write(folder.join(script.file_name()), text)?;
        }
        Ok(())
    }
}

/// Returns the body of each `POST /models/{id}/metrics`.
pub fn metrics_body() -> String {
    format!(r#"{{"suite":"smoke-v1","metrics":{}}}"#, words::scores(1))
}

/// Returns an error that says how to install `wrk` if it is missing.
pub fn check_installed() -> Result<()> {
    if Command::new("wrk").arg("--version").output().is_err() {
        return Err(
            "wrk, which sends the requests, is missing: apt-get install wrk, or brew install wrk".into()
        );
    }
    Ok(())
}

/// Loads a server for this time: with a script of `folder`, or with GETs of the URL itself.
pub fn run(url: &str, script: Option<Script>, connections: u32, seconds: u32, folder: &Path) -> Result<Load> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "--latency", &format!("-c{connections}"), &format!("-d{seconds}s")]);
    if let Some(script) = script {
        command.arg("-s").arg(folder.join(script.file_name()));
    }
    read(&output(command.arg(url))?)
}

/// Reads what `wrk --latency` prints.
fn read(text: &str) -> Result<Load> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).ok_or_else(|| format!("wrk printed no {name:?}:\n{text}"))
    };
    let socket_errors = field("Socket errors:").map_or(0, |line| {
        line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok()).sum()
    });
    let refused = field("Non-2xx or 3xx responses:").map_or(Ok(0), str::parse)?;
    Ok(Load {
        rate: field("Requests/sec:")?.parse()?,
        p50_ms: duration_ms(field("50%")?)?,
        p99_ms: duration_ms(field("99%")?)?,
        failed: socket_errors + refused,
    })
}

/// `1.23ms`, `812.00us`, `1.02s`
fn duration_ms(text: &str) -> Result<f64> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number: f64 = text[..text.len() - unit.len()].parse()?;
    match unit {
        "us" => Ok(number / 1e3),
        "ms" => Ok(number),
        "s" => Ok(number * 1e3),
        "m" => Ok(number * 6e4),
        _ => Err(format!("{text:?} is not a duration as wrk prints them").into()),
    }
}
