//! Statements of SQL as they may be shown: without what somebody wrote into them as a value, which may be a password.

/// Stands for a value.
const VALUE: char = '?';
/// Bytes of a statement that are shown.
const MOST: usize = 500;

/// The statement without values and comments, on one line, at most 500 bytes of it
/// (PostgreSQL's manual, "Lexical Structure"). Where it cannot be known where a value ends, the rest counts as one.
pub fn without_values(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MOST));
    let (mut rest, mut last) = (text, "");
    while let Some(first) = rest.chars().next() {
        if shown.len() >= MOST {
            shown.truncate(shown.floor_char_boundary(MOST));
            shown.push('…');
            break;
        }
        // How much of it is read, and what is shown in its place.
        let (length, place) = match first {
            '\'' => (string(rest, matches!(last, "e" | "E")), Some(VALUE)),
            '"' => (quoted_name(rest), None),
            '$' => match dollar_quoted(rest) {
                Some(length) => (length, Some(VALUE)),
                // The number of a parameter belongs to it.
                None => (1 + digits(&rest[1..]), None),
            },
            '-' if rest.starts_with("--") => (rest.find('\n').unwrap_or(rest.len()), Some(' ')),
            '/' if rest.starts_with("/*") => (comment(rest), Some(' ')),
            '0'..='9' => (number(rest), Some(VALUE)),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                (1 + number(&rest[1..]), Some(VALUE))
            }
            _ if is_word(first) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), None),
            _ if first.is_whitespace() || first.is_control() => (first.len_utf8(), Some(' ')),
            _ => (first.len_utf8(), None),
        };
        let (read, later) = rest.split_at(length.clamp(first.len_utf8(), rest.len()));
        match place {
            Some(' ') if shown.is_empty() || shown.ends_with(' ') => {}
            Some(place) => shown.push(place),
            None => shown.push_str(read),
        }
        (rest, last) = (later, read);
    }
    shown.trim_end().to_owned()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii() && !c.is_whitespace() && !c.is_control()
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// Digits and what belongs to them: `1.5e10`, `0xff`, `1_000`.
fn number(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(text.len())
}

/// A string, with its quotes. A backslash before a quote hides that quote or does not, as the server is set: all after
/// it is taken for the string, unless the string says itself that it has such (`E'…'`).
fn string(text: &str, escapes: bool) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if escapes => drop(bytes.next()),
            b'\\' if text.as_bytes().get(at + 1) == Some(&b'\'') => return text.len(),
            b'\'' if bytes.next_if(|(_, next)| *next == b'\'').is_none() => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn quoted_name(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'"' && bytes.next_if(|(_, next)| *next == b'"').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// `$tag$ … $tag$`
fn dollar_quoted(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
    (starts_well && name.chars().all(|c| is_word(c) && c != '$'))
        .then(|| text[end..].find(tag).map_or(text.len(), |at| end + at + tag.len()))
}

/// A comment; others may be in it.
fn comment(text: &str) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            [b'/', b'*', ..] => depth += 1,
            [b'*', b'/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_hidden_and_what_is_asked_is_not() {
        let table = [
            (
                "SELECT * FROM t1 WHERE id = 42 AND name = 'it''s'",
                "SELECT * FROM t1 WHERE id = ? AND name = ?",
            ),
            ("ALTER ROLE joe PASSWORD 'secret'", "ALTER ROLE joe PASSWORD ?"),
            ("SELECT $1, $23 -- because\n, -1.5e3, .5", "SELECT $1, $23 , -?, ?"),
            ("/* a /* b */ c */SELECT\n\t\"a 1\"\"b\"", "SELECT \"a 1\"\"b\""),
            ("DO $x$ secret $$ 1 $x$; SELECT $$a$$", "DO ?; SELECT ?"),
            (r"SELECT E'a\'b', 'c'", "SELECT E?, ?"),
            (r"SELECT 'C:\', 'secret'", "SELECT ?"),
            (r"LIKE'C:\', 'secret'", "LIKE?"),
            ("SELECT 'cut of", "SELECT ?"),
            ("SELECT /* cut of", "SELECT"),
            ("SELECT 'ö' AS größe", "SELECT ? AS größe"),
        ];
        for (text, shown) in table {
            assert_eq!(without_values(text), shown, "{text}");
        }
        assert!(without_values(&"a ".repeat(1000)).len() <= MOST + 3);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in any::<String>()) {
            prop_assert!(without_values(&text).len() <= MOST + 3 + text.len().min(MOST));
        }

        #[test]
        fn what_stands_between_quotes_is_never_shown(
            before in prop::collection::vec("[a-z]{1,8}|[0-9]{1,4}|'[a-z ]*'|\"[a-z ]*\"|[$]a[$] [a-z' ]*[$]a[$]|/[*][a-z' ]*[*]/|--[a-z' ]*\n", 0..6),
            secret in "[a-z\\\\\" $*/-]{0,6}S3CRET[a-z\\\\\" $*/-]{0,6}",
        ) {
            let text = format!("{} '{secret}', 'S3CRET'", before.join(" "));
            prop_assert!(!without_values(&text).contains("S3CRET"), "{}", without_values(&text));
        }
    }
}
