//! Whatever bytes come from outside, reading them ends without a panic.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers that fail, fail their test"
)]

use jupiter_evidence::export::ExportProof;
use jupiter_evidence::tree::{
    Checkpoint, InclusionProof, Note, NoteSigner, NoteVerifier, Tile, TileId,
};
use jupiter_evidence::verify::{LineFacts, Names, verify};
use proptest::prelude::*;

fn key() -> NoteSigner {
    NoteSigner::new("a", &[1; 32]).unwrap()
}

fn read_everything(text: &str) {
    let known = [key().verifier()];
    let _ = Note::parse(text);
    let _ = Checkpoint::open(text, &known);
    let _ = Checkpoint::unverified(text);
    let _ = text.parse::<NoteVerifier>();
    let _ = text.parse::<NoteSigner>();
    let _ = TileId::parse(text);
    let _ = TileId::parse_index(text);
    if let Ok(proof) = InclusionProof::parse(text) {
        assert_eq!(InclusionProof::parse(&proof.to_string()), Ok(proof));
    }
    let _ = serde_json::from_str::<ExportProof>(text);
}

/// Texts close to what is expected.
fn almost() -> impl Strategy<Value = String> {
    let root = "A".repeat(43) + "=";
    let checkpoint = format!("a\n7\n{root}\n");
    let note = Note::sign(&checkpoint, [&key()]);
    let proof = format!("c2sp.org/tlog-proof@v1\nindex 3\n{root}\n\n{note}");
    let texts = vec![
        note,
        proof,
        key().verifier().to_string(),
        key().to_secret_text(),
        "0/x001/234.p/5".to_owned(),
    ];
    let edit = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        ".{0,3}",
    );
    (
        prop::sample::select(texts),
        prop::collection::vec(edit, 0..3),
    )
        .prop_map(|(text, edits)| {
            let mut chars: Vec<char> = text.chars().collect();
            for (from, to, instead) in edits {
                let (a, b) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
                chars.splice(a.min(b)..a.max(b).min(a.min(b) + 3), instead.chars());
            }
            chars.into_iter().collect()
        })
}

proptest! {
    #[test]
    fn any_text(text in ".{0,200}") {
        read_everything(&text);
    }

    #[test]
    fn almost_right_text(text in almost()) {
        read_everything(&text);
    }

    #[test]
    fn any_bytes_as_a_tile(bytes: Vec<u8>) {
        let id = TileId { level: 0, index: 0 };
        if let Some(tile) = Tile::from_bytes(id, &bytes) {
            assert_eq!(tile.to_bytes(), bytes);
        }
    }

    /// A proof may claim anything; sizes and counts of its own choice least of all
    /// may cost time or memory.
    #[test]
    fn any_proof(
        ranges in prop::collection::vec((any::<u64>(), any::<u64>()), 0..4),
        leaves in 0_usize..4,
        between in 0_usize..4,
        size: u64,
        lines in prop::collection::vec("[a-z]{0,5}", 0..4),
    ) {
        let checkpoint = Checkpoint { origin: "a".to_owned(), size, root: [1; 32] };
        let proof = ExportProof {
            format: jupiter_evidence::export::PROOF_FORMAT.to_owned(),
            checkpoint: checkpoint.sign([&key()]),
            ranges,
            leaves: vec![[2; 32]; leaves],
            between: vec![[3; 32]; between],
            consistency: vec![],
            retentions: vec![],
        };
        let lines: Vec<LineFacts> = lines
            .iter()
            .map(|line| LineFacts::read(line.as_bytes(), &mut Names::default()))
            .collect();
        let known = [key().verifier()];
        let report = verify(&lines, &proof, &known, std::slice::from_ref(&proof.checkpoint));
        prop_assert_eq!(report.checkpoint, None);
    }
}
