//! JSON Schemas (2020-12) of the documents, for editors. The readers judge; a test holds the two together.

use serde_json::{Value, json};

use super::compose::REFUSED;

/// A kind of document.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// What the schema is called.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! documents {
    ($($name:literal),+ $(,)?) => {
        /// Every kind of document that a fleet has.
        pub const DOCUMENTS: &[Document] = &[
            $(Document { name: $name, text: include_str!(concat!("schema/", $name, ".json")) }),+
        ];
    };
}

documents![
    "ringfence",
    "rings",
    "principals",
    "pin",
    "approval",
    "waiver",
    "hold",
    "tenant",
    "stacks",
    "stack",
    "plans",
    "packages",
    "compose",
    "spirit",
];

impl Document {
    /// The schema. Its `title` is the path of such files, its `description` says what they are.
    pub fn schema(&self) -> Value {
        let mut schema: Value = serde_json::from_str(self.text).unwrap_or_default();
        if self.name == "compose" {
            refuse(&mut schema);
        }
        schema
    }
}

/// The keys of a service that are not carried out: they may only say nothing.
fn refuse(schema: &mut Value) {
    let keys = schema.pointer_mut("/properties/services/additionalProperties/properties");
    let Some(Value::Object(keys)) = keys else { return };
    for (key, why, help) in REFUSED {
        let description = format!("`{key}` {why}: {help}.");
        let nothing = json!({ "description": description, "enum": [null, false, "", [], {}] });
        keys.insert((*key).to_owned(), nothing);
    }
    if let Some(Value::Array(words)) = keys.get_mut("runtime").and_then(|r| r.get_mut("enum")) {
        words.push(json!("runc"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_says_what_it_is_about_and_compose_has_the_refused_keys() {
        for document in DOCUMENTS {
            let schema = document.schema();
            for key in ["title", "description", "properties"] {
                assert!(!schema[key].is_null(), "{} has no {key}", document.name);
            }
        }
        let compose = DOCUMENTS.iter().find(|d| d.name == "compose").unwrap().schema();
        let service = &compose["properties"]["services"]["additionalProperties"]["properties"];
        assert!(service["image"]["enum"].is_null() && service["privileged"]["enum"].is_array());
    }
}
