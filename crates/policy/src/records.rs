//! The bytes of a program, read and checked in one pass.
//!
//! A program is tables of texts, patterns, constants and names, and then records: each a word
//! that says what it is and as many operands as that has, all of them numbers. One table
//! ([`SIGNATURES`]) says which operands fit; one routine holds every record to it. A record
//! refers only to records before it, so that nothing can refer to itself; what evaluating
//! a condition may take at worst follows from its parts. Lists stand within the record
//! they belong to, so that reading takes time and memory in proportion to the bytes.
//!
//! What records mean is said in `views`; `author::encode` writes them.

use crate::load::LoadError;
use crate::program::{COUNTED_ENTRIES, MAX_COST, MAX_DEPTH};
use jupiter_matchers::TextPattern;
use std::sync::Arc;

/// What a bundle holds, checked.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// INVARIANT: sorted and without duplicates, so an index stands for a text.
    pub strings: Vec<String>,
    pub patterns: Vec<Arc<TextPattern>>,
    pub constants: Vec<f64>,
    /// Of fields and lists.
    pub names: Vec<String>,
    /// INVARIANT: a record refers only to records before it, of the kinds that fit.
    pub records: Vec<Record>,
    /// Lists, each behind its length.
    words: Vec<u32>,
    /// Records, in the order of their evaluation.
    pub policies: Vec<u32>,
    /// Flags, see `stages`.
    pub needs: u32,
    /// See `stages::ExactFrom`.
    pub exact_from: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub op: Op,
    /// The last ones are 0 where there are fewer. A list is the place where it begins.
    pub operands: [u32; 4],
}

