//! The shipped filter with one of its functions replaced by a trap.
//!
//! Nothing in the filter traps when asked to, so a test that needs a trap makes one:
//! the body of an exported function becomes `unreachable`, filled up to its length, and
//! every other byte of the module stays (WebAssembly core specification, "Binary Format").

/// Sections of a module, by their ids.
const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

const UNREACHABLE: u8 = 0x00;
const NOP: u8 = 0x01;
const END: u8 = 0x0b;
const NO_LOCALS: u8 = 0x00;

/// Reads a module from front to back.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        let byte = *self.bytes.get(self.at).expect("a byte more");
        self.at += 1;
        byte
    }

    /// A number in LEB128.
    fn number(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn name(&mut self) -> &'a [u8] {
        let length = self.number();
        let name = self.bytes.get(self.at..self.at + length).expect("a name");
        self.at += length;
        name
    }

    /// To the contents of the section with that id.
    fn to_section(bytes: &'a [u8], id: u8) -> Reader<'a> {
        // Past the magic number and the version.
        let mut reader = Reader { bytes, at: 8 };
        loop {
            let (found, length) = (reader.byte(), reader.number());
            if found == id {
                return reader;
            }
            reader.at += length;
        }
    }
}

/// How many functions the module imports: they are numbered before its own.
fn imported_functions(module: &[u8]) -> usize {
    let mut reader = Reader::to_section(module, IMPORTS);
    let mut functions = 0;
    for _ in 0..reader.number() {
        reader.name();
        reader.name();
        assert_eq!(reader.byte(), 0, "the filter imports functions alone");
        reader.number();
        functions += 1;
    }
    functions
}

fn exported_function(module: &[u8], name: &str) -> usize {
    let mut reader = Reader::to_section(module, EXPORTS);
    for _ in 0..reader.number() {
        let found = reader.name();
        let (kind, index) = (reader.byte(), reader.number());
        if found == name.as_bytes() && kind == 0 {
            return index;
        }
    }
    panic!("the filter exports no `{name}`");
}

/// The module with a trap instead of that function.
pub(crate) fn trapping_at(mut module: Vec<u8>, name: &str) -> Vec<u8> {
    let function = exported_function(&module, name) - imported_functions(&module);
    let mut reader = Reader::to_section(&module, CODE);
    reader.number();
    for _ in 0..function {
        let length = reader.number();
        reader.at += length;
    }
    let length = reader.number();
    let start = reader.at;
    let body = module.get_mut(start..start + length).expect("a body");
    body.fill(NOP);
    let ends = [(0, NO_LOCALS), (1, UNREACHABLE), (length - 1, END)];
    for (at, byte) in ends {
        *body.get_mut(at).expect("a body of three bytes and more") = byte;
    }
    module
}
