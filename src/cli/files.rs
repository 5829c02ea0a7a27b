//! `registry files`: the files of a version.

use clap::Args;
use serde_json::Value;

use super::{
    exit::{self, Failure},
    output::{FILES, OutputFlags, Printer},
    pages::{Limit, print_pages},
    print,
    remote::Remote,
    version_arg::VersionArg,
};

const EXAMPLES: &str = "\
Examples:
  All files of the version in production:
    registry files tiny-gpt@production
  Those in a folder:
    registry files tiny-gpt:v1 onnx
  Digests and names as `sha256sum --check` reads them:
    registry files tiny-gpt:v1 --all --json | jq -r '.[] | .sha256 + \"  \" + .path'";

/// List the files of a version.
///
/// For a version that was registered without a folder, these are its checkpoint and its configuration.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Files {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// Only what this folder of the version contains
    folder: Option<String>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Files {
    /// Lists the files.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &FILES)?;
        let client = self.remote.client()?;
        let v1 = client.v1("");
        let version = self.version.fetch_v1(&v1)?;
        let name = version["model"].as_str().unwrap_or_default();
        let number = version.get("number").and_then(Value::as_i64).unwrap_or_default();
        let none = print::one_line(&format!("{} has no files", self.version));
        print_pages(printer, self.limit.count(), &none, |page| {
            let mut query = page.to_vec();
            query.extend(self.folder.iter().map(|folder| ("under", folder.as_str())));
            v1.files(name, number, &query)
        })
    }
}
