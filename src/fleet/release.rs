//! Releases: a content with the images it was resolved to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{CommitId, ContentId, ReleaseId};

/// A release: a content together with the images it was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Hash of content and images.
    pub id: ReleaseId,
    /// The base's content.
    pub content: ContentId,
    /// A commit with that content: its provenance.
    pub commit: CommitId,
    /// Image as written → `id:sha256:…` or `digest:sha256:…`.
    pub images: BTreeMap<String, String>,
}

impl Release {
    /// A release of a content with an image set.
    pub fn new(content: ContentId, commit: CommitId, images: BTreeMap<String, String>) -> Self {
        let id = ReleaseId(crate::digest::Digest::of(
            "ringfence.release.1",
            &(content, &images),
        ));
        Self {
            id,
            content,
            commit,
            images,
        }
    }
}
