//! What actions, their keys and functions are for, in words: for the reference and for
//! editors, which show them from the JSON Schema.

/// An action in a sentence.
pub fn about_action(action: &str) -> &'static str {
    match action {
        "allow" => {
            "Lets the exchange go on, and ends the policy; later policies still have their say."
        }
        "deny" => {
            "Refuses the exchange with status 403, in the client's dialect. No policy can undo it."
        }
        "log" => "Writes a line to the log of the instance and to the record of the exchange.",
        "redact" => "Takes text out of the request or the response.",
        "modify" => "Sets a field of the request or the response to another value.",
        "route" => "Sends the request to another provider, or asks another model.",
        "alert" => "Tells somebody: a message, with a severity, to a webhook.",
        "rate_limit" => "At most so many requests per key in a window of time.",
        "budget" => "At most so many tokens, or US dollars, per key in a window of time.",
        "tag" => "Labels the record of the exchange, for reports and for finding it again.",
        _ => "",
    }
}

/// A key of an action in a sentence.
pub fn about_key(action: &str, key: &str) -> &'static str {
    match (action, key) {
        (_, "type") => "Which action it is.",
        ("deny", "message") => "What the client is told. At most 4 KiB; templates are filled in.",
        ("deny", "code") => {
            "A stable word for programs, records and metrics; without it `policy_violation`."
        }
        ("log", "level") => "How grave it is.",
        ("log", "message") => "The line. Contents of messages cannot stand in it.",
        ("redact", "fields") => {
            "The fields to look through, such as `request.messages[*].content` or `response.content`."
        }
        ("redact", "method") => {
            "`mask` puts a `*` in the place of each character that was found, `remove` leaves nothing, `replace` puts `replacement` there, `tokenize` a placeholder that becomes the text again in the answer."
        }
        ("redact", "replacement") => {
            "What stands in the place of what was found; with `replace` only."
        }
        ("modify", "field") => "The field to set; it begins with `request.` or `response.`.",
        ("modify", "value") => {
            "Its new value, of the type of the field; `null` takes the field out."
        }
        ("route", "provider") => "The name of a provider of the configuration.",
        ("route", "model") => "The model to ask for instead.",
        ("route", "reason") => "Why, for the record.",
        ("alert", "message") => "What is told. Contents of messages cannot stand in it.",
        ("alert", "webhook") => "Where to: an address, known when the policy is checked.",
        ("alert", "severity") => "How urgent it is; without it `medium`.",
        (_, "key") => "Whom it counts: exchanges with the same text share a limit.",
        ("rate_limit", "limit") => "How many requests.",
        ("budget", "limit") => "How many tokens, or US dollars.",
        (_, "window") => {
            "The span of time: a number with `s`, `min`, `h`, `d`, `w` or `mo`; at most a year."
        }
        ("budget", "budget_type") => {
            "What is counted: `tokens`, or `cost` in US dollars. `type` says that it is a budget."
        }
        ("tag", "tags") => "The labels: a mapping of names to values, or a list of names.",
        _ => "",
    }
}

/// A function in a sentence.
pub fn about_function(function: &str) -> &'static str {
    match function {
        "len" => {
            "How long it is: characters of a text, of all texts of `request.text` together; entries of a list; messages."
        }
        "lower" => "The text with small letters, to compare without regard to capitals.",
        "upper" => "The text with capital letters, to compare without regard to small ones.",
        "contains" => {
            "Whether a constant list has the text, or one of the names; or whether a text contains a part, or one of a list of parts."
        }
        "has_pii" => {
            "Whether personal data was found in the text; without arguments, anywhere in the request."
        }
        "has_injection" => {
            "Whether an attempt to override instructions was found in the text; without arguments, anywhere in the request."
        }
        "has_sensitive" => {
            "Whether sensitive content was found in the text; without arguments, anywhere in the request."
        }
        _ => "",
    }
}
