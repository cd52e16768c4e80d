//! Logins at registries: those that `docker login` left for the user who runs us.

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential};

use super::error::EngineError;

/// Docker Hub, as Docker's configuration names it.
const HUB: &str = "https://index.docker.io/v1/";

/// The login for one image's registry.
pub(super) struct Login {
    /// None: none is known, and the registry is asked without.
    pub credentials: Option<DockerCredentials>,
    registry: String,
    /// What is wrong with the login that Docker's configuration names. Told only when the registry refuses access:
    /// what is public needs none.
    trouble: Option<String>,
}

impl Login {
    /// The login for the registry of an image, from `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; a
    /// credential helper is asked if one is named there. Looked up for each call: logins change.
    pub async fn of(reference: &str) -> Self {
        let registry = registry(reference);
        let key = registry.clone().unwrap_or_else(|| HUB.to_owned());
        // A helper is a program that may take its time.
        let found = tokio::task::spawn_blocking(move || get_credential(&key)).await;
        let (credentials, trouble) = match found {
            Ok(Ok(credential)) => (Some(sent(credential, registry.as_deref())), None),
            Ok(Err(error)) => (None, trouble(&error)),
            Err(_) => (None, Some("the look-up of its login broke off".to_owned())),
        };
        Self {
            credentials,
            registry: registry.unwrap_or_default(),
            trouble,
        }
    }

    /// An error that says where to log in.
    pub fn named(&self, error: EngineError) -> EngineError {
        let EngineError::Access { what, message, .. } = error else {
            return error;
        };
        let message = match &self.trouble {
            Some(trouble) => format!("{message}; {trouble}"),
            None if self.credentials.is_some() => {
                format!("{message}; the login that this user has is not enough")
            }
            None => message,
        };
        EngineError::Access {
            what,
            message,
            registry: self.registry.clone(),
        }
    }
}

fn sent(credential: DockerCredential, registry: Option<&str>) -> DockerCredentials {
    let serveraddress = Some(registry.unwrap_or(HUB).to_owned());
    match credential {
        DockerCredential::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token),
            serveraddress,
            ..DockerCredentials::default()
        },
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        },
    }
}

/// In our words: a helper's own may hold a secret.
fn trouble(error: &CredentialRetrievalError) -> Option<String> {
    let words = match error {
        CredentialRetrievalError::ConfigNotFound | CredentialRetrievalError::NoCredentialConfigured => {
            return None;
        }
        // What every helper says of a registry that it does not know.
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. }
            if [stdout, stderr]
                .iter()
                .any(|words| words.contains("credentials not found")) =>
        {
            return None;
        }
        CredentialRetrievalError::HelperFailure { helper, .. } => format!("`{helper}` failed"),
        CredentialRetrievalError::HelperCommunicationError => {
            "the credential helper that Docker's config.json names could not be run".to_owned()
        }
        CredentialRetrievalError::MalformedHelperResponse => {
            "the credential helper's answer is none".to_owned()
        }
        CredentialRetrievalError::ConfigReadError => "Docker's config.json cannot be read".to_owned(),
        CredentialRetrievalError::CredentialDecodingError
        | CredentialRetrievalError::CredentialMismatchError => {
            "the login in Docker's config.json is damaged".to_owned()
        }
    };
    Some(words)
}

/// The registry in an image's name; none: Docker Hub.
fn registry(reference: &str) -> Option<String> {
    let (first, _) = reference.split_once('/')?;
    let host = first == "localhost" || first.contains(['.', ':']);
    (host && !matches!(first, "docker.io" | "index.docker.io")).then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn a_name_says_its_registry() {
        for (name, want) in [
            ("redis:7", None),
            ("library/redis", None),
            ("docker.io/library/redis", None),
            ("localhost/a", Some("localhost")),
            ("127.0.0.1:5000/a:1", Some("127.0.0.1:5000")),
            ("registry.example/team/a@sha256:00", Some("registry.example")),
        ] {
            assert_eq!(registry(name).as_deref(), want, "{name}");
        }
    }
}
