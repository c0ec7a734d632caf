//! `${NAME}` and `${NAME:-default}` in configuration values.
//!
//! What an error says comes from the file, never from the environment: the
//! values put in may be secrets.

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpandError {
    /// The variable is not set and no default is given.
    Unset(String),
    /// `${` without `}`.
    Unclosed,
    /// Between the braces stands no variable's name.
    NotAName(String),
}

/// Fills in the variables; `$${` stands for a literal `${`.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (reference, after) = after.split_once('}').ok_or(ExpandError::Unclosed)?;
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            return Err(ExpandError::NotAName(name.to_owned()));
        }
        // As in a shell, `:-` also stands in for a variable that is set but empty.
        match (env(name), default) {
            (Some(value), Some(default)) if value.is_empty() => out.push_str(default),
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(ExpandError::Unset(name.to_owned())),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("secret-value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_and_defaults_are_filled_in() {
        assert_eq!(expand("a ${KEY} b", &env).unwrap(), "a secret-value b");
        assert_eq!(
            expand("${NONE:-x}${KEY:-y}", &env).unwrap(),
            "xsecret-value"
        );
        assert_eq!(expand("${NONE:-}", &env).unwrap(), "");
        assert_eq!(expand("${EMPTY:-x}", &env).unwrap(), "x");
        assert_eq!(expand("${EMPTY}", &env).unwrap(), "");
        assert_eq!(expand("$ {a} $$${KEY}", &env).unwrap(), "$ {a} $${KEY}");
        assert_eq!(expand("$${KEY}", &env).unwrap(), "${KEY}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        assert_eq!(
            expand("${NONE}", &env),
            Err(ExpandError::Unset("NONE".to_owned()))
        );
        assert_eq!(expand("${KEY", &env), Err(ExpandError::Unclosed));
        assert_eq!(
            expand("${9x}", &env),
            Err(ExpandError::NotAName("9x".to_owned()))
        );
    }
}
