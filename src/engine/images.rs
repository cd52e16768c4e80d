//! Calls about images.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{
    CreateImageOptions, ImportImageOptions, ListImagesOptions, RemoveImageOptions, TagImageOptions,
};
use futures_util::StreamExt as _;

use super::error::{Attempt, EngineError, late, of};
use super::login::Login;
use super::{CHANGE, Engine, READ};

/// How long a pull may be silent.
const SILENCE: Duration = Duration::from_secs(300);

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// `name@sha256:…` of each registry that it came from or went to; empty for one that was built or loaded.
    pub repo_digests: Vec<String>,
    /// Whether it brings its own healthcheck.
    pub has_healthcheck: bool,
    /// Paths for which the engine makes a volume without a name, where nothing is mounted there: as it cleans them. One
    /// that is not absolute is left out, since nothing else can be mounted there.
    pub volumes: BTreeSet<String>,
    /// Its environment, `KEY=value`.
    pub env: Vec<String>,
}

/// A word about a pull under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer, if it is about one.
    pub layer: Option<String>,
    /// The engine's words (`Downloading`, `Pull complete`).
    pub status: String,
    /// Bytes so far.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

impl Engine {
    /// The image that the engine has under a reference (`name:tag`, `name@sha256:…`, `sha256:…`). None: it has not.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        let attempt = Attempt::read(&format!("inspect image {reference}"));
        safe(&attempt, reference)?;
        let what = attempt.what.clone();
        let answer = self
            .call(attempt, READ, |docker| async move {
                docker.inspect_image(reference).await
            })
            .await;
        match answer {
            Ok(image) => seen(image).map(Some).ok_or_else(|| EngineError::Undecodable {
                what,
                reason: "it has no Id".to_owned(),
            }),
            Err(EngineError::ImageMissing { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Fetches an image from its registry, for a platform (`linux/arm64`; none: the engine's own). A reference without a tag
    /// means `latest`. Success means that the engine has the image now.
    pub async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        mut progress: impl FnMut(PullProgress) + Send,
    ) -> Result<(), EngineError> {
        let attempt = Attempt::registry(&format!("pull {reference}"));
        safe(&attempt, reference)?;
        let (name, tag) = split(reference);
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            // Without a tag the engine would pull every tag there is.
            tag: tag.map(str::to_owned),
            platform: platform.unwrap_or_default().to_owned(),
            ..CreateImageOptions::default()
        };
        let login = Login::of(reference).await;
        let docker = self.connection().await?.docker;
        let mut words = docker.create_image(Some(options), None, login.credentials.clone());
        let mut broken = None;
        loop {
            match tokio::time::timeout(SILENCE, words.next()).await {
                Err(_) => return Err(late(&attempt, SILENCE)),
                Ok(None) => break,
                Ok(Some(Ok(word))) => progress(said(word)),
                Ok(Some(Err(error))) => {
                    let error = login.named(of(&attempt, error));
                    if !matches!(error, EngineError::Lost { .. }) {
                        return Err(error);
                    }
                    // bollard 0.21 may see a broken end where there is none: what counts is whether it came.
                    broken = Some(error);
                    break;
                }
            }
        }
        match self.image(reference).await? {
            Some(_) if broken.is_none() || tag.is_none() => Ok(()),
            // An older image under the same tag proves nothing.
            Some(_) | None => Err(broken.unwrap_or(EngineError::ImageMissing {
                what: attempt.what,
                message: "the engine does not have it after the pull".to_owned(),
            })),
        }
    }

    /// What a reference means at its registry now: `sha256:…`. Of an image for several platforms that is the digest of all of
    /// them: the engine has no way to ask for one, and the pull by that digest chooses.
    pub async fn registry_digest(&self, reference: &str) -> Result<String, EngineError> {
        let attempt = Attempt::registry(&format!("ask the registry for {reference}"));
        safe(&attempt, reference)?;
        let what = attempt.what.clone();
        let login = Login::of(reference).await;
        let credentials = login.credentials.clone();
        let answer = self
            .call(attempt, READ, |docker| async move {
                docker.inspect_registry_image(reference, credentials).await
            })
            .await
            .map_err(|error| login.named(error))?;
        answer
            .descriptor
            .digest
            .filter(|digest| digest.starts_with("sha256:"))
            .ok_or_else(|| EngineError::Undecodable {
                what,
                reason: "it names no sha256 digest".to_owned(),
            })
    }

    /// Gives an image a further name.
    pub async fn tag(&self, id: &str, repo: &str, tag: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("tag image {id} as {repo}:{tag}"));
        safe(&attempt, id)?;
        let options = TagImageOptions {
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
        };
        self.call(attempt, CHANGE, |docker| async move {
            docker.tag_image(id, Some(options)).await
        })
        .await
    }

    /// The tags that images have in a repository.
    pub async fn tags(&self, repo: &str) -> Result<Vec<String>, EngineError> {
        let attempt = Attempt::read(&format!("list the tags of {repo}"));
        let options = ListImagesOptions {
            filters: Some(std::iter::once(("reference".to_owned(), vec![repo.to_owned()])).collect()),
            ..ListImagesOptions::default()
        };
        let images = self
            .call(attempt, READ, |docker| async move {
                docker.list_images(Some(options)).await
            })
            .await?;
        let prefix = format!("{repo}:");
        let tags = images.into_iter().flat_map(|i| i.repo_tags);
        Ok(tags
            .filter_map(|t| t.strip_prefix(&prefix).map(str::to_owned))
            .collect())
    }

    /// Takes a tag away; the image goes with its last tag, unless a container uses it. One that is gone is fine.
    pub async fn untag(&self, repo: &str, tag: &str) -> Result<(), EngineError> {
        let name = format!("{repo}:{tag}");
        let attempt = Attempt::change(&format!("take tag {name} away"));
        safe(&attempt, &name)?;
        let removed = self
            .call(attempt, CHANGE, |docker| async move {
                docker.remove_image(&name, None::<RemoveImageOptions>, None).await
            })
            .await;
        match removed {
            Err(EngineError::NotFound { .. } | EngineError::ImageMissing { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes images from a tar archive as `docker save` writes it.
    pub async fn load(&self, tar: Vec<u8>) -> Result<(), EngineError> {
        let attempt = Attempt::change("load an image archive");
        self.call(attempt, CHANGE, |docker| async move {
            let options = ImportImageOptions {
                quiet: true,
                ..ImportImageOptions::default()
            };
            let mut words = docker.import_image(options, bollard::body_full(tar.into()), None);
            while let Some(word) = words.next().await {
                word?;
            }
            Ok(())
        })
        .await
    }
}

fn seen(image: ImageInspect) -> Option<Image> {
    let config = image.config.unwrap_or_default();
    let has_healthcheck = config
        .healthcheck
        .and_then(|check| check.test)
        .and_then(|test| test.into_iter().next())
        .is_some_and(|first| first != "NONE");
    Some(Image {
        id: image.id.filter(|id| !id.is_empty())?,
        repo_digests: image.repo_digests.unwrap_or_default(),
        has_healthcheck,
        volumes: config
            .volumes
            .unwrap_or_default()
            .iter()
            .filter_map(|path| cleaned(path))
            .collect(),
        env: config.env.unwrap_or_default(),
    })
}

/// An absolute path without `.`, `..` and slashes too many; none where there is no such, or it is the root.
fn cleaned(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

fn said(word: CreateImageInfo) -> PullProgress {
    let detail = word.progress_detail.unwrap_or_default();
    let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    PullProgress {
        layer: word.id,
        status: word.status.unwrap_or_default(),
        current: bytes(detail.current),
        total: bytes(detail.total),
    }
}

/// Name and tag; a digest belongs to the name.
fn split(reference: &str) -> (&str, Option<&str>) {
    if reference.contains('@') {
        return (reference, None);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (reference, Some("latest")),
    }
}

/// A reference goes into a path, so it must not be able to become another path.
fn safe(attempt: &Attempt, reference: &str) -> Result<(), EngineError> {
    let good = reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-:/@".contains(c))
        && !reference.contains("..")
        && !reference.contains("//");
    good.then_some(()).ok_or_else(|| EngineError::Refused {
        what: attempt.what.clone(),
        status: 400,
        message: "that is no image reference".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_latest() {
        assert_eq!(split("a"), ("a", Some("latest")));
        assert_eq!(split("r:5000/a"), ("r:5000/a", Some("latest")));
        assert_eq!(split("r:5000/a:1"), ("r:5000/a", Some("1")));
        assert_eq!(split("a@sha256:00"), ("a@sha256:00", None));
    }

    #[test]
    fn paths_of_volumes_are_read_as_the_engine_reads_them() {
        for (path, want) in [
            ("/data", Some("/data")),
            ("/data/", Some("/data")),
            ("/a//b/./../c", Some("/a/c")),
            ("/../a", Some("/a")),
            ("/a/..", None),
            ("/", None),
            ("", None),
            ("rel/x", None),
        ] {
            assert_eq!(cleaned(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn a_reference_cannot_become_another_path() {
        let attempt = Attempt::read("x");
        for bad in [
            "../containers/json",
            "a/../b",
            "a?x=1",
            "a#b",
            "a b",
            "",
            "/a",
            "a//b",
            "a%2e",
        ] {
            assert!(safe(&attempt, bad).is_err(), "{bad}");
        }
        assert!(safe(&attempt, "r.example:5000/a/b_c:1.2@sha256:00").is_ok());
    }
}
