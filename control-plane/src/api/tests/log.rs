//! The log over HTTP: checkpoint, tiles, records, proofs, gaps.

use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Checkpoint, InclusionProof, NoteVerifier, Tile, TileId, Tiles};
use serde_json::json;

use crate::seal::{LogKeys, Sealer};
use crate::store::contract::samples::{SampleEmitter, at, batch, intent};
use crate::store::{EnvoyEnd, NewEvidence, UnrecordedExchange};
use crate::testing::TestApp;

const ORIGIN: &str = "mercator/local";

struct Sealed {
    test: TestApp,
    sealer: Sealer,
    emitter: SampleEmitter,
    records: Vec<NewEvidence>,
}

impl Sealed {
    async fn start(records: usize) -> Sealed {
        let test = TestApp::start().await;
        let folder = test.folder.path();
        let keys = LogKeys::load(folder, ORIGIN, None).unwrap();
        let sealer = Sealer::new(test.app.clone(), folder, ORIGIN, keys).unwrap();
        let mut sealed = Sealed {
            test,
            sealer,
            emitter: SampleEmitter::new(1),
            records: Vec::new(),
        };
        sealed.append(records).await;
        sealed.sealer.seal().await.unwrap();
        sealed
    }

    async fn append(&mut self, count: usize) {
        let records = self.emitter.take(count);
        self.records.extend(records.clone());
        let appended = self.test.app.store.append_evidence(batch(records)).await;
        appended.unwrap();
    }

    fn keys(&self) -> [NoteVerifier; 1] {
        let public = std::fs::read_to_string(self.test.folder.path().join("evidence.pub"));
        [public.unwrap().trim().parse().unwrap()]
    }

    async fn checkpoint(&self) -> Checkpoint {
        let reply = self.test.get("/v1/log/checkpoint").await;
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("cache-control"), "no-cache");
        Checkpoint::open(&reply.text(), &self.keys()).unwrap().0
    }
}

#[tokio::test]
async fn tiles_lead_to_the_root_of_the_checkpoint() {
    let sealed = Sealed::start(300).await;
    let checkpoint = sealed.checkpoint().await;
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), (ORIGIN, 300));
    let mut tiles = Vec::new();
    for path in ["0/000", "0/001.p/44", "1/000.p/1"] {
        let reply = sealed.test.get(&format!("/v1/log/tile/{path}")).await;
        assert_eq!(reply.header("content-type"), "application/octet-stream");
        let cache = "public, max-age=31536000, immutable";
        assert_eq!(reply.header("cache-control"), cache);
        let (id, width) = TileId::parse(path).unwrap();
        let tile = Tile::from_bytes(id, &reply.body).unwrap();
        assert_eq!(tile.hashes.len() as u64, width);
        tiles.push(tile);
    }
    let tiles: Tiles = tiles.into_iter().collect();
    assert_eq!(tiles.subtree(0..300), Some(checkpoint.root));
}

#[tokio::test]
async fn bundles_hold_the_records_of_their_tile() {
    let sealed = Sealed::start(300).await;
    for (path, records) in [
        ("000", &sealed.records[..256]),
        ("001.p/44", &sealed.records[256..]),
        ("001.p/7", &sealed.records[256..263]),
    ] {
        let reply = sealed
            .test
            .get(&format!("/v1/log/tile/entries/{path}"))
            .await;
        let cache = "private, max-age=31536000, immutable";
        assert_eq!(reply.header("cache-control"), cache);
        let expected = records.iter().flat_map(|record| {
            let bytes = record.envelope.canonical.as_bytes();
            let length = (bytes.len() as u16).to_be_bytes();
            [length.as_slice(), bytes].concat()
        });
        assert_eq!(reply.body, expected.collect::<Vec<u8>>(), "{path}");
    }
}

#[tokio::test]
async fn nothing_is_told_that_no_checkpoint_covers() {
    let mut sealed = Sealed::start(3).await;
    sealed.append(3).await;
    for (path, status) in [
        ("0/000.p/3", 200),
        ("0/000.p/2", 200),
        ("0/000.p/4", 404),
        ("0/000", 404),
        ("1/000.p/1", 404),
        ("0/001.p/1", 404),
        ("63/000.p/1", 404),
        ("0/x999/x999/x999/x999/x999/999", 404),
        ("entries/000.p/3", 200),
        ("entries/000.p/4", 404),
        ("entries/nonsense", 404),
        ("nonsense", 404),
    ] {
        let reply = sealed.test.get(&format!("/v1/log/tile/{path}")).await;
        assert_eq!(reply.status, status, "{path}");
        if status == 404 {
            assert_eq!(reply.problem(), (404, "unknown_tile".to_owned()));
        }
    }
    let waiting = sealed.records[4].envelope.record.id;
    let reply = sealed
        .test
        .get(&format!("/v1/evidence/{waiting}/proof"))
        .await;
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.problem(), (503, "not_sealed".to_owned()));
}

