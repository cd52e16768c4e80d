//! Images, and a registry behind the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{Answer, Container, Refusal, World, hex, list, strings};

/// Larger files of an archive are layers.
const LARGEST_JSON: u64 = 1 << 20;

/// An image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    /// `name:tag`
    pub tags: BTreeSet<String>,
    /// `name@sha256:…`
    pub digests: BTreeSet<String>,
    /// Its configuration.
    pub config: Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Paths of its anonymous volumes.
    pub volumes: Vec<String>,
}

impl Image {
    /// An image made of its configuration alone.
    pub fn new(config: Value) -> Self {
        let bytes = serde_json::to_vec(&config).unwrap_or_default();
        Self {
            id: format!("sha256:{}", hex(&Sha256::digest(bytes))),
            labels: strings(&config["Labels"]),
            volumes: config["Volumes"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(path, _)| path.trim_end_matches('/').to_owned())
                .collect(),
            config,
            ..Self::default()
        }
    }

    fn is_checked(&self) -> bool {
        is_check(&self.config["Healthcheck"])
    }
}

fn is_check(check: &Value) -> bool {
    check["Test"][0].as_str().is_some_and(|first| first != "NONE")
}

fn no_such_image(reference: &str) -> Refusal {
    Refusal(404, format!("No such image: {reference}"))
}

impl World {
    /// Takes an image of this name; the name goes over from the one that had it.
    pub fn add_image(&mut self, name: &str, mut image: Image) -> String {
        for other in self.images.values_mut() {
            other.tags.remove(name);
        }
        let id = image.id.clone();
        if let Some(known) = self.images.get(&id) {
            image.tags.extend(known.tags.iter().cloned());
            image.digests.extend(known.digests.iter().cloned());
        }
        if !name.is_empty() {
            image.tags.insert(name.to_owned());
        }
        self.images.insert(id.clone(), image);
        id
    }

