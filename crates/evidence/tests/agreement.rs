//! Other implementations agree with ours: `ct-merkle` on trees and proofs,
//! `tlog_tiles` on tiles, proofs and checkpoints, `signed_note` on keys and
//! signatures. None of them shares code with this crate.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers that fail, fail their test"
)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{
    Checkpoint, Cosigner, CosignerKey, Edge, Hash, InclusionProof, Note, NoteSigner, NoteVerifier,
    Tile, TileId, Tiles, consistency_path, gaps_between, inclusion_path, proves_consistency,
    proves_inclusion, root_of_cover,
};
use proptest::prelude::*;
use sha2::Sha256;
use signed_note::Verifier;
use std::collections::BTreeMap;
use tlog_tiles::{HashReader, TileHashReader, TileReader};

fn record(n: u64) -> String {
    format!("record {n}")
}

fn leaf(n: u64) -> Hash {
    LeafHash::of(record(n).as_bytes()).0
}

/// Tiles and root of a tree, as this crate makes them.
fn tree(size: u64) -> (Tiles, BTreeMap<TileId, Tile>, Hash) {
    let mut edge = Edge::default();
    (0..size).for_each(|n| edge.push(leaf(n)));
    let root = edge.root();
    let changed = edge.take_changed();
    let by_id = changed.iter().map(|tile| (tile.id, tile.clone())).collect();
    (changed.into_iter().collect(), by_id, root)
}

fn theirs(size: u64) -> MemoryBackedTree<Sha256, String> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|n| tree.push(record(n)));
    tree
}

/// Small sizes, and those around the borders of tiles.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..40, 250_u64..260, 510_u64..516, 1_000_u64..3_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn ct_merkle_has_the_same_roots_and_proofs(size in sizes(), at in 0_u64..3_000, from in 1_u64..3_000) {
        let (tiles, _, root) = tree(size);
        let other = theirs(size);
        let other_root = other.root();
        prop_assert_eq!(other_root.as_bytes().as_slice(), root);

        let index = at % size;
        let proof = tiles.subtrees(&inclusion_path(index, size)).unwrap();
        let other_proof = other.prove_inclusion(index as usize);
        prop_assert_eq!(other_proof.as_bytes(), proof.concat());
        prop_assert!(proves_inclusion(&leaf(index), index, size, &proof, &root));

        let old = 1 + from % size;
        let old_root = tiles.subtree(0..old).unwrap();
        let other_old = theirs(old).root();
        prop_assert_eq!(other_old.as_bytes().as_slice(), old_root);
        let proof = tiles.subtrees(&consistency_path(old, size)).unwrap();
        let other_proof = other.prove_consistency((size - old) as usize);
        prop_assert_eq!(other_proof.as_bytes(), proof.concat());
        prop_assert!(proves_consistency((old, &old_root), (size, &root), &proof));
    }

    /// Whatever is changed about a true proof, it proves nothing any more.
    #[test]
    fn spoiled_proofs_prove_nothing(size in 2_u64..700, at in 0_u64..700, which in 0_usize..20, bit in 0_usize..256) {
        let flip = |hash: &mut Hash| hash[bit / 8] ^= 1 << (bit % 8);
        let (tiles, _, root) = tree(size);
        let index = at % size;
        let proof = tiles.subtrees(&inclusion_path(index, size)).unwrap();
        let shown = leaf(index);
        let holds = |index, size, proof: &[Hash], root: &Hash| {
            proves_inclusion(&shown, index, size, proof, root)
        };
        let mut other_root = root;
        flip(&mut other_root);
        prop_assert!(!holds(index, size, &proof, &other_root));
        let mut spoiled = proof.clone();
        let place = which % proof.len();
        flip(&mut spoiled[place]);
        prop_assert!(!holds(index, size, &spoiled, &root));
        prop_assert!(!holds(index, size, &proof[1..], &root));
        prop_assert!(!holds(index ^ 1, size, &proof, &root));
        prop_assert!(!holds(index, index, &proof, &root));
        spoiled = proof.clone();
        spoiled.push(root);
        prop_assert!(!holds(index, size, &spoiled, &root));

        let old = 1 + index;
        let old_root = tiles.subtree(0..old).unwrap();
        let proof = tiles.subtrees(&consistency_path(old, size)).unwrap();
        prop_assert!(!proves_consistency((old, &other_root), (size, &root), &proof));
        prop_assert!(!proves_consistency((old, &old_root), (size, &other_root), &proof));
        prop_assert!(!proves_consistency((size + 1, &old_root), (size, &root), &proof));
        if !proof.is_empty() {
            let place = which % proof.len();
            let mut spoiled = proof.clone();
            flip(&mut spoiled[place]);
            prop_assert!(!proves_consistency((old, &old_root), (size, &root), &spoiled));
            prop_assert!(!proves_consistency((old, &old_root), (size, &root), &proof[1..]));
        }
    }

    /// Any choice of leaves, with the hashes between them, gives the root.
    #[test]
    fn cover_of_any_leaves_gives_the_root(size in sizes(), mut marks in prop::collection::vec(0_u64..3_000, 0..8)) {
        let (tiles, _, root) = tree(size);
        marks.iter_mut().for_each(|mark| *mark %= size + 1);
        marks.sort_unstable();
        marks.dedup();
        let shown: Vec<_> = marks.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
        let gaps = tiles.subtrees(&gaps_between(&shown, size)).unwrap();
        let leaves: Vec<Hash> = shown.iter().cloned().flatten().map(leaf).collect();
        prop_assert_eq!(root_of_cover(size, &shown, leaves.clone(), gaps.clone()), Some(root));
        if let Some(first) = leaves.first() {
            let mut changed = leaves.clone();
            changed[0] = LeafHash::of(first).0;
            prop_assert_ne!(root_of_cover(size, &shown, changed, gaps), Some(root));
        }
    }
}

