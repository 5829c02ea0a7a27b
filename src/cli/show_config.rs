//! `registry config`: the registry and key that flags, variables and configuration file yield.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    output::{
        OutputFlags, Printer, View,
        table::{Cell, Table},
        terminal::Terminal,
        value::plain,
    },
    print,
    remote::Remote,
};

const EXAMPLES: &str = "\
Examples:
  The registry that commands talk to, and the source of the key:
    registry config
    registry config --profile staging
  Create a configuration:
    mkdir -p \"$(dirname \"$(registry config path)\")\"
    registry config path | xargs $EDITOR

The file is TOML. It may hold the key, but a separate file is better:

  url = \"https://registry.example.org\"
  api_key_file = \"~/.secrets/registry-key\"

  [profiles.staging]
  url = \"https://staging.example.org\"
  api_key_file = \"~/.secrets/staging-key\"

A flag wins over --profile, which wins over variables (CAIA_REGISTRY_URL, CAIA_REGISTRY_API_KEY,
CAIA_REGISTRY_API_KEY_FILE, CAIA_REGISTRY_PROFILE), which win over the file.";

const SETTINGS: View = View {
    fields: "setting,value",
    table: "setting,value",
    wide: "setting,value",
    precise_times: false,
    name: None,
};

/// Show the registry that commands talk to, and the sources of URL and key; never a key.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Config {
    /// All settings, or only the path of the configuration file
    #[arg(value_enum, default_value = "show")]
    what: Part,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// URL, profiles, and the sources of URL and key
    Show,
    /// The path of the configuration file
    Path,
}

impl Config {
    /// Shows the settings.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &SETTINGS)?;
        let path = self.remote.config_path().map(|path| path.display().to_string());
        if matches!(self.what, Part::Path) {
            let path = path.ok_or_else(|| {
                Failure::failed(
                    "there is no home directory for a configuration file; set HOME or use --config",
                )
            })?;
            return print::text(&format!("{path}\n"));
        }
        let connection = self.remote.connection()?;
        let exists = connection.config.path.is_some();
        let key = connection.key.as_ref();
        let answer = json!({
            "config_path": path, "config_exists": exists,
            "profile": connection.config.profile_name, "profiles": connection.config.profile_names,
            "url": connection.url.value, "url_source": connection.url.source,
            "api_key_found": key.is_some(), "api_key_source": key.map(|key| &key.source),
        });
        if !printer.is_for_people() {
            let row = |(setting, value): (&String, &Value)| json!({"setting": setting, "value": value});
            let rows: Vec<Value> = answer.as_object().into_iter().flatten().map(row).collect();
            return printer.answer(&answer, &rows);
        }
        let text = |field: &str| answer.get(field).map(plain).unwrap_or_default();
        let missing = if exists { "" } else { " (does not exist)" };
        let lines = [
            ("configuration", text("config_path") + missing),
            ("profile", text("profile")),
            ("profiles", text("profiles")),
            ("registry", format!("{} ({})", text("url"), connection.url.source)),
            ("API key", key.map_or_else(|| "none".to_owned(), |key| format!("found ({})", key.source))),
        ];
        let rows = lines.map(|(label, text)| vec![Cell::new(label), Cell::new(print::one_line(&text))]);
        let terminal = Terminal { width: None, ..Terminal::of_stdout() };
        print::text(&Table::new(None, terminal).lines(&rows))
    }
}
