//! Finds out which version a reference names, and its files: from the registry, or from its last answer.
//!
//! Each answer is remembered in the cache under the registry and the reference, for `--offline`.

use std::{fs, path::PathBuf, time::SystemTime};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    super::{
        exit::{self, Failure},
        print,
        version_arg::VersionArg,
    },
    cache::Cache,
    plan::Plan,
};
use crate::{
    artifact::write_atomically,
    client::Client,
    domain::{Digest, Timestamp},
};

/// Files on a page, as many as a registry allows.
const PAGE: &str = "10000";
/// What works on a registry without `/v1`, as in "or …".
const WITHOUT_V1: &str = "fetch the artifact that `registry show` names";

/// Asks the registry, and remembers its answer.
///
/// # Errors
/// As any call, and as [`Plan::new`].
pub(in crate::cli) fn online(
    reference: &VersionArg,
    client: &Client,
    url: &str,
    cache: Option<&Cache>,
) -> Result<Plan, Failure> {
    let v1 = client.v1(WITHOUT_V1);
    let version = reference.fetch_v1(&v1)?;
    let name = version["model"].as_str().unwrap_or_default();
    let number = version["number"].as_i64().unwrap_or_default();
    let mut files = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(next.iter().map(|cursor| ("cursor", cursor.as_str())));
        let page = v1.files(name, number, &query)?;
        files.extend(page.items);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    if let Some(cache) = cache.filter(|cache| !cache.is_temporary()) {
        // The pull itself works without.
        if let Err(failure) = remember(cache, reference, url, &version, &files) {
            print::line(&format!("warning: {}; --offline will not find this version", failure.text()));
        }
    }
    Plan::new(version, &files)
}

fn remember(
    cache: &Cache,
    reference: &VersionArg,
    url: &str,
    version: &Value,
    files: &[Value],
) -> Result<(), Failure> {
    let list = json!(files).to_string();
    let digest = Digest::from_bytes(Sha256::digest(&list).into());
    cache.put(digest, list.as_bytes())?;
    let answer = json!({
        "registry": url,
        "reference": reference.text(),
        "answered_at": now().to_rfc3339(),
        "version": version,
        "files": { "sha256": digest.to_string(), "size_bytes": list.len() },
    });
    Ok(write_atomically(&path_of(cache, reference, url), answer.to_string().as_bytes())?)
}

/// Returns the registry's last answer, and when it gave it.
///
/// # Errors
/// If there is none, or it is damaged.
pub(in crate::cli) fn offline(
    reference: &VersionArg,
    url: &str,
    cache: &Cache,
) -> Result<(Plan, String), Failure> {
    let unknown = || {
        Failure::failed(format!(
            "the cache does not know {reference} of {url}; pull it once without --offline, by the same name"
        ))
    };
    let text = fs::read_to_string(path_of(cache, reference, url)).map_err(|_| unknown())?;
    let mut answer: Value = serde_json::from_str(&text).map_err(|_| unknown())?;
    let list = &answer["files"];
    let digest = Digest::parse("sha256", list["sha256"].as_str().unwrap_or_default()).ok().flatten();
    let digest = digest.ok_or_else(unknown)?;
    let list = cache.find(digest, list["size_bytes"].as_u64().unwrap_or_default())?.and_then(|mut file| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text).ok().map(|_| text)
    });
    let list = list.filter(|text| Digest::from_bytes(Sha256::digest(text).into()) == digest);
    let files: Vec<Value> = serde_json::from_str(&list.ok_or_else(unknown)?).map_err(|_| unknown())?;
    let answered_at = answer["answered_at"].as_str().unwrap_or("an unknown time").to_owned();
    Ok((Plan::new(answer["version"].take(), &files)?, answered_at))
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

fn path_of(cache: &Cache, reference: &VersionArg, url: &str) -> PathBuf {
    let key = Sha256::digest(format!("{}\n{}", url.trim().trim_end_matches('/'), reference.text()));
    cache.answers().join(format!("{}.json", hex::encode(key)))
}

/// Returns a failure with a hint at the cache, if the registry is away.
pub(in crate::cli) fn hint_at_cache(failure: Failure) -> Failure {
    let is_away = failure.code() == exit::UNREACHABLE;
    if is_away { failure.followed_by("; --offline takes what is in the cache") } else { failure }
}
