//! What can go wrong with a call, in our words.

use std::time::Duration;

use bollard::errors::Error;

use crate::text::Safe;

/// What of the engine's own words is kept.
const LONGEST_MESSAGE: usize = 600;

/// A refusal that is met twice is no accident.
const REFUSED_OFTEN: u32 = 2;
/// Half a second, one, two … sixteen, thirty-two.
const REFUSED_FOR_A_MINUTE: u32 = 8;
/// Words of an engine that could not start a container because of what the container is.
const OF_THE_CONTAINER: [&str; 6] = [
    "oci runtime",
    "shim task",
    "container process",
    "device driver",
    "security",
    "sysctl",
];

/// Why a call did not do what it should. Each variant names what was attempted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The address is not one that can be used yet.
    #[error("`{0}` is no address of an engine that can be used: write unix:///path/to/docker.sock")]
    Address(Safe),
    /// There was no answer, and nothing was changed.
    #[error(
        "cannot {what}: the engine does not answer ({reason}); is it running, and may this user reach it?"
    )]
    Unreachable {
        /// What was attempted.
        what: String,
        /// Why.
        reason: String,
    },
    /// The object that the call is about (or a network that it needs) does not exist.
    #[error("cannot {what}: {message}")]
    NotFound {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The name belongs to another object.
    #[error("cannot {what}: the name is taken ({message})")]
    NameTaken {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The subnet overlaps with another network's: take the next one.
    #[error("cannot {what}: its subnet overlaps with another network's ({message})")]
    Overlap {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// A host port is bound already.
    #[error("cannot {what}: a host port is in use ({message})")]
    PortTaken {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The object is in a state that does not allow the call: look again.
    #[error("cannot {what}: {message}")]
    Conflict {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine does not have the image, or the registry does not.
    #[error("cannot {what}: the image is missing ({message}); build, load or pull it")]
    ImageMissing {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine left out a protection that the container needs; the container is removed again.
    #[error(
        "cannot {what}: the engine left out `{option}`, which the service asks for; it needs a newer engine"
    )]
    Ignored {
        /// What was attempted.
        what: String,
        /// What it left out.
        option: String,
    },
    /// An answer that cannot be understood. Nothing may be concluded from it.
    #[error(
        "cannot {what}: the engine's answer cannot be understood ({reason}); nothing is concluded from it"
    )]
    Undecodable {
        /// What was attempted.
        what: String,
        /// Why.
        reason: String,
    },
    /// The call was sent and its answer is lost: what came of it is unknown until the next look.
    #[error("lost the answer on the attempt to {what} ({reason}); look again to see what came of it")]
    Lost {
        /// What was attempted.
        what: String,
        /// Why.
        reason: String,
    },
    /// The engine is too old.
    #[error("the engine speaks API {api}; {oldest} is the oldest that works: upgrade the engine")]
    TooOld {
        /// Its API.
        api: String,
        /// Our floor.
        oldest: String,
    },
    /// The engine asks for a newer API than we speak.
    #[error("the engine asks for API {minimum} and ringfence speaks {newest}: upgrade ringfence")]
    TooNew {
        /// Its floor.
        minimum: String,
        /// Our newest.
        newest: String,
    },
    /// The registry did not answer; the image may well exist.
    #[error("cannot {what}: the registry does not answer ({message})")]
    Registry {
        /// What was attempted.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The registry wants a login, or another one.
    #[error(
        "cannot {what}: the registry refuses access ({message}); as the user who runs ringfence: docker login {registry}"
    )]
    Access {
        /// What was attempted.
        what: String,
        /// The engine's words, and what is wrong with the login that there is.
        message: String,
        /// As `docker login` names it; empty for Docker Hub.
        registry: String,
    },
    /// Any other refusal.
    #[error("cannot {what}: the engine refused it ({status}: {message})")]
    Refused {
        /// What was attempted.
        what: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
}

impl EngineError {
    /// Whether the engine does not speak the version of the API that it was asked in.
    pub(super) fn is_about_the_version(&self) -> bool {
        matches!(self, Self::Refused { status: 400, message, .. } if message.contains("client version"))
    }

    /// Whether it says nothing about the release that was being rolled out: no answer, a full disk, a stranger's
    /// port, an object that changed under our hands. Such a failure is `unknown`, never `fail`.
    pub fn says_nothing_about_the_release(&self) -> bool {
        match self {
            Self::ImageMissing { .. } => false,
            Self::Refused { status, message, .. } => {
                let message = message.to_lowercase();
                *status == 503
                    || message.contains("no space left on device")
                    || message.contains("disk quota exceeded")
                    || message.contains("too many open files")
                    || message.contains("cannot allocate memory")
            }
            _ => true,
        }
    }

    /// How often in a row it must be met on the attempt to make or start a container before it is held against the release.
    /// An engine in trouble answers 500 to anything, and one that is not answers 500 to some specs that it cannot carry
    /// out: what does not name the container's own start must outlast a minute of waits that double.
    pub fn tries_that_prove_it(&self) -> u32 {
        match self {
            Self::Refused {
                status: 500..,
                message,
                ..
            } => {
                let message = message.to_lowercase();
                let names_it = OF_THE_CONTAINER.iter().any(|words| message.contains(words));
                if names_it {
                    REFUSED_OFTEN
                } else {
                    REFUSED_FOR_A_MINUTE
                }
            }
            _ => REFUSED_OFTEN,
        }
    }
}

/// What a call was for, and whether it may have changed something.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// `start container 0123…`.
    pub what: String,
    changes: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Create,
    Registry,
}

