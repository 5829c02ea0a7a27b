//! Plausible names, versions and texts.

use model_registry::domain::{Architecture, Draft, Provenance, Status, json};
use serde_json::json;

/// On about every thousandth version, and on at least five, for searches that find little.
pub const RARE_TAG: &str = "incident-2031";
/// On half of all versions.
pub const BROAD_TAG: &str = "nlp";
/// In two of five descriptions.
pub const BROAD_TEXT: &str = "fine-tuned";
/// In the descriptions of versions with [`RARE_TAG`].
pub const RARE_TEXT: &str = "quzzical";
/// Two letters, too few for trigrams, which only [`RARE_TEXT`] contains.
pub const TWO_LETTERS: &str = "zz";
/// In no description.
pub const NO_TEXT: &str = "no such thing at all";
/// The key of a tag with one of [`TEAMS`] values, on each version.
pub const TEAM_TAG: &str = "team";
/// The suites of all scores.
pub const SUITES: [&str; 4] = ["core-v1", "smoke-v1", "safety-v2", "mt-bench"];

const FAMILIES: [&str; 20] = [
    "aurora", "basalt", "cirrus", "drift", "ember", "fathom", "garnet", "harbor", "indigo", "juniper",
    "kestrel", "lumen", "marlin", "nimbus", "onyx", "prairie", "quartz", "raven", "sable", "tundra",
];
const SIZES: [(&str, i64); 10] = [
    ("70m", 512),
    ("160m", 768),
    ("410m", 1024),
    ("1b", 2048),
    ("3b", 2560),
    ("7b", 4096),
    ("13b", 5120),
    ("34b", 7168),
    ("70b", 8192),
    ("180b", 12288),
];
const VARIANTS: [&str; 25] = [
    "base", "chat", "code", "instruct", "math", "vision", "embed", "rerank", "safety", "draft", "de", "fr",
    "ja", "legal", "medical", "long", "lora", "dpo", "rlhf", "sft", "moe", "int8", "awq", "tools", "eval",
];
const EDITIONS: [&str; 4] = ["", "-2", "-3", "-next"];
const DATASETS: [&str; 6] =
    ["pile-2024", "web-filtered-v3", "code-mix-v2", "dialogues-v5", "books-v1", "synthetic-v7"];
const TEAMS: u64 = 40;

/// Returns a pseudo-random number that depends only on its arguments.
pub fn hash(at: u64, salt: u64) -> u64 {
    // SplitMix64, which spreads neighbours over all bits.
    let mut z = at.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the number of names in a registry of `models` versions: at least fifty versions per name.
pub fn names(models: u64) -> u64 {
    (models / 50).clamp(4, (FAMILIES.len() * SIZES.len() * VARIANTS.len() * EDITIONS.len()) as u64)
}

/// Returns the name with this number.
pub fn name(number: u64) -> String {
    let number = number as usize;
    let family = FAMILIES[number % FAMILIES.len()];
    let (size, _) = SIZES[number / FAMILIES.len() % SIZES.len()];
    let number = number / FAMILIES.len() / SIZES.len();
    let variant = VARIANTS[number % VARIANTS.len()];
    let edition = EDITIONS[number / VARIANTS.len() % EDITIONS.len()];
    format!("{family}-{size}-{variant}{edition}")
}

/// Version `at` of `models`, the `nth` of the name `number`.
pub fn draft(at: u64, models: u64, number: u64, nth: u64) -> Draft {
    let step = (nth + 1) * 500;
    let (size, d_model) = SIZES[number as usize / FAMILIES.len() % SIZES.len()];
    let dataset = DATASETS[hash(number, 1) as usize % DATASETS.len()];
    let mut draft = Draft::named(name(number), format!("step-{step}")).expect("a name");
    draft.status = match hash(at, 2) % 100 {
        0..12 => Status::Archived,
        12..18 => Status::Staging,
        _ => Status::Experimental,
    };
    let digest = format!("{:016x}", hash(at, 3)).repeat(4);
    draft.checkpoint.sha256 =
        model_registry::domain::Digest::parse("checkpoint_sha256", &digest).expect("hex");
    draft.checkpoint.size_bytes = Some((d_model * d_model * 24) + (hash(at, 4) % 4096) as i64);
    draft.artifact_uri = Some(format!("s3://models/{}/checkpoint_step_{step}.pt", draft.name));
    draft.provenance = Provenance {
        run_id: Some(format!("run-{:08x}", hash(number, 5) as u32)),
        git_commit: Some(format!("{:016x}{:016x}{:08x}", hash(at, 6), hash(at, 7), hash(at, 8) as u32)),
        created_by: Some(format!("trainer-{}", hash(number, 9) % TEAMS)),
        source_host: Some(format!("node-{:03}", hash(at, 10) % 256)),
    };
    draft.architecture = Architecture {
        d_model: Some(d_model),
        n_layers: Some(12 + d_model / 256),
        n_heads: Some(d_model / 64),
        vocab_size: Some(50_304),
    };
    draft.params = Some(d_model * d_model * 12 * (12 + d_model / 256));
    draft.training_step = Some(step as i64);
    draft.training_loss = Some(2.0 + 8.0 / (step as f64).sqrt() + (hash(at, 11) % 1000) as f64 / 1e5);
    draft.dataset = Some(dataset.to_owned());
    let rare = rare(at, models);
    let mut tags = vec![format!("team-{:02}", hash(number, 12) % TEAMS), size.to_owned()];
    if hash(at, 13).is_multiple_of(2) {
        tags.push(BROAD_TAG.to_owned());
    }
    if rare {
        tags.push(RARE_TAG.to_owned());
    }
    draft.tags = tags;
    draft.properties = [(TEAM_TAG.to_owned(), format!("team-{:02}", hash(number, 12) % TEAMS))].into();
    let method = if hash(at, 14) % 5 < 2 { BROAD_TEXT } else { "trained" };
    let why = if rare { format!("; looks {RARE_TEXT}, see the incident") } else { String::new() };
    draft.description = Some(format!("{method} on {dataset} from step {}{why}", step - 500));
    draft.metrics = json::read_object(
        &json!({"suites": {"smoke-v1": scores(at), "mt-bench": {"score": share(at, 24)}}}).to_string(),
    )
    .expect("an object");
    draft
}

/// Returns true if version `at` of `models` is one of the rare ones, which are spread evenly.
fn rare(at: u64, models: u64) -> bool {
    let apart = (models / 5).clamp(1, 1000);
    at % apart == apart / 2
}

/// Returns the scores of a suite.
pub fn scores(at: u64) -> serde_json::Value {
    let (score, accuracy, loss) = (share(at, 20), share(at, 21), 1.0 + share(at, 22));
    json!({"score": score, "accuracy": accuracy, "loss": loss, "items": 1_000 + hash(at, 23) % 500})
}

fn share(at: u64, salt: u64) -> f64 {
    (hash(at, salt) % 10_000) as f64 / 10_000.0
}
