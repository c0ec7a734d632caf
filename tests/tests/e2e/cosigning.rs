//! Control planes vouch for each other's logs, and no log gets two histories
//! vouched for.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jupiter_evidence::tree::{Checkpoint, Cosigner, NoteSigner, Submission};
use jupiter_testkit::{Instance, InstanceBuilder, wait};

use crate::support::{GUARD, ask, question};
use crate::tamper::{evidence, mercator, told};

/// One organisation's keys.
struct Party {
    log: NoteSigner,
    cosigner: Cosigner,
}

impl Party {
    fn new(name: &str, seed: u8) -> Party {
        let log = NoteSigner::new(&format!("mercator/{name}"), &[seed; 32]);
        let cosigner = Cosigner::new(&format!("mercator/{name}/witness"), &[seed + 1; 32]);
        Party {
            log: log.expect("a key"),
            cosigner: cosigner.expect("a key"),
        }
    }

    /// Vouches for the log of `other`.
    fn builder(&self, other: &Party) -> InstanceBuilder {
        let log = self.log.verifier();
        let builder = Instance::builder().policy("guard", GUARD);
        [
            format!("origin: {}", log.name()),
            format!("signing_key: '{}'", self.log.to_secret_text()),
            "cosign:".to_owned(),
            format!("  signing_key: '{}'", self.cosigner.to_secret_text()),
            format!("  logs: ['{}']", other.log.verifier()),
        ]
        .iter()
        .fold(builder, |builder, line| builder.evidence(line))
    }

    /// The line by which someone else asks this one, at its instance.
    fn asked_at(&self, instance: &Instance) -> String {
        format!(
            "cosigners: [{{url: '{}/v1/log/witness', key: '{}'}}]",
            instance.admin().base_url(),
            self.cosigner.verifier()
        )
    }

    /// What stands in its name under the checkpoint of an instance, once it does.
    async fn cosigned(&self, instance: &Instance, records: u64) -> (String, String) {
        let begin = format!("\u{2014} {} ", self.cosigner.verifier().name());
        wait::until("the checkpoint is cosigned", async || {
            let note = checkpoint(instance).await;
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            let line = note.lines().find_map(|line| line.strip_prefix(&begin));
            match (line, size) {
                (Some(line), Some(size)) if records <= size => Ok((line.to_owned(), note.clone())),
                _ => Err(note),
            }
        })
        .await
    }
}

async fn checkpoint(instance: &Instance) -> String {
    let reply = instance.admin().get("/v1/log/checkpoint").await;
    String::from_utf8_lossy(&reply.body).into_owned()
}

async fn wait_for_log(instance: &Instance, text: &str) {
    wait::until("it is said loudly", async || {
        match instance.all_logs().contains(text) {
            true => Ok(()),
            false => Err(()),
        }
    })
    .await;
}