    pub(crate) fn image_of(&self, reference: &str) -> Answer<Image> {
        let tagged = match reference.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => reference.to_owned(),
            _ => format!("{reference}:latest"),
        };
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let by_id = |image: &&Image| digits.len() >= 4 && image.id["sha256:".len()..].starts_with(digits);
        let named = |image: &&Image| image.tags.contains(&tagged) || image.digests.contains(reference);
        let mut images = self.images.values();
        let found = images.clone().find(named).or_else(|| images.find(by_id));
        found.cloned().ok_or_else(|| no_such_image(reference))
    }

    /// Whether a container is checked: by its own healthcheck, else by its image's.
    pub(crate) fn has_check(&self, container: &Container) -> bool {
        let own = &container.config["Healthcheck"];
        if own["Test"].as_array().is_some_and(|test| !test.is_empty()) {
            return is_check(own);
        }
        self.images.get(&container.image).is_some_and(Image::is_checked)
    }

    pub(crate) fn inspect_image(&self, reference: &str) -> Answer {
        let image = self.image_of(reference)?;
        Ok(json!({
            "Id": image.id, "RepoTags": image.tags, "RepoDigests": image.digests, "Config": image.config,
            "Architecture": "amd64", "Os": "linux", "Size": 1_000_000,
        }))
    }

    pub(crate) fn list_images(&self, repositories: &[String]) -> Value {
        let of = |tag: &String| {
            let repository = tag.rsplit_once(':').map_or(tag.as_str(), |(name, _)| name);
            repositories.is_empty()
                || repositories
                    .iter()
                    .any(|wanted| wanted == repository || wanted == tag)
        };
        let images = self.images.values().filter_map(|image| {
            let tags: Vec<&String> = image.tags.iter().filter(|tag| of(tag)).collect();
            (!tags.is_empty()).then(|| {
                json!({
                    "Id": image.id, "ParentId": "", "RepoTags": tags, "RepoDigests": image.digests, "Created": 1,
                    "Size": 1, "SharedSize": -1, "Labels": image.labels, "Containers": -1,
                })
            })
        });
        images.collect()
    }

    pub(crate) fn tag(&mut self, reference: &str, repository: &str, tag: &str) -> Answer {
        let image = self.image_of(reference)?;
        let tag = if tag.is_empty() { "latest" } else { tag };
        let name = format!("{repository}:{tag}");
        let id = self.add_image(&name, image);
        self.tell("image", "tag", &id, BTreeMap::from([("name".to_owned(), name)]));
        Ok(Value::Null)
    }

    /// Takes a tag away, and the image with its last one.
    pub(crate) fn remove_image(&mut self, reference: &str) -> Answer {
        let image = self.image_of(reference)?;
        let last = image.tags.len() <= 1;
        let by_id = !image.tags.contains(reference);
        if let Some(user) = self
            .containers
            .values()
            .find(|c| c.image == image.id && (last || by_id))
        {
            let (user, id) = (&user.id[..12], &image.id[7..19]);
            let message = format!(
                "conflict: unable to remove repository reference \"{reference}\" (must force) - container {user} is using its referenced image {id}"
            );
            return Err(Refusal(409, message));
        }
        if last || by_id {
            self.images.remove(&image.id);
        } else if let Some(image) = self.images.get_mut(&image.id) {
            image.tags.remove(reference);
        }
        let name = BTreeMap::from([("name".to_owned(), image.id.clone())]);
        self.tell("image", "untag", &image.id, name);
        Ok(json!([{"Untagged": reference}]))
    }

    /// Takes an archive as `docker save` writes it.
    pub(crate) fn load(&mut self, archive: &[u8]) -> Answer {
        let broken = |why: &dyn std::fmt::Display| Refusal(500, format!("Error processing tar file: {why}"));
        let mut files = BTreeMap::new();
        let mut tar = tar::Archive::new(archive);
        for entry in tar.entries().map_err(|e| broken(&e))? {
            let mut entry = entry.map_err(|e| broken(&e))?;
            let path = entry
                .path()
                .map_err(|e| broken(&e))?
                .to_string_lossy()
                .into_owned();
            if entry.size() < LARGEST_JSON {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(|e| broken(&e))?;
                files.insert(path, bytes);
            }
        }
        let json = |path: &str| -> Answer<Value> {
            let bytes = files
                .get(path)
                .ok_or_else(|| broken(&format!("open {path}: no such file")))?;
            serde_json::from_slice(bytes).map_err(|e| broken(&e))
        };
        let mut said = String::new();
        for one in json("manifest.json")?.as_array().into_iter().flatten() {
            let path = one["Config"].as_str().unwrap_or_default();
            let mut image = Image::new(json(path)?["config"].clone());
            image.id = format!("sha256:{}", hex(&Sha256::digest(&files[path])));
            for name in list(&one["RepoTags"]) {
                let id = self.add_image(&name, image.clone());
                self.tell(
                    "image",
                    "load",
                    &id,
                    BTreeMap::from([("name".to_owned(), name.clone())]),
                );
                said = format!("{said}Loaded image: {name}\n");
            }
        }
        Ok(json!({"stream": said}))
    }

    /// Fetches an image from the registry behind the engine.
    pub(crate) fn pull(&mut self, from: &str, tag: &str) -> Answer {
        let name = if from.contains('@') {
            from.to_owned()
        } else {
            format!("{from}:{tag}")
        };
        let Some(image) = self.in_registry(&name).cloned() else {
            let message = format!("manifest for {name} not found: manifest unknown: manifest unknown");
            return Err(Refusal(404, message));
        };
        let tag = if from.contains('@') { "" } else { name.as_str() };
        let id = self.add_image(tag, image);
        self.tell(
            "image",
            "pull",
            &id,
            BTreeMap::from([("name".to_owned(), name.clone())]),
        );
        Ok(json!({"status": format!("Status: Downloaded newer image for {name}")}))
    }

    fn in_registry(&self, name: &str) -> Option<&Image> {
        self.registry
            .get(name)
            .or_else(|| self.registry.values().find(|image| image.digests.contains(name)))
    }

    pub(crate) fn distribution(&self, name: &str) -> Answer {
        let image = self.in_registry(name);
        let digest = image.and_then(|image| image.digests.iter().next()?.split_once('@'));
        let Some((_, digest)) = digest else {
            return Err(Refusal(404, "manifest unknown: manifest unknown".to_owned()));
        };
        Ok(json!({
            "Descriptor": {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": digest, "size": 1},
            "Platforms": [],
        }))
    }
}
