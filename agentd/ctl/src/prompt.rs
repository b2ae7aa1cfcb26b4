//! Questions to the person at the terminal.

use crate::error::{Failure, Outcome};
use std::io::{BufRead, IsTerminal, Write};

/// Passwords are not longer than this; a stream that never ends is not read to its end.
const LONGEST: u64 = 4096;

/// Whether there is somebody to ask.
pub(crate) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Ask for a line. `missing` is the sentence that says what to give when nobody is there to ask.
pub(crate) fn line(question: &str, missing: &str) -> Outcome<String> {
    if !somebody_is_there() {
        return Err(Failure::usage(missing));
    }
    eprint!("{question}: ");
    std::io::stderr().flush()?;
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text)?;
    Ok(text.trim().to_owned())
}

/// Ask for yes or no; anything else is no.
pub(crate) fn yes(question: &str, missing: &str) -> Outcome<bool> {
    let answer = line(&format!("{question} (yes/no)"), missing)?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The password: from standard input, or typed unseen, twice when it is a new one.
pub(crate) fn password(from_stdin: bool, new: bool) -> Outcome<String> {
    match from_stdin {
        true => line_of(&mut stdin()),
        false => typed("Password: ", new),
    }
}

/// The present password and the one that is to take its place: two lines of standard input, or typed unseen.
pub(crate) fn change(from_stdin: bool) -> Outcome<(String, String)> {
    if from_stdin {
        let mut lines = stdin();
        return Ok((line_of(&mut lines)?, line_of(&mut lines)?));
    }
    Ok((typed("Present password: ", false)?, typed("New password: ", true)?))
}

fn stdin() -> impl BufRead {
    std::io::BufReader::new(std::io::Read::take(std::io::stdin(), LONGEST))
}

fn line_of(lines: &mut impl BufRead) -> Outcome<String> {
    let mut text = String::new();
    lines.read_line(&mut text)?;
    // Only the line's end goes: a password may begin or end with a blank.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn typed(question: &str, twice: bool) -> Outcome<String> {
    if !somebody_is_there() {
        return Err(Failure::usage(
            "the password is missing: write it to standard input and give --password-stdin",
        ));
    }
    let unseen = |question: &str| {
        rpassword::prompt_password(question)
            .map_err(|e| Failure::failed(format!("the password cannot be read: {e}; give --password-stdin")))
    };
    let password = unseen(question)?;
    if twice && unseen("The same again: ")? != password {
        return Err(Failure::usage("the two passwords are not the same; try again"));
    }
    Ok(password)
}