/// Our tiles as `tlog_tiles` asks for them.
struct Served<'a>(&'a BTreeMap<TileId, Tile>);

impl TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let path = tile.path();
            // Their paths name the height, ours is the specification's only one.
            let path = path.strip_prefix("tile/8/").or(path.strip_prefix("tile/"));
            let (id, width) = TileId::parse(path.unwrap()).unwrap();
            assert_eq!(width, u64::from(tile.width()));
            self.0[&id].to_bytes()[..width as usize * 32].to_vec()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn tlog_tiles_reads_our_tiles_and_verifies_our_proofs() {
    for size in [1, 2, 255, 256, 257, 65_535, 65_536, 70_000] {
        let (tiles, served, root) = tree(size);
        let reader = Served(&served);
        // It proves every tile it reads against the root.
        let hashes = TileHashReader::new(size, tlog_tiles::Hash(root), &reader);
        for index in [0, size / 3, size - 1] {
            let stored = tlog_tiles::stored_hash_index(0, index);
            assert_eq!(hashes.read_hashes(&[stored]).unwrap()[0].0, leaf(index));
            let ours = tiles.subtrees(&inclusion_path(index, size)).unwrap();
            let theirs = tlog_tiles::prove_record(size, index, &hashes).unwrap();
            let ours: Vec<_> = ours.into_iter().map(tlog_tiles::Hash).collect();
            assert_eq!(ours, theirs);
            let hash = tlog_tiles::record_hash(record(index).as_bytes());
            tlog_tiles::check_record(&ours, size, tlog_tiles::Hash(root), index, hash).unwrap();

            let old = index + 1;
            let old_root = tlog_tiles::Hash(tiles.subtree(0..old).unwrap());
            let ours = tiles.subtrees(&consistency_path(old, size)).unwrap();
            let ours: Vec<_> = ours.into_iter().map(tlog_tiles::Hash).collect();
            tlog_tiles::check_tree(&ours, size, tlog_tiles::Hash(root), old, old_root).unwrap();
        }
    }
}

#[test]
fn signed_note_and_tlog_tiles_believe_our_checkpoints() {
    let signer = NoteSigner::new("mercator/local", &[9; 32]).unwrap();
    let next = NoteSigner::new("mercator/local", &[8; 32]).unwrap();
    let (_, _, root) = tree(300);
    let checkpoint = Checkpoint {
        origin: "mercator/local".to_owned(),
        size: 300,
        root,
    };
    // As during a rotation: two keys of one name.
    let note = checkpoint.sign([&signer, &next]);
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    for key in [&signer, &next] {
        let key = signed_note::StandardVerifier::new(&key.verifier().to_string()).unwrap();
        let known = signed_note::VerifierList::new(vec![Box::new(key)]);
        let (verified, _) = theirs.verify(&known).unwrap();
        assert_eq!(verified.len(), 1);
    }
    let read = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((read.origin(), read.size()), ("mercator/local", 300));
    assert_eq!(read.hash().0, root);
}

