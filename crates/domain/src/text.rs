//! Letters that do something to what shows them.

/// Whether a letter breaks a line, steers a terminal, or turns the order of the letters around it. Names and
/// descriptions may hold any; where they are shown as one line of many, these must not be in it.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control() || turns(letter)
}

/// Those of them that are no control characters, so that formats which escape such let them pass.
#[must_use]
pub fn turns(letter: char) -> bool {
    matches!(letter, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_steer_are_told_from_those_that_only_look_odd() {
        let steering =
            "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{200f}";
        assert!(steering.chars().all(steers));
        assert!("aé 模·\u{a0}\u{200b}\u{feff}😀\u{e000}".chars().all(|letter| !steers(letter)));
    }
}
