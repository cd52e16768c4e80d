//! `ringfence status --watch`: on a terminal a picture that is drawn over, elsewhere a snapshot at each change.

use std::io::{IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::daemon::Watch;
use super::error::CliError;
use super::out::Out;
use crate::controller::status::Status;

/// Another screen, and no cursor; and both back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// Follows the daemon until it stops, or until somebody has seen enough.
pub(super) async fn follow(
    mut watch: Watch,
    out: Out,
    text: impl Fn(&Status) -> String,
) -> Result<u8, CliError> {
    if !out.json() && std::io::stdout().is_terminal() {
        return on_screen(watch, text).await;
    }
    let mut last = None;
    while let Some(mut status) = watch.next().await? {
        let line = if out.json() {
            serde_json::to_string(&status)? + "\n"
        } else {
            text(&status) + "\n"
        };
        // When it was looked at is no change.
        status.at.clear();
        if last.as_ref() != Some(&status) {
            Out::print(&line);
            last = Some(status);
        }
    }
    Err(stopped())
}

fn stopped() -> CliError {
    CliError::new("the daemon stopped: nothing changes by itself any more")
        .hint("`ringfence run` starts one; `ringfence status` looks once")
}

async fn on_screen(mut watch: Watch, text: impl Fn(&Status) -> String) -> Result<u8, CliError> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut ended = signal(SignalKind::terminate())?;
    let _screen = Screen::enter();
    let mut keys = keys();
    let mut shown = String::new();
    loop {
        tokio::select! {
            status = watch.next() => match status? {
                Some(status) => shown = text(&status),
                None => return Err(stopped()),
            },
            _ = resized.recv() => {}
            _ = interrupted.recv() => return Ok(0),
            _ = ended.recv() => return Ok(0),
            Some(key) = keys.recv() => {
                if matches!(key, b'q' | b'Q') {
                    return Ok(0);
                }
                continue;
            }
        }
        draw(&shown);
    }
}

/// The terminal while it is ours. It gets everything back when this is dropped, errors included.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Self {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(mut quiet) = before.clone() {
            // Keys come at once and are not shown; Ctrl-C stays a signal.
            quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &quiet);
        }
        Out::print(ENTER);
        Self { before }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Out::print(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Draws over what is there, line by line, so that nothing flickers; what does not fit is cut.
fn draw(text: &str) {
    let size = tcgetwinsize(std::io::stdout()).ok();
    let rows = size.map_or(24, |s| usize::from(s.ws_row)).max(2);
    let columns = size.map_or(80, |s| usize::from(s.ws_col)).max(2);
    Out::print(&picture(text, rows, columns));
}

fn picture(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fit = rows - 1;
    // The last column stays free: a terminal that waits there to wrap would erase what stands in it.
    let columns = columns - 1;
    let mut picture = "\u{1b}[H".to_owned();
    for line in lines.iter().take(fit) {
        picture.extend(line.chars().take(columns));
        picture.push_str("\u{1b}[K\n");
    }
    let more = match lines.len().saturating_sub(fit) {
        0 => String::new(),
        n => format!("{n} more lines; "),
    };
    let foot = format!("{more}q ends");
    picture.extend(foot.chars().take(columns));
    picture.push_str("\u{1b}[K\u{1b}[J");
    picture
}

/// The keys that are pressed. The thread ends with the process: a read of a terminal cannot be called off.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while std::io::stdin().lock().read_exact(&mut key).is_ok() {
            let [byte] = key;
            if sender.send(byte).is_err() {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_its_screen() {
        let text = "one line\ntwo\nthree\nfour\n";
        assert_eq!(
            picture(text, 10, 80),
            "\u{1b}[Hone line\u{1b}[K\ntwo\u{1b}[K\nthree\u{1b}[K\nfour\u{1b}[K\nq ends\u{1b}[K\u{1b}[J"
        );
        let small = picture(text, 3, 5);
        assert_eq!(small, "\u{1b}[Hone \u{1b}[K\ntwo\u{1b}[K\n2 mo\u{1b}[K\u{1b}[J");
    }
}
