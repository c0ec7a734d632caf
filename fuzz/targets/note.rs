//! Any bytes as a signed note, a proof, a submission to a witness and a witness's answer; and
//! true ones with some bytes changed: what opens is what was signed.
#![no_main]

use jupiter_evidence::tree::{
    Checkpoint, Cosigner, InclusionProof, Note, NoteSigner, Submission, cosignatures_in,
};
use std::sync::LazyLock;

struct Signed {
    log: NoteSigner,
    witness: Cosigner,
    checkpoint: Checkpoint,
    note: String,
    cosignature: String,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let log = NoteSigner::new("log.example", &[1; 32]).unwrap();
    let witness = Cosigner::new("witness.example/w1", &[2; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example".to_owned(),
        size: 12,
        root: [7; 32],
    };
    let note = checkpoint.sign([&log]);
    let cosignature = witness.cosign(&Note::parse(&note).unwrap(), 1_700_000_000);
    Signed {
        log,
        witness,
        checkpoint,
        note,
        cosignature,
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let signed = &*SIGNED;
    let text = String::from_utf8_lossy(bytes);
    read(&text);
    // Under a head as it is expected.
    read(&format!("old 3\n{text}\n\n{}", signed.note));
    read(&format!("c2sp.org/tlog-proof@v1\nindex 3\n{text}\n\n{}", signed.note));
    read(&format!("log.example\n12\n{text}"));
    let _ = cosignatures_in(&text, &signed.note, &signed.witness.verifier());

    // The note of both, then places and what is there instead.
    let mut note = format!("{}{}", signed.note, signed.cosignature).into_bytes();
    for edit in bytes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % note.len();
        note[at] = edit[2];
    }
    read(&String::from_utf8_lossy(&note));
});

/// A text as each of them. What is read is written again as it was, and nothing that another
/// key signed opens.
fn read(text: &str) {
    let signed = &*SIGNED;
    if let Ok(submission) = text.parse::<Submission>() {
        assert_eq!(submission.to_string(), text);
    }
    if let Ok(proof) = InclusionProof::parse(text) {
        let again = InclusionProof::parse(&proof.to_string());
        assert_eq!(again.as_ref(), Ok(&proof));
    }
    if let Ok((checkpoint, _)) = Checkpoint::open(text, &[signed.log.verifier()]) {
        assert_eq!(checkpoint, signed.checkpoint);
    }
    if let Ok(note) = Note::parse(text) {
        let vouched = signed.witness.verifier().vouched_at(&note);
        if let Ok(Some(time)) = vouched {
            assert_eq!(time, 1_700_000_000);
        }
    }
}
