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
    if from_stdin {
        let mut text = String::new();
        std::io::BufReader::new(std::io::Read::take(std::io::stdin(), LONGEST)).read_line(&mut text)?;
        // Only the line's end goes: a password may begin or end with a blank.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(text.strip_suffix('\r').unwrap_or(text).to_owned());
    }
    if !somebody_is_there() {
        return Err(Failure::usage(
            "the password is missing: write it to standard input and give --password-stdin",
        ));
    }
    let unseen = |question: &str| {
        rpassword::prompt_password(question)
            .map_err(|e| Failure::failed(format!("the password cannot be read: {e}; give --password-stdin")))
    };
    let password = unseen("Password: ")?;
    if new && unseen("The same again: ")? != password {
        return Err(Failure::usage("the two passwords are not the same; try again"));
    }
    Ok(password)
}