impl Attempt {
    /// A call that only reads.
    pub fn read(what: &str) -> Self {
        Self {
            what: Safe::new(what).to_string(),
            changes: false,
            kind: Kind::Any,
        }
    }

    /// A call that changes something.
    pub fn change(what: &str) -> Self {
        Self {
            changes: true,
            ..Self::read(what)
        }
    }

    /// A call that takes a name.
    pub fn naming(what: &str) -> Self {
        Self {
            kind: Kind::Create,
            ..Self::change(what)
        }
    }

    /// A call that the engine answers by asking a registry.
    pub fn registry(what: &str) -> Self {
        Self {
            kind: Kind::Registry,
            ..Self::read(what)
        }
    }
}

/// The time is over.
pub(super) fn late(attempt: &Attempt, limit: Duration) -> EngineError {
    let what = attempt.what.clone();
    let reason = format!("no answer within {} s", limit.as_secs());
    if attempt.changes {
        EngineError::Lost { what, reason }
    } else {
        EngineError::Unreachable { what, reason }
    }
}

/// bollard's error in our words.
pub(super) fn of(attempt: &Attempt, error: Error) -> EngineError {
    let what = attempt.what.clone();
    match error {
        Error::DockerResponseServerError { status_code, message } => refused(attempt, status_code, &message),
        Error::DockerStreamError { error } => refused(attempt, 500, &error),
        Error::SocketNotFoundError(path) => EngineError::Unreachable {
            what,
            reason: format!("there is no socket at {}", Safe::new(&path)),
        },
        Error::HyperLegacyError { ref err } if err.is_connect() => EngineError::Unreachable {
            what,
            reason: chain(&error),
        },
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::StrParseError { .. }
            if !attempt.changes =>
        {
            EngineError::Undecodable {
                what,
                reason: chain(&error),
            }
        }
        // Sent, perhaps carried out, no answer that can be read.
        other => EngineError::Lost {
            what,
            reason: chain(&other),
        },
    }
}

/// There is nobody at the socket.
pub(super) fn no_socket(attempt: &Attempt, socket: &str, error: &std::io::Error) -> EngineError {
    let what = attempt.what.clone();
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no socket at {}", Safe::new(socket)),
        _ => chain(error),
    };
    EngineError::Unreachable { what, reason }
}

/// A call that was sent, with no answer that can be read.
pub(super) fn lost(attempt: &Attempt, error: &hyper::Error) -> EngineError {
    EngineError::Lost {
        what: attempt.what.clone(),
        reason: chain(error),
    }
}

/// The words of an error and of its causes, once each.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    bounded(&text)
}

fn bounded(text: &str) -> String {
    let text = text.trim();
    let cut: String = text.chars().take(LONGEST_MESSAGE).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", Safe::new(&cut))
}

