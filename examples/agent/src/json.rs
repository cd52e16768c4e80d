//! Picks values out of JSON, for scripts: `rings[name=dev].phase`, `[*].Id`, `tenants[*].slug`.

use serde_json::Value;

/// What stands at this path: nothing, one value, or, after `[*]`, several. Strings come without quotes.
pub fn pick(document: &Value, path: &str) -> Result<Vec<String>, String> {
    let mut here = vec![document];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (key, select) = match step.split_once('[') {
            Some((key, rest)) => (
                key,
                Some(
                    rest.strip_suffix(']')
                        .ok_or_else(|| format!("{path}: {step} lacks its ]"))?,
                ),
            ),
            None => (step, None),
        };
        if !key.is_empty() {
            here = here.into_iter().filter_map(|value| value.get(key)).collect();
        }
        if let Some(select) = select {
            let items = here.into_iter().filter_map(Value::as_array).flatten();
            here = match select.split_once('=') {
                Some((field, wanted)) => items
                    .filter(|item| item.get(field).is_some_and(|value| text(value) == wanted))
                    .collect(),
                None if select == "*" => items.collect(),
                None => return Err(format!("{path}: [{select}] is neither [*] nor [FIELD=VALUE]")),
            };
        }
    }
    Ok(here.into_iter().map(text).collect())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_goes_through_keys_and_selected_items() {
        let document = json!({"rings": [
            {"name": "dev", "phase": "synced", "moves": []},
            {"name": "prod", "phase": "waiting", "running": null},
        ]});
        assert_eq!(pick(&document, "rings[name=prod].phase").unwrap(), ["waiting"]);
        assert_eq!(pick(&document, "rings[*].name").unwrap(), ["dev", "prod"]);
        assert_eq!(pick(&document, "rings[name=prod].running").unwrap(), ["null"]);
        assert!(pick(&document, "rings[name=none].phase").unwrap().is_empty());
        assert!(pick(&document, "tenants[*].slug").unwrap().is_empty());
        assert_eq!(
            pick(&json!([{"Id": "a"}, {"Id": "b"}]), "[*].Id").unwrap(),
            ["a", "b"]
        );
        assert!(pick(&document, "rings[0].name").is_err());
        assert!(pick(&document, "rings[*").is_err());
    }
}
