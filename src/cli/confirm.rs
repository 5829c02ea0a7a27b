//! The question before a deletion.

use std::io::{self, BufRead, IsTerminal as _, Write};

use super::{exit::Failure, print};

/// Asks the user on the terminal whether to delete `what`.
///
/// # Errors
/// If the answer is not yes, or stdin is not a terminal, so that there is no answer.
pub(super) fn confirm(what: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "can't ask whether to delete {what}, since stdin is not a terminal; give --yes to confirm"
        )));
    }
    match ask(&format!("delete {what}? [y/N] "), io::stdin().lock(), io::stderr().lock()) {
        true => Ok(()),
        false => Err(Failure::failed("nothing was deleted")),
    }
}

/// Returns true if the answer is yes; anything else is no.
fn ask(question: &str, mut answers: impl BufRead, mut terminal: impl Write) -> bool {
    let _ = write!(terminal, "{}", print::one_line(question));
    let _ = terminal.flush();
    let mut answer = String::new();
    let read = answers.read_line(&mut answer);
    // At the end of the input there was no return key, so the cursor is still after the question.
    if !answer.ends_with('\n') {
        let _ = writeln!(terminal);
    }
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_confirms_and_the_next_line_starts_at_column_one() {
        for (typed, yes, end) in [
            ("y\n", true, ""),
            ("YES\n", true, ""),
            ("\n", false, ""),
            ("yellow\n", false, ""),
            ("", false, "\n"),
        ] {
            let mut terminal = Vec::new();
            assert_eq!(ask("delete m:v1? ", typed.as_bytes(), &mut terminal), yes, "{typed:?}");
            assert_eq!(String::from_utf8(terminal).unwrap(), format!("delete m:v1? {end}"), "{typed:?}");
        }
    }
}
