//! What happens while a plan is carried out, for whoever watches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Progress {
    /// An image is being fetched.
    Pull {
        /// Which.
        image: String,
        /// Bytes so far.
        current: u64,
        /// Bytes in all, as far as known.
        total: u64,
    },
    /// A call of a service is about to be made.
    Call {
        /// `tenant/service`.
        service: String,
        /// In words.
        what: String,
    },
    /// A service waits.
    Waits {
        /// `tenant/service`.
        service: String,
        /// For what.
        what: String,
    },
    /// A service is as it shall be.
    Done {
        /// `tenant/service`.
        service: String,
    },
    /// Something failed.
    Failed {
        /// `tenant/service`, or another object.
        service: String,
        /// Why.
        reason: String,
    },
    /// Something else worth a line.
    Note {
        /// In words.
        text: String,
    },
}

impl Progress {
    /// The line that people see.
    pub fn line(&self) -> String {
        match self {
            Self::Pull {
                image,
                current,
                total,
            } if *total > 0 => format!(
                "{image}: pulling, {} of {} MB",
                current / 1_000_000,
                total / 1_000_000
            ),
            Self::Pull { image, .. } => format!("{image}: pulling"),
            Self::Call { service, what } => format!("{service}: {what}"),
            Self::Waits { service, what } => format!("{service}: waits for {what}"),
            Self::Done { service } => format!("{service}: done"),
            Self::Failed { service, reason } => format!("{service}: failed: {reason}"),
            Self::Note { text } => text.clone(),
        }
    }
}

/// Where progress goes. Cheap to clone; by default nowhere.
#[derive(Clone, Default)]
pub struct ProgressSink(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl ProgressSink {
    /// To a function, which must not block.
    pub fn to(f: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(f)))
    }

    /// Tells it.
    pub fn tell(&self, progress: Progress) {
        if let Some(f) = &self.0 {
            f(progress);
        }
    }
}