#[tokio::test]
async fn proof_of_a_record_is_verified_with_the_public_key_alone() {
    let mut sealed = Sealed::start(5).await;
    sealed.append(600).await;
    sealed.sealer.seal().await.unwrap();
    for index in [0, 4, 300, 604] {
        let record = &sealed.records[index].envelope;
        let uri = format!("/v1/evidence/{}", record.record.id);
        let reply = sealed.test.get(&uri).await;
        assert_eq!(reply.header("x-mercator-leaf-index"), index.to_string());
        let proof = sealed.test.get(&format!("{uri}/proof")).await;
        assert_eq!(proof.header("content-type"), "text/plain; charset=utf-8");
        let proof = InclusionProof::parse(&proof.text()).unwrap();
        assert_eq!(proof.index, index as u64);
        let verified = proof.verify(LeafHash::of(&reply.body), &sealed.keys());
        assert_eq!(verified.unwrap().size, 605);
    }
    let unknown = "/v1/evidence/00000000-0000-7000-8000-000000000000/proof";
    let reply = sealed.test.get(unknown).await;
    assert_eq!(reply.problem(), (404, "unknown_evidence".to_owned()));
}

#[tokio::test]
async fn lists_say_where_in_the_log_a_record_is() {
    let mut sealed = Sealed::start(2).await;
    sealed.append(1).await;
    let list = sealed.test.get("/v1/evidence").await.json();
    assert_eq!(list["leaf_indexes"], json!([null, 1, 0]));
}

#[tokio::test]
async fn gaps_are_listed_with_their_cause() {
    let test = TestApp::start().await;
    let records = SampleEmitter::new(1).take(4);
    let waiting = intent(&SampleEmitter::new(2).next(|_| ()));
    let some = vec![records[0].clone(), records[3].clone(), waiting.clone()];
    test.app.store.append_evidence(batch(some)).await.unwrap();
    let end = EnvoyEnd {
        instance: "jupiter-1".to_owned(),
        since: at(0),
        until: at(1_000_000),
        how: "signal: 9 (SIGKILL)".to_owned(),
    };
    test.app.store.note_envoy_ends(&[end]).await.unwrap();
    let exchange = UnrecordedExchange {
        line: "1".to_owned(),
        found_at: at(0),
        instance: "jupiter-1".to_owned(),
        request_id: None,
        status_code: 503,
        details: "wasm_fail_stream".to_owned(),
    };
    test.app.store.note_unrecorded(&[exchange]).await.unwrap();
    let gaps = test.get("/v1/evidence/gaps").await.json();
    assert_eq!(
        gaps,
        json!({
            "missing_records": 2,
            "missing": [{
                "cause": "not_delivered", "emitter": "jupiter-1", "epoch": "01".repeat(16),
                "first_seq": 1, "last_seq": 2,
                "last_received_at": "2026-11-22T17:10:05.000000Z",
            }],
            "unrecorded_exchanges": 1,
            "unrecorded": [{
                "cause": "not_recorded", "found_at": "2026-11-22T17:09:05.000000Z",
                "instance": "jupiter-1", "request_id": null, "status_code": 503,
                "details": "wasm_fail_stream",
            }],
            "recovered_records": 0,
            "recovered": [],
            "unfinished_records": 1,
            "unfinished": [{
                "cause": "outcome_unknown", "id": waiting.envelope.record.id,
                "received_at": "2026-11-22T17:10:05.000000Z",
            }],
            "envoy_ends_total": 1,
            "envoy_ends": [{
                "cause": "envoy_ended", "instance": "jupiter-1", "how": "signal: 9 (SIGKILL)",
                "since": "2026-11-22T17:09:05.000000Z", "until": "2026-11-22T17:09:06.000000Z",
            }],
        })
    );
    let reply = test.get("/v1/evidence/gaps?limit=0").await;
    assert_eq!(reply.problem(), (400, "bad_parameter".to_owned()));
}
