//! In whose name a verb writes: the one whose key the user's git signs with.

use jiff::Timestamp;

use super::error::CliError;
use super::fleet::Fleet;
use super::out::Out;
use crate::fleet::names::PrincipalName;
use crate::git::{Hand, Signing, SigningKey, Writer};

/// Who acts, and how their commit is signed.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    /// As whom; none: it could not be told, and need not be.
    pub(super) name: Option<PrincipalName>,
    /// Whether the commit is signed.
    pub(super) signing: Signing,
}

impl Signer {
    /// As whom, in messages.
    pub(super) fn told(&self) -> &str {
        self.name.as_ref().map_or("nobody known", PrincipalName::as_str)
    }
}

/// How a verb tells a person that something takes long.
pub(super) fn say(text: &str) {
    Out::say(text);
}

impl Fleet {
    /// A writer with the person's own git.
    pub(super) fn writer(&self) -> Writer<'_> {
        Writer::new(&self.repo, Hand::Person { say: &say })
    }

    /// Whose word it will be. In a fleet without keys: `solo`.
    pub(super) fn signer(&self, named: Option<&str>) -> Result<Signer, CliError> {
        let principals = &self.policy.principals;
        if principals.is_solo() {
            return Ok(Signer {
                name: Some(PrincipalName::solo()),
                signing: Signing::AsConfigured,
            });
        }
        if let Some(named) = named {
            let name: PrincipalName = named.parse().map_err(CliError::usage)?;
            if !principals.all.contains_key(&name) {
                let known: Vec<&str> = principals.all.keys().map(PrincipalName::as_str).collect();
                return Err(CliError::usage(format!("rings/principals.yaml has no `{name}`"))
                    .hint(format!("there are {}", known.join(", "))));
            }
            return Ok(Signer {
                name: Some(name),
                signing: Signing::Always,
            });
        }
        let key = match self.writer().signing_key()? {
            SigningKey::Ssh(key) => key,
            SigningKey::None(why) => {
                return Err(
                    CliError::new(format!("this fleet counts only what is signed, and {why}"))
                        .hint("`--as NAME` where git signs with another program"),
                );
            }
        };
        let signer = principals
            .signer(&key, Timestamp::now())
            .map_err(|why| CliError::new(format!("git signs with a key that does not count here: {why}")))?;
        Ok(Signer {
            name: Some(signer.name.clone()),
            signing: Signing::Always,
        })
    }

    /// The same for what counts from anybody: who cannot be told goes unsigned, if their git is set up so.
    pub(super) fn anybody(&self) -> Signer {
        self.signer(None).unwrap_or_else(|error| {
            Out::say(&format!("note: {}; it goes on, in nobody's name", error.message));
            Signer {
                name: None,
                signing: Signing::AsConfigured,
            }
        })
    }
}
