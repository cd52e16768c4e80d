//! `ringfence man`.

use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::error::CliError;
use super::out::Out;

/// Prints the manual page, or writes the pages of every verb into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence man | man -l -                          read it
  ringfence man ~/.local/share/man/man1             install it: `man ringfence`, `man ringfence-plan`")]
pub(crate) struct Man {
    /// Where to write `ringfence.1`, `ringfence-plan.1` …
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, global: &Global) -> Result<u8, CliError> {
        // `help` is no verb of ours: a page for each of its words would be noise.
        let command = super::command().disable_help_subcommand(true);
        let Some(dir) = &self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Out::print(&String::from_utf8_lossy(&page));
            return Ok(0);
        };
        let dir = global.directory().join(dir);
        std::fs::create_dir_all(&dir)?;
        clap_mangen::generate_to(command, &dir)?;
        Out::say(&format!("manual pages in {}", dir.display()));
        Ok(0)
    }
}
