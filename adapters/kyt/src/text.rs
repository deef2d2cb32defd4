//! Text that somebody else wrote, made fit for an answer.

/// At most `max` characters, none of them a control character.
pub(crate) fn short(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn text_of_others_is_cut_and_cleaned() {
        assert_eq!(short("a\u{1b}[31mb\nc", 100), "a[31mbc");
        assert_eq!(short("ééé", 2), "éé");
    }
}
