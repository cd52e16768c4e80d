//! The canonical form of a value, written in one go: JSON without white space, keys in byte order.

use std::cmp::Ordering;
use std::ops::Range;

use serde::ser::{self, Error as _, Serialize};
use serde_json::Error;

/// Appends the canonical form of `value`.
///
/// # Errors
/// Where JSON cannot hold it: a key that is no text, number or truth value.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(To(out))
}

struct To<'o>(&'o mut Vec<u8>);

/// A list that is being written, and what closes it.
struct Items<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
    close: &'static [u8],
}

/// A map that is being written: its entries as they come, with their places from its own beginning.
struct Pairs<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    entries: Vec<Entry>,
    close: &'static [u8],
}

struct Entry {
    /// The key as it is written, without its quotes.
    key: Range<usize>,
    /// Key and value.
    all: Range<usize>,
}

impl<'o> Items<'o> {
    fn open(out: &'o mut Vec<u8>, close: &'static [u8]) -> Self {
        out.push(b'[');
        Self {
            out,
            begun: false,
            close,
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
        write(value, self.out)
    }

    fn close(self) {
        self.out.extend_from_slice(self.close);
    }
}

impl<'o> Pairs<'o> {
    fn open(out: &'o mut Vec<u8>, close: &'static [u8]) -> Self {
        out.push(b'{');
        let start = out.len();
        Self {
            out,
            start,
            entries: Vec::new(),
            close,
        }
    }

    fn at(&self) -> usize {
        self.out.len() - self.start
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        if !self.entries.is_empty() {
            self.out.push(b',');
        }
        let begin = self.at();
        write(key, self.out)?;
        match self.out.get(self.start + begin) {
            Some(b'"') => {}
            Some(b'0'..=b'9' | b'-' | b't' | b'f') => {
                self.out.insert(self.start + begin, b'"');
                self.out.push(b'"');
            }
            _ => return Err(Error::custom("a key must be a text")),
        }
        let end = self.at();
        self.out.push(b':');
        self.entries.push(Entry {
            key: begin + 1..end - 1,
            all: begin..end,
        });
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        write(value, self.out)?;
        let end = self.at();
        if let Some(entry) = self.entries.last_mut() {
            entry.all.end = end;
        }
        Ok(())
    }

    /// Puts the entries in order, if they did not come so. Of two with one key the later counts.
    fn close(self) {
        let written = self.out.get(self.start..).unwrap_or_default();
        let compare = |a: &Entry, b: &Entry| in_order(text(written, &a.key), text(written, &b.key));
        if !self.entries.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            let written = written.to_vec();
            let compare = |a: &Entry, b: &Entry| in_order(text(&written, &a.key), text(&written, &b.key));
            let mut entries = self.entries;
            entries.sort_by(compare);
            self.out.truncate(self.start);
            let mut entries = entries.iter().peekable();
            while let Some(entry) = entries.next() {
                if entries.peek().is_some_and(|next| compare(entry, next).is_eq()) {
                    continue;
                }
                if self.out.len() > self.start {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(text(&written, &entry.all));
            }
        }
        self.out.extend_from_slice(self.close);
    }
}

fn text<'t>(written: &'t [u8], part: &Range<usize>) -> &'t [u8] {
    written.get(part.clone()).unwrap_or_default()
}

/// By the bytes of what is meant, not of how it is written.
fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    if !a.contains(&b'\\') && !b.contains(&b'\\') {
        return a.cmp(b);
    }
    meant(a).cmp(&meant(b))
}

fn meant(key: &[u8]) -> String {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_default()
}

/// As `serde_json` writes it.
macro_rules! plain {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(self.0, &value)
        })*
    };
}