#[test]
fn signed_note_signs_with_our_keys_and_we_believe_it() {
    let signer = NoteSigner::new("mercator/local", &[9; 32]).unwrap();
    let theirs = signed_note::StandardSigner::new(&signer.to_secret_text()).unwrap();
    let mut note = signed_note::Note::new(b"a text\n", &[]).unwrap();
    note.add_sigs(&[&theirs]).unwrap();
    let note = Note::parse(std::str::from_utf8(&note.to_bytes()).unwrap()).unwrap();
    let known = [signer.verifier()];
    assert_eq!(note.open(&known).unwrap().0, "a text\n");
    let key = signed_note::StandardVerifier::new(&known[0].to_string()).unwrap();
    assert_eq!(key.key_id(), known[0].id());
    // The example of the specification's own implementation (Go, `sumdb/note`).
    let go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let go: NoteVerifier = go.parse().unwrap();
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\
                \n\
                \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    Note::parse(text).unwrap().open(&[go]).unwrap();
}

/// Knows a name and an id, and believes what is signed under them.
struct Named {
    name: &'static str,
    id: u32,
}

impl Verifier for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        // A time and a signature, as `tlog-cosignature` has it.
        text.starts_with(b"mercator/local\n") && signature.len() == 8 + 64
    }
}

#[test]
fn cosignatures_have_the_names_and_ids_that_others_look_for() {
    // The key of a public witness, as the tests of `transparency-dev/formats` have it.
    let public = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    let key: CosignerKey = public.parse().unwrap();
    assert_eq!(
        (key.name(), key.to_string().as_str()),
        ("remora.n621.de", public)
    );

    let signer = NoteSigner::new("mercator/local", &[9; 32]).unwrap();
    let cosigner = Cosigner::new("witness.example/w1", &[8; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "mercator/local".to_owned(),
        size: 300,
        root: tree(300).2,
    };
    let note = checkpoint.sign([&signer]);
    let line = cosigner.cosign(&Note::parse(&note).unwrap(), 1_679_315_147);
    let cosigned = format!("{note}{line}");
    let id = cosigner.verifier().to_string();
    let id = u32::from_str_radix(id.split('+').nth(1).unwrap(), 16).unwrap();
    let named = Named {
        name: "witness.example/w1",
        id,
    };
    let log = signed_note::StandardVerifier::new(&signer.verifier().to_string()).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(log), Box::new(named)]);
    let theirs = signed_note::Note::from_bytes(cosigned.as_bytes()).unwrap();
    let (verified, unverified) = theirs.verify(&known).unwrap();
    assert_eq!((verified.len(), unverified.len()), (2, 0));
    // Whoever knows the log alone believes it as before.
    let keys = [signer.verifier()];
    assert_eq!(Checkpoint::open(&cosigned, &keys).unwrap().0, checkpoint);
}

#[test]
fn tlog_tiles_verifies_what_our_proof_files_say() {
    let signer = NoteSigner::new("mercator/local", &[9; 32]).unwrap();
    let (tiles, _, root) = tree(1_000);
    let checkpoint = Checkpoint {
        origin: "mercator/local".to_owned(),
        size: 1_000,
        root,
    };
    let file = InclusionProof {
        index: 777,
        hashes: tiles.subtrees(&inclusion_path(777, 1_000)).unwrap(),
        checkpoint: checkpoint.sign([&signer]),
    }
    .to_string();
    // Read by hand, as the specification describes it.
    let (head, note) = file.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    assert_eq!(lines.next(), Some("index 777"));
    let hashes = lines.map(|line| tlog_tiles::Hash::parse_hash(line).unwrap());
    let hashes: Vec<_> = hashes.collect();
    let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let read = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    let hash = tlog_tiles::record_hash(record(777).as_bytes());
    tlog_tiles::check_record(&hashes, read.size(), *read.hash(), 777, hash).unwrap();
}