impl Program {
    /// The list that begins at a place.
    #[inline(always)]
    pub fn list(&self, at: u32) -> &[u32] {
        let rest = self.words.get(at as usize..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first() else {
            return &[];
        };
        rest.get(..*length as usize).unwrap_or_default()
    }
}

// What a record is: one of these.
/// A field with one text at most, so that it can stand as a value.
const ONE: u16 = 1;
/// The same, of the entry a quantifier looks at.
const ENTRY: u16 = 1 << 1;
/// A field with any number of texts.
const MANY: u16 = 1 << 2;
const NUMBER: u16 = 1 << 3;
const BOOL: u16 = 1 << 4;
const MESSAGES: u16 = 1 << 5;
const PIECE: u16 = 1 << 6;
const TEMPLATE: u16 = 1 << 7;
/// A number computed from others.
const COMPUTED: u16 = 1 << 8;
/// A condition.
const NODE: u16 = 1 << 9;
const TAG: u16 = 1 << 10;
const ACTION: u16 = 1 << 11;
const RULE: u16 = 1 << 12;
pub(crate) const POLICY: u16 = 1 << 13;

const SINGLE: u16 = ONE | ENTRY;
const TEXT: u16 = SINGLE | MANY;
/// All fields but those of an entry, which an action has none of.
const LASTING: u16 = ONE | MANY | NUMBER | BOOL | MESSAGES;
pub(crate) const FIELD: u16 = LASTING | ENTRY;

// What is told on to the records that refer to one.
/// Reads what people or models wrote, which messages must not show.
const PROMPT: u8 = 1;
/// Reads the entry of a quantifier over messages, or over names.
const OF_MESSAGE: u8 = 1 << 1;
const OF_NAME: u8 = 1 << 2;
/// Takes more than a constant time for each entry of a quantifier around it.
const LONG: u8 = 1 << 3;

/// What fits in one place of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand {
    Any,
    Below(u8),
    /// Index of a text, of a pattern, of a constant.
    Text,
    Pattern,
    Constant,
    /// Index of a name, by which a decision says what it looked at.
    Name,
    /// A record before this one, of one of these kinds and without these marks.
    Of(u16, u8),
    /// A text or a record plus one; 0 where there is none.
    Maybe(&'static Operand),
    List(&'static Operand),
    /// A list in order and without duplicates.
    Set(&'static Operand),
}
use Operand::{Any, Below, Constant, List, Maybe, Name, Of, Pattern, Set, Text};

pub(crate) struct Signature {
    pub op: Op,
    pub kind: u16,
    marks: u8,
    pub operands: &'static [Operand],
}

macro_rules! records {
    ($($op:ident $kind:ident $marks:tt ($($operand:expr),*);)*) => {
        /// What a record is; its number in a bundle is its place here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Op { $($op),* }

        pub(crate) static SIGNATURES: &[Signature] = &[$(
            Signature { op: Op::$op, kind: $kind, marks: $marks, operands: &[$($operand),*] }
        ),*];
    };
}

/// A message reaches logs, labels and other services.
const SHOWN: Operand = Of(TEMPLATE, PROMPT);
const CHILD: Operand = Of(NODE, 0);
const ORDER: Operand = Below(6);
const CASE: Operand = Below(4);
/// A [`CASE`], and as its third bit the negation.
const CASED: Operand = Below(8);
/// Which test, see `TextTest`: the third is `Contains`.
const TEST: Operand = Below(5);
const CONTAINS: u32 = 2;
const FLAG: Operand = Below(2);
/// Of these lists the first is that of the messages.
const LISTED: Operand = Below(3);

records! {
    // Fields, each with the name that authors use first.
    SingleText ONE 0 (Name, Below(15));
    MessageRole ONE 0 (Name, Any);
    MessageContent ONE PROMPT (Name, Any);
    EntryRole ENTRY (PROMPT | OF_MESSAGE) (Name);
    EntryContent ENTRY (PROMPT | OF_MESSAGE) (Name);
    EntryName ENTRY (PROMPT | OF_NAME) (Name);
    EveryRole MANY 0 (Name);
    EveryContent MANY PROMPT (Name);
    EveryText MANY PROMPT (Name);
    Tools MANY 0 (Name);
    Stop MANY PROMPT (Name);
    RoleContent MANY PROMPT (Name, Below(6));
    // Of all messages; of one. No kind, each kind, all but each kind.
    Parts MANY 0 (Name, Below(13));
    PartsOf MANY 0 (Name, Below(13), Any);
    PiiTypes MANY 0 (Name);
    SensitiveCategories MANY 0 (Name);
    UserRoles MANY 0 (Name);
    ResponseContent ONE PROMPT (Name);
    ResponseText MANY PROMPT (Name);
    AttachmentTypes MANY 0 (Name);
    NumberField NUMBER 0 (Name, Below(37));
    LengthField NUMBER LONG (Name, Of(ONE | MANY, 0));
    BoolField BOOL 0 (Name, Below(4));
    FoundField BOOL LONG (Name, Below(3), Of(ONE | MANY, 0));
    Messages MESSAGES 0 (Name);
    // Templates.
    PieceText PIECE 0 (Text);
    PieceField PIECE 0 (Of(FIELD, 0));
    PieceCased PIECE 0 (Of(TEXT, 0), CASE);
    Template TEMPLATE 0 (List(&Of(PIECE, 0)));
    // Computed numbers.
    ConstantNumber COMPUTED 0 (Constant);
    FieldNumber COMPUTED 0 (Of(NUMBER, 0));
    CountNumber COMPUTED 0 (Name, LISTED);
    LengthNumber COMPUTED LONG (Of(ONE, 0));
    EntryLengthNumber COMPUTED 0 (Of(ENTRY, 0));
    Sum COMPUTED 0 (Of(COMPUTED, 0), Of(COMPUTED, 0));
    Difference COMPUTED 0 (Of(COMPUTED, 0), Of(COMPUTED, 0));
    Product COMPUTED 0 (Of(COMPUTED, 0), Of(COMPUTED, 0));
    // Conditions.
    Never NODE 0 ();
    Always NODE 0 ();
    Not NODE 0 (CHILD);
    All NODE 0 (List(&CHILD));
    Some NODE 0 (List(&CHILD));
    If NODE 0 (CHILD, CHILD, CHILD);
    Quantified NODE LONG (Name, LISTED, FLAG, CHILD);
    Compare NODE 0 (Of(COMPUTED, 0), ORDER, Of(COMPUTED, 0));
    Present NODE 0 (Of(FIELD, 0));
    TextConstant NODE 0 (Of(TEXT, 0), CASED, TEST, Text);
    TextField NODE 0 (Of(TEXT, 0), CASED, TEST, Of(SINGLE, 0));
    TextTemplate NODE LONG (Of(TEXT, 0), CASED, TEST, Of(TEMPLATE, 0));
    TextIn NODE 0 (Of(TEXT, 0), CASED, Set(&Text));
    TextMatches NODE 0 (Of(TEXT, 0), CASED, Pattern);
    NumberConstant NODE 0 (Of(NUMBER, 0), ORDER, Constant);
    NumberNumber NODE 0 (Of(NUMBER, 0), ORDER, Of(NUMBER, 0));
    NumberIn NODE 0 (Of(NUMBER, 0), FLAG, List(&Constant));
    BoolConstant NODE 0 (Of(BOOL, 0), FLAG, FLAG);
    BoolBool NODE 0 (Of(BOOL, 0), FLAG, Of(BOOL, 0));
    // Actions.
    Allow ACTION 0 ();
    Deny ACTION 0 (SHOWN, Text);
    Log ACTION 0 (SHOWN, Below(4));
    Redact ACTION 0 (List(&Of(LASTING, 0)), Below(4), Maybe(&Text));
    ModifyNull ACTION 0 (Of(LASTING, 0));
    ModifyBool ACTION 0 (Of(LASTING, 0), FLAG);
    ModifyNumber ACTION 0 (Of(LASTING, 0), Constant);
    // What a request is changed to may hold its own text.
    ModifyText ACTION 0 (Of(LASTING, 0), Of(TEMPLATE, 0));
    ModifyTexts ACTION 0 (Of(LASTING, 0), List(&Text));
    Route ACTION 0 (Maybe(&SHOWN), Maybe(&SHOWN), Maybe(&SHOWN));
    Alert ACTION 0 (SHOWN, Below(4), Maybe(&Text));
    // The numbers are limit and window, each as two words, the lower first.
    RateLimit ACTION 0 (SHOWN, FLAG, List(&Any));
    Budget ACTION 0 (SHOWN, FLAG, List(&Any), FLAG);
    Tag TAG 0 (Text, SHOWN);
    Tags ACTION 0 (List(&Of(TAG, 0)));
    // Name, flags (see `views`), condition and actions.
    Rule RULE 0 (Text, Below(32), Of(NODE, OF_MESSAGE | OF_NAME), List(&Of(ACTION, 0)));
    // Name, version, what is stored first (see `views`), and rules.
    Policy POLICY 0 (Text, Text, Below(9), List(&Of(RULE, 0)));
}

/// What the records so far are.
#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: u16,
    marks: u8,
    depth: u32,
    cost: u32,
}

const NOTHING: Shape = Shape {
    kind: 0,
    marks: 0,
    depth: 0,
    cost: 0,
};

struct Reader<'b> {
    rest: &'b [u8],
    program: Program,
    shapes: Vec<Shape>,
    /// All that the record being read refers to, together.
    parts: Shape,
    /// Of all rules.
    cost: u32,
}

/// The program that these bytes are, all of them.
pub(crate) fn program(bytes: &[u8]) -> Result<Program, LoadError> {
    let mut reader = Reader {
        rest: bytes,
        program: Program::default(),
        shapes: Vec::new(),
        parts: NOTHING,
        cost: 0,
    };
    reader.program.needs = reader.operand(Below(3 << 5))?;
    reader.program.exact_from = reader.number()?;
    for _ in 0..reader.length()? {
        let text = reader.text()?;
        let strings = &mut reader.program.strings;
        if strings.last().is_some_and(|last| last.as_str() >= text) {
            return Err(LoadError::Inconsistent("strings are out of order"));
        }
        strings.push(text.to_owned());
    }
    for _ in 0..reader.length()? {
        let bytes = reader.bytes().ok_or(LoadError::Malformed)?;
        let pattern = TextPattern::load(bytes).map_err(LoadError::Pattern)?;
        reader.program.patterns.push(Arc::new(pattern));
    }
    for _ in 0..reader.length()? {
        let bytes = reader.rest.split_first_chunk();
        let (bytes, rest) = bytes.ok_or(LoadError::Malformed)?;
        reader.rest = rest;
        reader.program.constants.push(f64::from_le_bytes(*bytes));
    }
    for _ in 0..reader.length()? {
        let name = reader.text()?.to_owned();
        reader.program.names.push(name);
    }
    for _ in 0..reader.length()? {
        reader.record()?;
    }
    for _ in 0..reader.length()? {
        let policy = reader.operand(Of(POLICY, 0))?;
        reader.program.policies.push(policy);
    }
    if reader.cost > MAX_COST {
        return Err(LoadError::TooCostly);
    }
    match reader.rest {
        [] => Ok(reader.program),
        _ => Err(LoadError::Malformed),
    }
}

impl<'b> Reader<'b> {
    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    #[inline(never)]
    fn number(&mut self) -> Result<u32, LoadError> {
        let mut number = 0;
        for nth in 0..5 {
            let (byte, rest) = self.rest.split_first().ok_or(LoadError::Malformed)?;
            self.rest = rest;
            if nth == 4 && *byte > 0x0f {
                break;
            }
            number |= u32::from(byte & 0x7f) << (7 * nth);
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(LoadError::Malformed)
    }

    /// How many follow, each of which takes a byte at least.
    fn length(&mut self) -> Result<u32, LoadError> {
        let length = self.number()?;
        match length as usize <= self.rest.len() {
            true => Ok(length),
            false => Err(LoadError::Malformed),
        }
    }

    fn text(&mut self) -> Result<&'b str, LoadError> {
        let text = self.bytes().and_then(|text| str::from_utf8(text).ok());
        text.ok_or(LoadError::Malformed)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.number().ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(bytes)
    }

