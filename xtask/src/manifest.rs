//! What stands in a `Cargo.toml` that concerns versions: reading it, and raising it without touching anything else.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::error::Error;

/// A package's manifest, as far as versions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) name: Option<String>,
    /// Its own version, or that of the workspace by `version.workspace = true`.
    pub(crate) version: Option<Version>,
    /// `[workspace.package] version`.
    pub(crate) workspace_version: Option<String>,
    /// Dependencies by a path that also name a version.
    pub(crate) path_dependencies: Vec<(String, String)>,
    /// Whether it is that of a workspace.
    pub(crate) is_workspace: bool,
    /// Whether `cargo publish` would take it.
    pub(crate) is_published: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    OfTheWorkspace,
    Own(String),
}

/// Reads the text of a manifest; `path` is for the error.
pub(crate) fn read(path: &str, text: &str) -> Result<Manifest, Error> {
    let mut document = parse(path, text)?;
    let text_at = |table: &str, key: &str| {
        document.get(table).and_then(|table| table.get(key)).and_then(Item::as_str).map(str::to_owned)
    };
    let (name, own) = (text_at("package", "name"), text_at("package", "version"));
    let package = document.get("package");
    let inherits = || package?.get("version")?.get("workspace")?.as_bool().filter(|inherits| *inherits);
    let version = own.map(Version::Own).or_else(|| inherits().map(|_| Version::OfTheWorkspace));
    let publish = package.and_then(|package| package.get("publish"));
    let is_published = package.is_some()
        && publish.is_none_or(|publish| {
            publish
                .as_bool()
                .unwrap_or_else(|| publish.as_array().is_none_or(|registries| !registries.is_empty()))
        });
    let is_workspace = document.contains_key("workspace");
    let workspace = document.get("workspace").and_then(|workspace| workspace.get("package"));
    let workspace_version =
        workspace.and_then(|package| package.get("version")).and_then(Item::as_str).map(str::to_owned);
    let mut path_dependencies = Vec::new();
    each_path_dependency(&mut document, &mut |name, version| {
        path_dependencies.push((name.to_owned(), version.as_str().unwrap_or_default().to_owned()));
    });
    Ok(Manifest { name, version, workspace_version, path_dependencies, is_workspace, is_published })
}

/// The same text with its versions raised from `from` to `to`: the workspace's, the package's own, and those of path
/// dependencies. A version that is not `from` stays.
pub(crate) fn raised(path: &str, text: &str, from: &str, to: &str) -> Result<String, Error> {
    let mut document = parse(path, text)?;
    let raise = |version: &mut Value| {
        let wanted = version.as_str().map(|found| (found == from, found == format!("={from}")));
        let raised = match wanted {
            Some((true, _)) => to.to_owned(),
            Some((_, true)) => format!("={to}"),
            _ => return,
        };
        let decor = version.decor().clone();
        *version = Value::from(raised);
        *version.decor_mut() = decor;
    };
    let version_of = |package: Option<&mut Item>| {
        if let Some(version) =
            package.and_then(|package| package.get_mut("version")).and_then(Item::as_value_mut)
        {
            raise(version);
        }
    };
    version_of(document.get_mut("workspace").and_then(|workspace| workspace.get_mut("package")));
    version_of(document.get_mut("package"));
    each_path_dependency(&mut document, &mut |_, version| raise(version));
    Ok(document.to_string())
}

fn parse(path: &str, text: &str) -> Result<DocumentMut, Error> {
    text.parse().map_err(|error| Error::Failed(format!("{path} is not TOML: {}", one_line(&error))))
}

fn one_line(error: &toml_edit::TomlError) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

/// Looks through all tables of dependencies, also those of targets and of the workspace.
fn each_path_dependency(document: &mut DocumentMut, act: &mut dyn FnMut(&str, &mut Value)) {
    for (key, item) in document.iter_mut() {
        if let Some(table) = item.as_table_like_mut() {
            look(key.get(), table, act);
        }
    }
}

fn look(key: &str, table: &mut dyn TableLike, act: &mut dyn FnMut(&str, &mut Value)) {
    let is_dependencies = key == "dependencies" || key.ends_with("-dependencies");
    for (name, item) in table.iter_mut() {
        let Some(inner) = item.as_table_like_mut() else { continue };
        if !is_dependencies {
            look(name.get(), inner, act);
        } else if inner.contains_key("path")
            && let Some(version) = inner.get_mut("version").and_then(Item::as_value_mut)
        {
            act(name.get(), version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = r#"# kept
[workspace]
members = [".", "part"]
[workspace.package]
version = "0.3.0" # and this
[package]
name = "whole"
version.workspace = true
[dependencies]
other = "0.3.0"
part = { path = "part", version = "0.3.0" }
[target.'cfg(unix)'.dev-dependencies]
piece = { version = "=0.3.0", path = "piece" }
far = { path = "far", version = "7.0" }
"#;

    #[test]
    fn versions_are_found_wherever_they_stand() {
        let found = read("Cargo.toml", ROOT).unwrap();
        assert_eq!(found.name.as_deref(), Some("whole"));
        assert_eq!(found.version, Some(Version::OfTheWorkspace));
        assert_eq!(found.workspace_version.as_deref(), Some("0.3.0"));
        let expected = [("part", "0.3.0"), ("piece", "=0.3.0"), ("far", "7.0")];
        assert_eq!(found.path_dependencies, expected.map(|(name, v)| (name.to_owned(), v.to_owned())));
        assert!(found.is_published && found.is_workspace);
        for publish in ["false", "[]"] {
            let text = format!("[package]\nname = \"x\"\nversion = \"1.0.0\"\npublish = {publish}\n");
            let found = read("Cargo.toml", &text).unwrap();
            assert!(!found.is_published && found.version == Some(Version::Own("1.0.0".to_owned())));
        }
    }

    #[test]
    fn raising_changes_our_versions_and_nothing_else() {
        let raised = raised("Cargo.toml", ROOT, "0.3.0", "0.4.0").unwrap();
        let expected = ROOT
            .replace("version = \"0.3.0\" #", "version = \"0.4.0\" #")
            .replace("\"part\", version = \"0.3.0\"", "\"part\", version = \"0.4.0\"")
            .replace("=0.3.0", "=0.4.0");
        assert_eq!(raised, expected);
    }

    #[test]
    fn what_is_no_manifest_is_told_with_its_path() {
        let error = read("part/Cargo.toml", "[package\n").unwrap_err().to_string();
        assert!(error.starts_with("part/Cargo.toml is not TOML: "), "{error}");
    }
}