impl<'o> ser::Serializer for To<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'o>;
    type SerializeTuple = Items<'o>;
    type SerializeTupleStruct = Items<'o>;
    type SerializeTupleVariant = Items<'o>;
    type SerializeMap = Pairs<'o>;
    type SerializeStruct = Pairs<'o>;
    type SerializeStructVariant = Pairs<'o>;

    plain! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f64: f64,
        serialize_char: char, serialize_str: &str
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        open_variant(self.0, variant)?;
        write(value, self.0)?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'o>, Error> {
        Ok(Items::open(self.0, b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'o>, Error> {
        Ok(Items::open(self.0, b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'o>, Error> {
        Ok(Items::open(self.0, b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'o>, Error> {
        open_variant(self.0, variant)?;
        Ok(Items::open(self.0, b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Pairs<'o>, Error> {
        Ok(Pairs::open(self.0, b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs<'o>, Error> {
        Ok(Pairs::open(self.0, b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Pairs<'o>, Error> {
        open_variant(self.0, variant)?;
        Ok(Pairs::open(self.0, b"}}"))
    }
}

fn open_variant(out: &mut Vec<u8>, variant: &'static str) -> Result<(), Error> {
    out.push(b'{');
    serde_json::to_writer(&mut *out, variant)?;
    out.push(b':');
    Ok(())
}

/// The kinds of lists differ only in the names of their methods.
macro_rules! items {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for Items<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

items! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
}

impl ser::SerializeMap for Pairs<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

/// And those of structures.
macro_rules! fields {
    ($($kind:ident),*) => {
        $(impl ser::$kind for Pairs<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.key(key)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Value, json};

    /// The definition: sorted by the raw keys, written by `serde_json`.
    fn defined(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<&[u8], _> = map.iter().map(|(k, v)| (k.as_bytes(), (k, v))).collect();
                out.push('{');
                for (i, (key, value)) in sorted.into_values().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    out.push_str(&json!(key).to_string());
                    out.push(':');
                    defined(value, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    defined(item, out);
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn is_as_defined(value: &impl Serialize) {
        let mut expected = String::new();
        defined(&serde_json::to_value(value).unwrap(), &mut expected);
        let mut out = Vec::new();
        super::write(value, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        One(Option<u8>),
        Two(i64, f64),
        Named { z: char, a: () },
    }

    #[derive(Serialize)]
    struct All<'a> {
        zeta: BTreeMap<i32, &'a [Kind]>,
        alpha: (bool, f32, Option<&'a str>),
        #[serde(flatten)]
        more: BTreeMap<&'a str, Vec<u64>>,
    }

    #[test]
    fn every_kind_of_value_is_written_as_serde_json_would_with_its_keys_in_order() {
        let kinds = [
            Kind::Unit,
            Kind::One(Some(7)),
            Kind::One(None),
            Kind::Two(-3, 0.1),
            Kind::Named { z: '\u{1f}', a: () },
        ];
        is_as_defined(&All {
            zeta: BTreeMap::from([(10, &kinds[..]), (9, &kinds[1..2]), (-1, &[])]),
            alpha: (true, 0.1, Some("a \"quoted\" \u{7f} é\n")),
            more: BTreeMap::from([("mu", vec![u64::MAX]), ("Beta", vec![])]),
        });
        assert!(super::write(&BTreeMap::from([((1, 2), 3)]), &mut Vec::new()).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = "[a-c!\"\\\\\n\u{1}é#]{0,4}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text, inner), 0..6)
                    .prop_map(|e| Value::Object(e.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_written_with_its_keys_in_order(value in any_value()) {
            is_as_defined(&value);
        }

        // Maps whose entries come in any order, some keys twice.
        #[test]
        fn entries_in_any_order_are_sorted_and_the_later_of_two_counts(
            entries in prop::collection::vec(("[a-c!\"\\\\\n\u{1}é#]{0,3}", any::<u8>()), 0..12)
        ) {
            struct Listed<'e>(&'e [(String, u8)]);
            impl Serialize for Listed<'_> {
                fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                    s.collect_map(self.0.iter().map(|(k, v)| (k, v)))
                }
            }
            is_as_defined(&Listed(&entries));
        }
    }
}