    #[inline(never)]
    fn record(&mut self) -> Result<(), LoadError> {
        let signature = SIGNATURES.get(self.number()? as usize);
        let signature = signature.ok_or(LoadError::Malformed)?;
        let mut record = Record {
            op: signature.op,
            operands: [0; 4],
        };
        self.parts = NOTHING;
        for (slot, operand) in record.operands.iter_mut().zip(signature.operands) {
            *slot = match operand {
                List(each) => self.list(**each, false)?,
                Set(each) => self.list(**each, true)?,
                single => self.operand(*single)?,
            };
        }
        let shape = self.shape(signature, &record)?;
        self.shapes.push(shape);
        self.program.records.push(record);
        Ok(())
    }

    #[inline(never)]
    fn list(&mut self, each: Operand, ordered: bool) -> Result<u32, LoadError> {
        // A bundle has fewer bytes than this could count.
        let at = self.program.words.len() as u32;
        let length = self.length()?;
        self.program.words.push(length);
        let mut last = None;
        for _ in 0..length {
            let word = self.operand(each)?;
            if ordered && last >= Some(word) {
                return Err(LoadError::Inconsistent("a set is out of order"));
            }
            last = Some(word);
            self.program.words.push(word);
        }
        Ok(at)
    }

    #[inline(never)]
    fn operand(&mut self, operand: Operand) -> Result<u32, LoadError> {
        let word = self.number()?;
        let (operand, number) = match operand {
            Maybe(_) if word == 0 => return Ok(word),
            Maybe(operand) => (*operand, word - 1),
            operand => (operand, word),
        };
        let number = number as usize;
        let fits = match operand {
            Below(limit) => number < usize::from(limit),
            Text => number < self.program.strings.len(),
            Pattern => number < self.program.patterns.len(),
            Constant => number < self.program.constants.len(),
            Name => number < self.program.names.len(),
            Of(kinds, forbidden) => match self.shapes.get(number) {
                Some(shape) => {
                    let parts = &mut self.parts;
                    parts.marks |= shape.marks;
                    parts.depth = parts.depth.max(shape.depth);
                    parts.cost = parts.cost.saturating_add(shape.cost);
                    shape.kind & kinds != 0 && shape.marks & forbidden == 0
                }
                None => false,
            },
            Any | Maybe(_) | List(_) | Set(_) => true,
        };
        match fits {
            true => Ok(word),
            false => Err(LoadError::Inconsistent(
                "a record has a part that does not fit",
            )),
        }
    }

