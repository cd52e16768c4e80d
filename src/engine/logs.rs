//! What containers say.

use std::collections::VecDeque;
use std::future::ready;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::Engine;
use super::containers::{plain, short};
use super::error::{Attempt, EngineError, late, of};

/// A longer line is cut into several.
const LONGEST_LINE: usize = 64 * 1024;
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(10);

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A terminal, which has but one.
    Terminal,
}

/// A line of a log. It came from outside: wrap it in [`Safe`](crate::text::Safe) before a terminal sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was written.
    pub source: LogSource,
    /// When.
    pub at: Option<Timestamp>,
    /// The line without its end.
    pub text: String,
}

impl Engine {
    /// The last lines of a container, both streams in the order written, for a finding.
    pub async fn last_lines(&self, id: &str, lines: usize) -> Result<Vec<String>, EngineError> {
        let attempt = Attempt::read(&format!("read the log of container {}", short(id)));
        let mut last = VecDeque::new();
        let log = self.logs(id, Some(lines), false);
        let collect = async {
            futures_util::pin_mut!(log);
            while let Some(line) = log.next().await {
                last.push_back(line?.text);
                if last.len() > lines {
                    last.pop_front();
                }
            }
            Ok(())
        };
        match tokio::time::timeout(LAST_LINES, collect).await {
            Ok(Ok(())) => Ok(last.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late(&attempt, LAST_LINES)),
        }
    }

    /// A container's log by lines: the last `tail` (none: all of it), and with `follow` what comes after, until the
    /// container ends.
    pub fn logs(
        &self,
        id: &str,
        tail: Option<usize>,
        follow: bool,
    ) -> impl Stream<Item = Result<LogLine, EngineError>> + Send + use<> {
        let engine = self.clone();
        let id = id.to_owned();
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            timestamps: true,
            tail: tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            ..LogsOptions::default()
        };
        stream::once(async move {
            let attempt = Attempt::read(&format!("read the log of container {}", short(&id)));
            plain(&attempt, &id)?;
            let docker = engine.connection().await?.docker;
            let output = docker.logs(&id, Some(options));
            Ok::<_, EngineError>(output.map_err(move |error| of(&attempt, error)))
        })
        .try_flatten()
        .map(Some)
        // One more for what stands there without a line's end.
        .chain(stream::once(ready(None)))
        .scan(Lines::default(), |lines, item| {
            ready(Some(match item {
                Some(Ok(output)) => lines.push(&output).into_iter().map(Ok).collect(),
                Some(Err(error)) => vec![Err(error)],
                None => lines.rest().into_iter().map(Ok).collect(),
            }))
        })
        .flat_map(stream::iter)
    }
}

/// Puts frames together to lines. A frame is one message of the engine: a line, or a part of a long one, with the
/// time before each.
#[derive(Default)]
struct Lines {
    open: [Option<(Option<Timestamp>, Vec<u8>)>; 3],
}

impl Lines {
    fn push(&mut self, output: &LogOutput) -> Vec<LogLine> {
        let (source, message) = match output {
            LogOutput::StdOut { message } | LogOutput::StdIn { message } => (LogSource::Stdout, message),
            LogOutput::StdErr { message } => (LogSource::Stderr, message),
            LogOutput::Console { message } => (LogSource::Terminal, message),
        };
        let (at, text) = timed(message);
        let mut done = Vec::new();
        let Some(open) = self.open.get_mut(source as usize) else {
            return done;
        };
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            let (_, line) = open.get_or_insert_with(|| (at, Vec::new()));
            line.extend_from_slice(part);
            if (part.ends_with(b"\n") || line.len() >= LONGEST_LINE)
                && let Some((at, line)) = open.take()
            {
                done.push(finished(source, at, &line));
            }
        }
        done
    }

    fn rest(&mut self) -> Vec<LogLine> {
        let sources = [LogSource::Stdout, LogSource::Stderr, LogSource::Terminal];
        let open = std::mem::take(&mut self.open);
        sources
            .into_iter()
            .zip(open)
            .filter_map(|(source, open)| open.map(|(at, line)| finished(source, at, &line)))
            .collect()
    }
}

fn finished(source: LogSource, at: Option<Timestamp>, line: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(line);
    LogLine {
        source,
        at,
        text: text.trim_end_matches(['\n', '\r']).to_owned(),
    }
}

/// The time that the engine wrote before a message, and the message.
fn timed(message: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let space = message.iter().take(40).position(|byte| *byte == b' ');
    let Some((time, rest)) = space.and_then(|at| message.split_at_checked(at)) else {
        return (None, message);
    };
    match std::str::from_utf8(time).ok().and_then(|time| time.parse().ok()) {
        Some(at) => (Some(at), rest.get(1..).unwrap_or_default()),
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: text.into() }
    }

    #[test]
    fn parts_of_a_line_come_together_and_streams_stay_apart() {
        let mut lines = Lines::default();
        assert!(lines.push(&out("2026-11-22T10:00:00.000000001Z one ")).is_empty());
        let other = LogOutput::StdErr {
            message: "2026-11-22T10:00:01Z error\n".into(),
        };
        assert_eq!(lines.push(&other)[0].text, "error");
        let done = lines.push(&out("2026-11-22T10:00:02Z line\r\n"));
        assert_eq!(done[0].text, "one line");
        assert_eq!(
            done[0].at,
            Some("2026-11-22T10:00:00.000000001Z".parse().unwrap())
        );
        lines.push(&out("no time, no end"));
        assert_eq!(lines.rest()[0].text, "no time, no end");
        assert!(lines.rest().is_empty());
    }
}
