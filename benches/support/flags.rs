//! The few flags of a benchmark that has a main of its own.

use std::{env, path::PathBuf};

use super::{Result, process::Usage};

/// `--name value` and `--name=value`, as they were typed behind `cargo bench --bench x --`.
pub struct Flags {
    given: Vec<(String, String)>,
}

impl Flags {
    /// Reads the flags with these names. `--bench`, which cargo adds, is passed over.
    pub fn of(known: &[&str]) -> Result<Self> {
        let mut given = Vec::new();
        let mut words = env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), words.next()),
            };
            let (true, Some(value)) = (known.contains(&name.as_str()), value) else {
                let text = format!("{word:?} is no flag with a value; there are {}", known.join(", "));
                return Err(Usage(text).into());
            };
            given.push((name, value));
        }
        Ok(Self { given })
    }

    /// The value of a flag, read; or what stands for it.
    pub fn get<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some((_, value)) = self.given.iter().rev().find(|(given, _)| given == name) else {
            return Ok(default);
        };
        value.parse().map_err(|_| Usage(format!("{name} can't be {value:?}")).into())
    }

    /// Numbers with commas between them.
    pub fn list(&self, name: &str, default: &str) -> Result<Vec<u64>> {
        let text: String = self.get(name, default.to_owned())?;
        let number =
            |part: &str| match part.trim().parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(Usage(format!("{name} wants numbers above zero with commas between, not {text:?}"))
                    .into()),
            };
        text.split(',').map(number).collect()
    }

    /// The server to measure: `--binary`, else the one that cargo built for this benchmark.
    pub fn binary(&self) -> Result<PathBuf> {
        let binary: PathBuf = self.get("--binary", PathBuf::from(env!("CARGO_BIN_EXE_registry")))?;
        if binary.is_file() {
            Ok(binary)
        } else {
            Err(Usage(format!("there is no {}", binary.display())).into())
        }
    }
}
