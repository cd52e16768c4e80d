//! What a verb can fail with, told in one way.

use std::fmt::Display;

/// An error at the edge: its kind decides the exit code, its hints say what to do next.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub struct CliError {
    /// Exit code: 1 error, 64 usage.
    #[serde(skip)]
    pub code: u8,
    /// One sentence.
    pub message: String,
    /// What to do next, one line each.
    pub hints: Vec<String>,
}

impl CliError {
    /// Something went wrong.
    pub fn new(error: impl Display) -> Self {
        Self {
            code: 1,
            message: error.to_string(),
            hints: Vec::new(),
        }
    }

    /// The command was called wrongly.
    pub fn usage(message: impl Display) -> Self {
        Self {
            code: 64,
            ..Self::new(message)
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The text for the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", crate::text::Safe::lines(&self.message));
        for hint in &self.hints {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        text
    }
}

impl<E: std::error::Error> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}