    /// What evaluating the record may take at worst, shared parts counted as often as they
    /// are reached, and what it reads. A quantifier's body is looked at once per entry of
    /// its list: it may read long texts only of that entry, and hold no quantifier, so that
    /// an evaluation stays linear in the exchange.
    fn shape(&mut self, signature: &Signature, record: &Record) -> Result<Shape, LoadError> {
        let Shape {
            mut marks,
            depth,
            cost,
            ..
        } = self.parts;
        marks |= signature.marks;
        let mut shape = Shape {
            kind: signature.kind,
            marks,
            depth,
            cost,
        };
        match signature.kind {
            // How long a text is can be shown.
            NUMBER | BOOL => shape.marks &= !PROMPT,
            NODE | COMPUTED => {
                shape.depth += 1;
                shape.cost = cost.saturating_add(1);
            }
            RULE => self.cost = self.cost.saturating_add(cost),
            _ => {}
        }
        let [first, second, third, _] = record.operands;
        match record.op {
            Op::Quantified => {
                let foreign = if second == 0 { OF_NAME } else { OF_MESSAGE };
                if self.parts.marks & foreign != 0 {
                    return Err(LoadError::Inconsistent("a quantifier has no such entry"));
                }
                if self.parts.marks & LONG != 0 {
                    return Err(LoadError::TooCostly);
                }
                shape.marks &= !(OF_MESSAGE | OF_NAME);
                shape.cost = shape.cost.saturating_mul(COUNTED_ENTRIES);
            }
            Op::TextConstant | Op::TextField | Op::TextIn | Op::TextMatches => {
                let field = self.shapes.get(first as usize).map_or(0, |it| it.kind);
                let searched = match record.op {
                    Op::TextIn => false,
                    Op::TextMatches => true,
                    _ => third == CONTAINS,
                };
                let as_is = second & 3 == 0;
                if field != ENTRY && (field != ONE || searched || !as_is) {
                    shape.marks |= LONG;
                }
            }
            _ => {}
        }
        match shape.depth > MAX_DEPTH || shape.cost > MAX_COST {
            true => Err(LoadError::TooCostly),
            false => Ok(shape),
        }
    }
}
