//! Any text as the `when:` of a rule.
#![no_main]

libfuzzer_sys::fuzz_target!(|expression: &str| {
    // A block keeps its lines together by their indentation.
    let indented = expression.replace('\n', "\n      ");
    jupiter_fuzz::policy_text(&format!(
        "mpl_version: '1.0'\nname: p\nversion: 1.0.0\nrules:\n  - name: r\n    when: |-\n      \
         {indented}\n    actions: [{{type: deny, message: 'no'}}]\n"
    ));
});
