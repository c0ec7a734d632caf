//! The kinds of diagnostics: their stable texts, what each means, and the way out.
//!
//! The reference (`docs/reference/diagnostics.md`) is made from this table and from the
//! cases of the tests; SARIF logs carry it, too.

use super::diagnostics::Severity;

macro_rules! codes {
    ($($variant:ident $severity:ident $text:literal: $meaning:literal, $way_out:literal;)*) => {
        /// The kinds of diagnostics. Their texts never change meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($variant,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            /// What to do about it, whatever the text.
            pub fn way_out(self) -> &'static str {
                match self { $(Code::$variant => $way_out,)* }
            }
        }
    };
}

codes! {
    // The text.
    TextTooLarge Error "text-too-large":
        "The text exceeds 1 MiB, a message 4 KiB, or variables filled in 16 MiB.",
        "Split the policy: several policies are enforced together. Long lists belong into `variables`, once.";
    YamlSyntax Error "yaml-syntax":
        "Not YAML.",
        "The position says where reading stopped; what is wrong is often the line before: indentation, a missing quote or bracket.";
    YamlUnsupported Error "yaml-unsupported":
        "YAML that means nothing here: tags, several documents, keys that are no texts, circular aliases.",
        "Write plain mappings, lists, texts, numbers and booleans, one document a file.";
    TooDeep Error "too-deep":
        "YAML beyond 64 levels, or conditions beyond 28.",
        "Flatten it: the parts of an `all` within an `all` may stand side by side.";
    TooManyNodes Error "too-many-nodes":
        "More than 100,000 values, aliases expanded.",
        "Split the policy, and use fewer aliases: each counts with all it stands for.";
    DuplicateKey Error "duplicate-key":
        "A key is given twice in a mapping.",
        "Keep one of the two. In a `budget` write the kind as `budget_type`: `type` says that it is a budget.";
    // Its shape.
    WrongShape Error "wrong-shape":
        "A list where a text belongs, and the like; keys that exclude each other.",
        "Write what the message asks for in its place.";
    MissingKey Error "missing-key":
        "A required key is missing or empty.",
        "Add the key.";
    UnknownKey Error "unknown-key":
        "No such key; the nearest one is offered.",
        "Correct the key; remarks belong into `description` or a comment.";
    KeyIgnored Warning "key-ignored":
        "A key that is read, and has no effect here.",
        "Remove the key, or put what it says into `description` or a comment.";
    AlternateForm Warning "alternate-form":
        "A form that is understood; the form to write is named.",
        "Write the form the message names. The policy means the same.";
    UnquotedText Warning "unquoted-text":
        "A number or boolean where a text belongs; taken as written.",
        "Put quotes around it.";
    // The policy and its rules.
    MplVersion Error "mpl-version":
        "A version of the language that is not known.",
        "Write `mpl_version: \"1.0\"`.";
    BadName Error "bad-name":
        "A name that is not kebab-case, or a variable with other characters.",
        "Use small letters, digits and hyphens, beginning with a letter: `no-large-models`.";
    BadVersion Error "bad-version":
        "A `version` that is not `MAJOR.MINOR.PATCH`.",
        "Write three numbers: `version: \"1.0.0\"`.";
    BadDate Warning "bad-date":
        "`created` or `updated` is not a date.",
        "Write it as `2026-01-31`.";
    DuplicateTag Warning "duplicate-tag":
        "A tag is given twice.",
        "Remove one of the two.";
    DuplicateRule Error "duplicate-rule":
        "Two rules of a policy have the same name.",
        "Give each rule a name of its own: records and tests refer to rules by name.";
    EmptyRules Error "empty-rules":
        "A policy without rules.",
        "Add a rule, or delete the policy.";
    EmptyActions Error "empty-actions":
        "A rule without actions.",
        "Say what the rule does, for example `actions: [{type: allow}]`.";
    EmptyGroup Warning "empty-group":
        "An empty `all` always holds, an empty `any` never.",
        "Remove the group, or write the conditions it is to hold.";
    UnreachableRule Warning "unreachable-rule":
        "A rule after one that matches everything, perhaps only to log.",
        "Move the rule before the one that matches everything, or give that one conditions.";
    UnreachableAction Warning "unreachable-action":
        "An action after the `allow` or `deny` that ends its rule.",
        "Move the action before the `allow` or `deny`, or remove it.";
    ShadowedRule Warning "shadowed-rule":
        "Whatever the rule matches is taken by rules before it.",
        "Move the rule before those that take what it matches, or remove it.";
    Contradiction Warning "contradiction":
        "Conditions that never hold together, or a value a function never gives.",
        "Correct the conditions: no exchange can satisfy them together.";
    PhaseConflict Error "phase-conflict":
        "A rule of the request phase that reads the response.",
        "Write `phase: response`, or remove the condition on the response.";
    PhaseMixed Warning "phase-mixed":
        "A rule that reads request and response without saying `phase: response`.",
        "Say when the rule is evaluated: `phase: response`.";
    TargetGone Warning "target-gone":
        "An action changes the request, in a rule that is decided when the response is there.",
        "Change the request in a rule that reads only the request, or name fields of the response.";
    SettingNotApplied Warning "setting-not-applied":
        "A setting that has no effect where it stands.",
        "Remove the setting, or set what it applies to.";
    // Conditions.
    UnknownField Error "unknown-field":
        "No such field; the nearest one is offered.",
        "Correct the path; the reference lists all fields.";
    FactNotProvided Warning "fact-not-provided":
        "The field belongs to the language, and is null in this version.",
        "Do not rely on the rule yet: its condition does not hold, and `!=` and `not` around it do. A later version fills the field.";
    FactNeverComputed Warning "fact-never-computed":
        "The field is documented, and nothing computes it: it is always null.",
        "Remove the condition: it will not hold in later versions either.";
    UnknownOperator Error "unknown-operator":
        "No such operator.",
        "Use one of the operators the message names.";
    UnknownFunction Error "unknown-function":
        "No such function.",
        "Use one of the functions the message names.";
    FunctionArguments Error "function-arguments":
        "Too many or too few arguments of a function, or of a kind it does not take.",
        "Give the arguments the message asks for.";
    OperatorType Error "operator-type":
        "The operator does not apply to a field of this type.",
        "Use an operator that applies to the field; the help names one.";
    ValueType Error "value-type":
        "The value has another type than the field and operator need.",
        "Nothing is converted: write the value as the type of the field.";
    UnknownValue Error "unknown-value":
        "A word outside a fixed set, such as `monday` for `Monday`.",
        "Write one of the words the field has; capitals count.";
    SuspiciousUnit Warning "suspicious-unit":
        "A number that its field never is, such as milliseconds for seconds.",
        "Check the unit of the number; the help names the likely value.";
    BadPattern Error "bad-pattern":
        "Not a regular expression, or one that needs more than linear time.",
        "Correct the regular expression. Look-around and back-references have no linear time: write several conditions instead.";
    PatternTooLarge Error "pattern-too-large":
        "Compiled, the regular expression would take more than 64 KiB.",
        "Shorten it: narrower classes (`[a-z]`, `\\d`) and smaller counts, or several conditions with `contains`.";
    PatternNotConstant Error "pattern-not-constant":
        "A regular expression with a field in it.",
        "Write the expression itself, or a variable; for a field compare with `contains` or `==`.";
    // Expressions.
    CelSyntax Error "cel-syntax":
        "`when` is not an expression.",
        "Correct the expression at the position shown.";
    CelUnsupported Error "cel-unsupported":
        "CEL that has no type, or no value for every exchange.",
        "Write it with what the subset has; the help names the way.";
    NeedsHas Error "needs-has":
        "In `when`, a field that may be missing is negated before `has()` asked for it.",
        "Put `has(field) && …` before it where a missing field shall not match, `!has(field) || …` where it shall.";
    TooCostly Error "too-costly":
        "`when` takes too many steps, or reads a text again for each entry of a list.",
        "Move the test of `request.text` out of the macro, put macros side by side, shorten lists.";
    // Actions, templates, variables.
    UnknownAction Error "unknown-action":
        "No such action.",
        "Use one of the actions the message names.";
    ActionNotProvided Warning "action-not-provided":
        "The action is recorded, and not carried out by this version.",
        "Do not rely on the action yet: that it was asked for is recorded, and nothing else happens.";
    ActionTarget Error "action-target":
        "A field that the action cannot change.",
        "Name a field that holds text of the request or the response.";
    BadLimit Error "bad-limit":
        "A limit that is not a number of what is counted.",
        "Write a positive number: whole for requests and tokens, US dollars for costs.";
    BadWindow Error "bad-window":
        "Not a span of time, one that is too long, or `1m`.",
        "Write a number with a unit: `30s`, `5min`, `1h`, `1d`, `1w`, `1mo`; a year at most.";
    BadWebhook Error "bad-webhook":
        "Not an address, or one that depends on the exchange.",
        "Write an address that begins with `https://`; variables may stand in it, fields may not.";
    BadCode Error "bad-code":
        "A `code` or tag with other characters, or too long.",
        "Use at most 64 letters, digits, `_`, `-` and `.`: `model_not_approved`.";
    PromptInMessage Error "prompt-in-message":
        "A message that would show text of the prompt.",
        "Name the field in words: messages reach logs and evidence, prompts must not.";
    TemplateSyntax Error "template-syntax":
        "`{{` without `}}`, or nothing in between.",
        "Write `{{ variables.name }}` or `{{ field.path }}`.";
    UnknownVariable Error "unknown-variable":
        "No such variable.",
        "Correct the name, or define it under `variables`.";
    UnusedVariable Warning "unused-variable":
        "A variable that nothing refers to.",
        "Use it or remove it.";
    VariableType Error "variable-type":
        "A variable that is null, mixes texts and numbers, or refers to a field.",
        "Give it a text, a number, a boolean, or a list of one of them; a field is known only when an exchange is.";
    VariableCycle Error "variable-cycle":
        "A variable that refers to itself, or through more than 32 others.",
        "Write out one of the variables of the circle.";
    // Tests.
    BadCase Error "bad-case":
        "A test that cannot be run: no expectation, a name twice, unknown facts.",
        "Say what is to be decided, once for each name, with facts named as the fields are.";
    EmptyTests Warning "empty-tests":
        "`tests` without cases.",
        "Add a case, or remove `tests`.";
}
