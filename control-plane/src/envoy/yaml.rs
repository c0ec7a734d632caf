//! JSON values as YAML text, and back.

use saphyr::{LoadableYamlNode, Mapping, Scalar, Yaml, YamlEmitter};
use serde_json::{Map, Number, Value};

/// Prints a value as a YAML document.
pub fn print(value: &Value) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail, and a JSON value has nothing YAML lacks.
    let _ = YamlEmitter::new(&mut text).dump(&to_yaml(value));
    let text = text.strip_prefix("---\n").unwrap_or(&text);
    format!("{}\n", text.trim_end())
}

/// Reads one YAML document that has only what JSON has.
pub fn read(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    match documents.as_slice() {
        [] => Ok(Value::Null),
        [document] => to_json(document),
        _ => Err("more than one YAML document".to_owned()),
    }
}

fn to_yaml(value: &Value) -> Yaml<'_> {
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(value) => Yaml::Value(Scalar::Boolean(*value)),
        Value::Number(value) => match value.as_i64() {
            Some(integer) => Yaml::Value(Scalar::Integer(integer)),
            None => Yaml::Value(Scalar::FloatingPoint(
                value.as_f64().unwrap_or_default().into(),
            )),
        },
        Value::String(value) => Yaml::Value(Scalar::String(value.as_str().into())),
        Value::Array(elements) => Yaml::Sequence(elements.iter().map(to_yaml).collect()),
        Value::Object(entries) => {
            let mut mapping = Mapping::new();
            for (key, value) in entries {
                let key = Yaml::Value(Scalar::String(key.as_str().into()));
                mapping.insert(key, to_yaml(value));
            }
            Yaml::Mapping(mapping)
        }
    }
}

fn to_json(yaml: &Yaml<'_>) -> Result<Value, String> {
    match yaml {
        Yaml::Value(Scalar::Null) => Ok(Value::Null),
        Yaml::Value(Scalar::Boolean(value)) => Ok(Value::Bool(*value)),
        Yaml::Value(Scalar::Integer(value)) => Ok(Value::Number((*value).into())),
        Yaml::Value(Scalar::FloatingPoint(value)) => Number::from_f64(value.into_inner())
            .map(Value::Number)
            .ok_or_else(|| format!("`{value}` is no JSON number")),
        Yaml::Value(Scalar::String(value)) => Ok(Value::String(value.to_string())),
        Yaml::Sequence(elements) => elements.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Yaml::Value(Scalar::String(key)) = key else {
                    return Err("a key that is not text".to_owned());
                };
                map.insert(key.to_string(), to_json(value)?);
            }
            Ok(Value::Object(map))
        }
        other => Err(format!("not representable as JSON: {other:?}")),
    }
}
