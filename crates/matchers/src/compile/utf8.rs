//! Makes use of texts being UTF-8: what cannot follow need not be excluded.
//!
//! A class with every character beyond ASCII is one byte that begins a character, then
//! any continuation bytes: one state instead of the six that spell out valid sequences,
//! which matters most under counted repeats.

use regex_syntax::hir::{
    Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, HirKind, Repetition,
};

const FIRST_BEYOND_ASCII: char = '\u{80}';
const CONTINUATION: (u8, u8) = (0x80, 0xbf);

/// A pattern that matches the same texts, as long as they are UTF-8.
pub(super) fn simplified(tree: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(simplified).collect();
    match tree.kind() {
        HirKind::Class(Class::Unicode(class)) if has_all_beyond_ascii(class) => any_beyond(class),
        HirKind::Repetition(repeat) => Hir::repetition(Repetition {
            sub: Box::new(simplified(&repeat.sub)),
            ..repeat.clone()
        }),
        HirKind::Capture(capture) => Hir::capture(Capture {
            sub: Box::new(simplified(&capture.sub)),
            ..capture.clone()
        }),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => tree.clone(),
    }
}

fn has_all_beyond_ascii(class: &ClassUnicode) -> bool {
    class
        .ranges()
        .last()
        .is_some_and(|range| range.start() <= FIRST_BEYOND_ASCII && range.end() == char::MAX)
}

fn any_beyond(class: &ClassUnicode) -> Hir {
    let ascii = class.ranges().iter().filter_map(|range| {
        let start = u8::try_from(range.start()).ok().filter(u8::is_ascii)?;
        let end = u8::try_from(range.end()).unwrap_or(0x7f).min(0x7f);
        Some(ClassBytesRange::new(start, end))
    });
    let (first, last) = CONTINUATION;
    let beginnings = ascii.chain([ClassBytesRange::new(last + 1, u8::MAX)]);
    let bytes = |class: ClassBytes| Hir::class(Class::Bytes(class));
    let continuation = Repetition {
        min: 0,
        max: None,
        greedy: true,
        sub: Box::new(bytes(ClassBytes::new([ClassBytesRange::new(first, last)]))),
    };
    Hir::concat(vec![
        bytes(ClassBytes::new(beginnings)),
        Hir::repetition(continuation),
    ])
}