/// A refusal, by status first; words decide only between cases that share one (seen on 20.10 and 28).
pub(super) fn refused(attempt: &Attempt, status: u16, message: &str) -> EngineError {
    let what = attempt.what.clone();
    let lower = message.to_lowercase();
    let message = bounded(message);
    if attempt.kind == Kind::Registry {
        return match status {
            _ if no_such_image(&lower) => EngineError::ImageMissing { what, message },
            _ if status == 401 || status == 403 || no_access(&lower) => EngineError::Access {
                what,
                message,
                registry: String::new(),
            },
            404 => EngineError::ImageMissing { what, message },
            500.. if !lower.contains("no space left") => EngineError::Registry { what, message },
            _ => EngineError::Refused {
                what,
                status,
                message,
            },
        };
    }
    match status {
        404 if lower.contains("no such image") => EngineError::ImageMissing { what, message },
        404 if gone(&lower) => EngineError::NotFound { what, message },
        409 if attempt.kind == Kind::Create => EngineError::NameTaken { what, message },
        409 => EngineError::Conflict { what, message },
        _ if lower.contains("overlap") => EngineError::Overlap { what, message },
        403 => EngineError::Conflict { what, message },
        500..
            if lower.contains("port is already allocated")
                || lower.contains("address already in use")
                || lower.contains("ports are not available") =>
        {
            EngineError::PortTaken { what, message }
        }
        _ => EngineError::Refused {
            what,
            status,
            message,
        },
    }
}

/// Engines pass a registry's 401 on with a status of their own.
fn no_access(lower: &str) -> bool {
    [
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "access to the resource is denied",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

fn no_such_image(lower: &str) -> bool {
    [
        "manifest unknown",
        "pull access denied",
        "repository does not exist",
        "no such image",
        "not found: manifest",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

/// Whether a 404 is about the object: another server's page, or a path that an engine does not know, is not.
fn gone(lower: &str) -> bool {
    lower.contains("no such") || (lower.contains("not found") && !lower.contains("page not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(attempt: &Attempt, status: u16, message: &str) -> EngineError {
        refused(attempt, status, message)
    }

    #[test]
    fn a_page_that_is_not_found_is_no_missing_container() {
        let attempt = Attempt::read("inspect container x");
        assert!(matches!(
            map(&attempt, 404, "No such container: x"),
            EngineError::NotFound { .. }
        ));
        assert!(matches!(
            map(&attempt, 404, "network a not found"),
            EngineError::NotFound { .. }
        ));
        assert!(matches!(
            map(&attempt, 404, "404 page not found"),
            EngineError::Refused { .. }
        ));
        assert!(matches!(
            map(&attempt, 404, "<html>nothing</html>"),
            EngineError::Refused { .. }
        ));
    }

    #[test]
    fn a_full_disk_and_a_silent_registry_say_nothing_about_a_release() {
        let start = Attempt::change("start container x");
        assert!(map(&start, 500, "mkdir /x: no space left on device").says_nothing_about_the_release());
        assert!(
            map(
                &start,
                500,
                "Bind for 127.0.0.1:80 failed: port is already allocated"
            )
            .says_nothing_about_the_release()
        );
        let host = "listen tcp4 127.0.0.1:80: bind: address already in use";
        assert!(matches!(map(&start, 500, host), EngineError::PortTaken { .. }));
        assert!(
            !map(&start, 400, "OCI runtime create failed: exec: \"nope\"").says_nothing_about_the_release()
        );
        let pull = Attempt::registry("pull a:1");
        assert!(map(&pull, 500, "dial tcp: lookup r: no such host").says_nothing_about_the_release());
        assert!(!map(&pull, 500, "manifest unknown: manifest unknown").says_nothing_about_the_release());
        assert!(!map(&pull, 404, "pull access denied for a").says_nothing_about_the_release());
        let login = map(
            &pull,
            500,
            "Head \"https://r/v2/a/manifests/1\": no basic auth credentials",
        );
        assert!(matches!(login, EngineError::Access { .. }) && login.says_nothing_about_the_release());
    }

    #[test]
    fn an_engine_in_trouble_is_not_held_against_a_release_as_soon_as_a_spec_that_cannot_start() {
        let tries =
            |status, message: &str| map(&Attempt::change("start x"), status, message).tries_that_prove_it();
        assert_eq!(tries(500, "something went wrong"), 8);
        assert_eq!(
            tries(500, "failed to create shim task: OCI runtime create failed"),
            2
        );
        assert_eq!(tries(400, "invalid mount config"), 2);
    }

    #[test]
    fn what_changes_and_gets_no_answer_is_lost_and_what_reads_is_not() {
        let limit = Duration::from_secs(1);
        assert!(matches!(
            late(&Attempt::change("x"), limit),
            EngineError::Lost { .. }
        ));
        assert!(matches!(
            late(&Attempt::read("x"), limit),
            EngineError::Unreachable { .. }
        ));
    }

    #[test]
    fn the_engines_words_are_bounded_and_safe() {
        let text = format!("\u{1b}[2J{}", "x".repeat(5000));
        let message = map(&Attempt::read("x"), 400, &text).to_string();
        assert!(message.len() < 800 && !message.contains('\u{1b}'), "{message}");
    }
}