/// As `tlog-cosignature` describes it, by another implementation of Ed25519.
fn assert_signed_as_specified(line: &str, note: &str, cosigner: &Cosigner) {
    let bytes = STANDARD.decode(line).expect("base64");
    let (id, rest) = bytes.split_first_chunk::<4>().expect("an id");
    let (time, signature) = rest.split_first_chunk::<8>().expect("a time");
    let time = u64::from_be_bytes(*time);
    let (body, _) = note.split_once("\n\n").expect("a note");
    let message = format!("cosignature/v1\ntime {time}\n{body}\n");
    let text = cosigner.verifier().to_string();
    let mut parts = text.splitn(3, '+').skip(1);
    let known = u32::from_str_radix(parts.next().expect("an id"), 16);
    assert_eq!(Ok(u32::from_be_bytes(*id)), known);
    let key = STANDARD.decode(parts.next().expect("a key"));
    let key = key.expect("base64").split_off(1);
    let key = UnparsedPublicKey::new(&ED25519, key);
    assert!(key.verify(message.as_bytes(), signature).is_ok(), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_vouch_for_each_other_and_refuse_second_histories() {
    let (a, b) = (Party::new("a", 1), Party::new("b", 3));
    let mut at_b = b.builder(&a).start().await;
    let mut at_a = a.builder(&b).evidence(&b.asked_at(&at_b)).start().await;
    ask(&at_a, &question("gpt-4o")).await;
    let (line, note) = b.cosigned(&at_a, 1).await;
    assert_signed_as_specified(&line, &note, &b.cosigner);

    // The other way round, and what was vouched for is remembered beyond a restart.
    assert!(at_b.stop().await.success());
    let text = std::fs::read_to_string(at_b.config_file()).expect("its configuration");
    let asks = format!("evidence:\n  {}\n", a.asked_at(&at_a));
    std::fs::write(at_b.config_file(), text.replacen("evidence:\n", &asks, 1)).expect("written");
    at_b.start_control_plane().await;
    ask(&at_b, &question("gpt-4o")).await;
    let (line, note) = a.cosigned(&at_b, 1).await;
    assert_signed_as_specified(&line, &note, &a.cosigner);

    // Whoever trusts the cosigner finds its word in what is exported.
    ask(&at_a, &question("gpt-4o")).await;
    let (_, note) = b.cosigned(&at_a, 2).await;
    let folder = tempfile::tempdir().expect("a folder");
    let exported = evidence(&at_a, folder.path(), &["export", "--output", "a.jsonl"]);
    assert!(exported.status.success(), "{}", told(&exported));
    let key = a.log.verifier().to_string();
    let verify = |cosigner: &Cosigner| {
        let cosigner = cosigner.verifier().to_string();
        let arguments = ["verify", "a.jsonl", "--key", &key, "--cosigner", &cosigner];
        let output = mercator(folder.path(), &arguments);
        (output.status.code(), told(&output))
    };
    let (code, said) = verify(&b.cosigner);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("mercator/b/witness vouches for this checkpoint"),
        "{said}"
    );
    let (code, said) = verify(&a.cosigner);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("mercator/a/witness saw this same log"),
        "{said}"
    );

    // A fork, signed by the log's own key: refused, and said loudly.
    let cosigned = Checkpoint::unverified(&note).expect("a checkpoint");
    let mut old_size = cosigned.size;
    wait::until("the fork follows what was cosigned last", async || {
        let fork = Checkpoint {
            size: old_size + 5,
            root: [7; 32],
            ..cosigned.clone()
        };
        let submission = Submission {
            old_size,
            proof: vec![[1; 32]; 3],
            checkpoint: fork.sign([&a.log]),
        };
        let body = submission.to_string().into_bytes();
        let anyone = at_b.admin().with_token(None);
        let path = "/v1/log/witness/add-checkpoint";
        let post = reqwest::Method::POST;
        let reply = anyone.send(post, path, "text/plain", body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        match reply.status {
            422 => Ok(()),
            409 => {
                // Exchanges of health probes make the log grow meanwhile.
                old_size = text.trim_end().parse().expect("a size");
                Err(text)
            }
            other => panic!("{other}: {text}"),
        }
    })
    .await;
    wait_for_log(&at_b, "it may show two histories").await;

    // A log that begins again: nobody vouches for it, it is said, and sealing goes on.
    assert!(at_a.stop().await.success());
    for file in [
        "mercator.db",
        "mercator.db-wal",
        "mercator.db-shm",
        "evidence.checkpoint",
        // Otherwise the same records come back from there, and are the same log.
        "envoy/access.log",
    ] {
        let path = at_a.data_dir().join(file);
        if path.exists() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    at_a.start_control_plane().await;
    let put = at_a.admin().put_policy("guard", GUARD).await;
    put.expect_success();
    at_a.wait_for_bundle().await;
    ask(&at_a, &question("gpt-4o")).await;
    wait_for_log(&at_a, "the log was set back or has two histories").await;
    let counted = "mercator_cosigner_answers_total{cosigner=\"mercator/b/witness\",\
                   result=\"contradicted\"}";
    wait::until("it is counted", async || {
        let metrics = at_a.metrics().get("/metrics").await;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        match metrics.contains(counted) {
            true => Ok(()),
            false => Err(()),
        }
    })
    .await;
    wait::until("it is sealed without them", async || {
        let note = checkpoint(&at_a).await;
        match note.starts_with("mercator/a\n") && !note.contains("mercator/b/witness") {
            true => Ok(()),
            false => Err(note),
        }
    })
    .await;
}
