//! The one place that prints. Facts go to standard output, everything else to standard error; a closed pipe ends
//! quietly.

use std::io::{IsTerminal as _, Write as _};

use super::Output;
use super::error::CliError;

/// What every verb prints with `-o json` when it fails.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Failed<'a> {
    error: &'a CliError,
}

/// Where a verb's words go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    pub(crate) output: Output,
}

impl Out {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    pub(crate) fn json(self) -> bool {
        self.output == Output::Json
    }

    /// Whether colour may be used on standard output.
    pub(crate) fn color() -> bool {
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
    }

    /// Whether progress can be drawn over.
    pub(crate) fn is_terminal() -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }

    /// Facts.
    pub(crate) fn print(text: &str) {
        let mut stdout = std::io::stdout().lock();
        if stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            // The reader has gone (`| head`): there is nobody left to tell.
            std::process::exit(0);
        }
    }

    /// Facts as JSON, on one line.
    pub(crate) fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value)?;
        Self::print(&(text + "\n"));
        Ok(())
    }

    /// A line of progress or a hint.
    pub(crate) fn say(text: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{text}");
    }

    /// An error.
    pub(crate) fn error(self, error: &CliError) {
        if self.json() {
            let told = Failed { error };
            let _ = Self::print_json(&told);
        }
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(error.text().as_bytes());
    }
}
