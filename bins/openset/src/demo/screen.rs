//! What the demo prints: colour in a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;

use anyhow::ensure;
use openset_service::step_report::StepReport;

/// Standard output, or standard error where something else is printed there.
pub(crate) struct Screen {
    colour: bool,
    aside: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            aside: false,
        }
    }

    /// Standard error, for progress beside a result.
    pub(crate) fn aside() -> Self {
        Self {
            colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            aside: true,
        }
    }

    pub(crate) fn line(&self, text: &str) {
        if self.aside {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.styled("1", text));
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    pub(crate) fn step_titles(&self) {
        let titles = format!(
            "{:>4}  {:<34} {:<24} {:<24} {:>7} {:>8}",
            "step", "what", "from -> to", "message", "bytes", "ms"
        );
        println!("{}", self.dim(&titles));
    }

    /// Prints a step and what was verified in it.
    pub(crate) fn step(&self, step: &StepReport) -> anyhow::Result<()> {
        let number = if step.step <= 10 {
            step.step.to_string()
        } else {
            "then".to_owned()
        };
        let way = format!("{} -> {}", step.from, step.to);
        let bytes = if step.bytes == 0 {
            "-".to_owned()
        } else {
            step.bytes.to_string()
        };
        let whole = step.micros / 1000;
        let tenth = step.micros % 1000 / 100;
        println!(
            "{number:>4}  {:<34} {way:<24} {:<24} {bytes:>7} {whole:>6}.{tenth}",
            step.what, step.message
        );
        ensure!(
            super::is_verified(step),
            "step {} was not verified",
            step.step
        );
        for line in wrap(&step.verified.join(", "), 96) {
            println!("      {} {line}", self.styled("32", "verified:"));
        }
        Ok(())
    }
}

impl Screen {
    /// Prints the policy that was accepted with the CA's form.
    pub(crate) fn accepted(&self, policy: &str) {
        for line in wrap(policy, 96) {
            println!("      {} {line}", self.styled("33", "accepted:"));
        }
    }
}

/// Breaks text at spaces so that no line is longer than `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
