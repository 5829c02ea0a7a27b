//! `registry model show`: a model with its aliases and its newest versions.

use clap::Args;
use serde_json::Value;

use crate::cli::{
    exit::{self, Failure},
    output::{MODELS, OutputFlags, Printer, View, table::Cell, terminal::Terminal},
    print,
    remote::Remote,
    show::{UNCUT, fields, group},
    values::model_name,
};

/// Versions below a model.
const VERSIONS_SHOWN: &str = "5";

const EXAMPLES: &str = "\
Examples:
  A model with its aliases and its newest versions:
    registry model show tiny-gpt
  Which version number an alias points to, for a script:
    registry model show tiny-gpt --json | jq .aliases.champion";

/// Show one model.
#[derive(Debug, Args)]
#[command(visible_alias = "get", after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Show {
    /// The model
    #[arg(value_parser = model_name)]
    name: String,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    remote: Remote,
}

const LINES: &str = "description,tags,versions,created:created_at,updated:updated_at";

const NEWEST: View = View {
    fields: "number,label,status,id,created_at",
    table: "number,label,status,id,created_at",
    wide: "number,label,status,id,created_at",
    precise_times: false,
    name: None,
};

impl Show {
    /// Shows the model.
    pub(super) fn run(self) -> Result<(), Failure> {
        let printer = Printer::new(&self.output, &MODELS)?;
        let client = self.remote.client()?;
        let v1 = client.v1("list the versions with `registry list NAME`");
        let model = v1.model(&self.name)?;
        if !printer.is_for_people() {
            return printer.one(&model);
        }
        let versions = v1.versions(&self.name, &[("limit", VERSIONS_SHOWN)])?.items;
        let columns = NEWEST.columns(false).map_err(Failure::failed)?;
        let row = |version| columns.iter().map(|column| column.cell(version)).collect();
        let rows: Vec<_> = versions.iter().map(row).collect();
        let groups = [
            group(&self.name, &fields(&model, LINES), UNCUT),
            group("Aliases", &aliases(&model), UNCUT),
            group("Newest versions", &rows, Terminal::of_stdout()),
        ];
        print::text(&groups.into_iter().filter(|group| !group.is_empty()).collect::<Vec<_>>().join("\n"))
    }
}

/// Returns one line per alias, with the number of its version.
fn aliases(model: &Value) -> Vec<Vec<Cell>> {
    let line = |(alias, number): (&String, &Value)| {
        vec![Cell::new(print::one_line(alias)), Cell::new(print::one_line(&number.to_string()))]
    };
    model.get("aliases").and_then(Value::as_object).into_iter().flatten().map(line).collect()
}
