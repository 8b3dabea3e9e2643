//! Text of strangers on its way to a person: nothing in it may move a cursor, hide or turn around what stands beside it.

/// Whether a character shows itself and nothing else: no control character, and none that changes the direction or the
/// line of what follows.
#[must_use]
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// The text with a space in the place of each character that is not plain.
#[must_use]
pub fn plain(text: &str) -> String {
    let shown = |character| {
        if is_plain(character) { character } else { ' ' }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_repaint_a_terminal_becomes_a_space() {
        assert_eq!(plain("Café 250 g – 7,50 €"), "Café 250 g – 7,50 €");
        assert_eq!(plain("a\u{1b}[2Jb\r\nc\u{9b}d\u{7f}"), "a [2Jb  c d ");
        assert_eq!(plain("7.50\u{202e}00.1\u{2066}\u{200b}"), "7.50 00.1  ");
    }
}
