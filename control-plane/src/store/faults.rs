//! A store that fails when it is told to, before or after a write took place.
//!
//! Reading the policies and the asker's token goes on, so that a request gets
//! as far as the call in question.

use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

use super::*;

/// Where in a write the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is stored.
    Before,
    /// All of it is stored, and nobody is told.
    After,
    /// Nothing is stored, nothing answers.
    Silent,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    /// Until it is taken away, for every call or for those of one name.
    fault: Mutex<Option<(Fault, Option<&'static str>)>>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore {
            inner,
            fault: Mutex::new(None),
        })
    }

    pub(crate) fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault.map(|fault| (fault, None));
    }

    /// Strikes one method alone; only writes of logs have names so far.
    pub(crate) fn set_on(&self, method: &'static str, fault: Fault) {
        *self.fault.lock().unwrap() = Some((fault, Some(method)));
    }

    async fn apply<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.apply_to("", work).await
    }

    async fn apply_to<T, E: From<StoreError>>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let failed = || StoreError::Unavailable(Arc::new(std::io::Error::other("told to fail")));
        let fault = *self.fault.lock().unwrap();
        let fault = fault.filter(|(_, only)| only.is_none_or(|only| only == method));
        match fault.map(|(fault, _)| fault) {
            None => work.await,
            Some(Fault::Before) => Err(failed().into()),
            Some(Fault::After) => {
                work.await?;
                Err(failed().into())
            }
            Some(Fault::Silent) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn active_policies(&self) -> Result<ActivePolicies, StoreError> {
        self.inner.active_policies().await
    }

    async fn policy_set(&self) -> Result<SetRevision, StoreError> {
        self.apply(self.inner.policy_set()).await
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyRevision>, StoreError> {
        self.apply(self.inner.policy(name)).await
    }

    async fn policy_history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, StoreError> {
        self.apply(self.inner.policy_history(name, before, limit))
            .await
    }

    async fn policy_revision(
        &self,
        name: &str,
        revision: u64,
    ) -> Result<Option<PastRevision>, StoreError> {
        self.apply(self.inner.policy_revision(name, revision)).await
    }

    async fn put_policy(
        &self,
        seen: SetRevision,
        policy: NewPolicy,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<(PolicyRevision, StoredBundle), ChangeError> {
        self.apply(self.inner.put_policy(seen, policy, bundle, stamp))
            .await
    }

    async fn delete_policy(
        &self,
        seen: SetRevision,
        name: &str,
        bundle: Option<NewBundle>,
        stamp: Stamp,
    ) -> Result<Option<StoredBundle>, ChangeError> {
        self.apply(self.inner.delete_policy(seen, name, bundle, stamp))
            .await
    }

    async fn replace_policies(
        &self,
        seen: SetRevision,
        policies: Vec<NewPolicy>,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        self.apply(self.inner.replace_policies(seen, policies, bundle, stamp))
            .await
    }

    async fn replace_bundle(
        &self,
        seen: SetRevision,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        self.apply(self.inner.replace_bundle(seen, bundle, stamp))
            .await
    }

    async fn current_bundle(&self) -> Result<Option<StoredBundle>, StoreError> {
        self.apply(self.inner.current_bundle()).await
    }

    async fn append_evidence(&self, batch: EvidenceBatch) -> Result<Appended, StoreError> {
        let appended = self.inner.append_evidence(batch);
        self.apply_to("append_evidence", appended).await
    }

    async fn query_evidence(
        &self,
        filter: &EvidenceFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<EvidencePage, StoreError> {
        self.apply(self.inner.query_evidence(filter, before, limit))
            .await
    }

    async fn evidence(&self, id: Uuid) -> Result<Option<StoredEvidence>, StoreError> {
        self.apply(self.inner.evidence(id)).await
    }

    async fn emitters(&self, before: Option<i64>, limit: u32) -> Result<EmitterPage, StoreError> {
        self.apply(self.inner.emitters(before, limit)).await
    }

    async fn evidence_totals(&self) -> Result<EvidenceTotals, StoreError> {
        self.apply(self.inner.evidence_totals()).await
    }

    async fn log_state(&self) -> Result<LogState, StoreError> {
        self.inner.log_state().await
    }

    async fn waiting_batches(&self, leaves: u64) -> Result<Vec<WaitingBatch>, StoreError> {
        self.inner.waiting_batches(leaves).await
    }

    async fn sequence_batches(&self, seen: u64, sequenced: Sequenced) -> Result<(), AdvanceError> {
        let work = self.inner.sequence_batches(seen, sequenced);
        self.apply_to("sequence_batches", work).await
    }

    async fn tiles(&self, ids: &[TileId]) -> Result<Vec<Tile>, StoreError> {
        self.inner.tiles(ids).await
    }

    async fn advance_checkpoint(
        &self,
        seen: u64,
        checkpoint: StoredCheckpoint,
    ) -> Result<(), AdvanceError> {
        let work = self.inner.advance_checkpoint(seen, checkpoint);
        self.apply_to("advance_checkpoint", work).await
    }

    async fn cosigned(&self, origin: &str) -> Result<Option<Cosigned>, StoreError> {
        self.apply(self.inner.cosigned(origin)).await
    }

    async fn advance_cosigned(
        &self,
        origin: &str,
        seen: u64,
        cosigned: Cosigned,
    ) -> Result<(), AdvanceError> {
        let work = self.inner.advance_cosigned(origin, seen, cosigned);
        self.apply_to("advance_cosigned", work).await
    }

    async fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<LogEntry>, StoreError> {
        self.apply(self.inner.log_entries(first, limit)).await
    }

    async fn note_envoy_ends(&self, ends: &[EnvoyEnd]) -> Result<(), StoreError> {
        self.apply(self.inner.note_envoy_ends(ends)).await
    }

    async fn claim_key(
        &self,
        claim: &KeyClaim,
        instead_of: Option<Uuid>,
    ) -> Result<KeyHolder, StoreError> {
        self.apply(self.inner.claim_key(claim, instead_of)).await
    }

    async fn keep_answers(&self, answers: &[NewAnswer]) -> Result<u64, StoreError> {
        self.apply(self.inner.keep_answers(answers)).await
    }

    async fn kept_answer(
        &self,
        key: &[u8; 32],
        exchange: Uuid,
    ) -> Result<StoredAnswer, StoreError> {
        self.apply(self.inner.kept_answer(key, exchange)).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.apply(self.inner.forget_keys(before)).await
    }

    async fn note_alive(&self, sign: &SignOfLife) -> Result<Vec<SignOfLife>, StoreError> {
        self.apply(self.inner.note_alive(sign)).await
    }

    async fn note_unrecorded(&self, exchanges: &[UnrecordedExchange]) -> Result<(), StoreError> {
        self.apply(self.inner.note_unrecorded(exchanges)).await
    }

    async fn evidence_gaps(&self, limit: u32) -> Result<EvidenceGaps, StoreError> {
        self.apply(self.inner.evidence_gaps(limit)).await
    }

    async fn subject(&self, name: &str) -> Result<Option<SubjectSummary>, StoreError> {
        self.apply(self.inner.subject(name)).await
    }

    async fn erase_subject(&self, name: &str, stamp: ErasureStamp) -> Result<Erasure, EraseError> {
        self.apply_to("erase_subject", self.inner.erase_subject(name, stamp))
            .await
    }

    async fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        self.apply(self.inner.erasures()).await
    }

    async fn repeat_erasures(&self, erasures: &[Erasure]) -> Result<u64, StoreError> {
        self.apply_to("repeat_erasures", self.inner.repeat_erasures(erasures))
            .await
    }

    async fn place_hold(&self, hold: NewHold) -> Result<Hold, StoreError> {
        self.apply(self.inner.place_hold(hold)).await
    }

    async fn release_hold(&self, id: Uuid, release: Release) -> Result<Option<Hold>, StoreError> {
        self.apply(self.inner.release_hold(id, release)).await
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.apply(self.inner.holds()).await
    }

    async fn let_go(&self, seen: &[Hold], let_go: &LetGo) -> Result<(), LetGoError> {
        self.apply_to("let_go", self.inner.let_go(seen, let_go))
            .await
    }

    async fn let_go_again(&self, let_go: &LetGo) -> Result<u64, StoreError> {
        self.apply_to("let_go_again", self.inner.let_go_again(let_go))
            .await
    }

    async fn retentions(&self) -> Result<Vec<Retention>, StoreError> {
        self.apply(self.inner.retentions()).await
    }

    async fn retired(&self, id: Uuid) -> Result<Option<RetiredRecord>, StoreError> {
        self.apply(self.inner.retired(id)).await
    }

    async fn give_back_room(&self, before: Timestamp) -> Result<(), StoreError> {
        self.apply(self.inner.give_back_room(before)).await
    }

    async fn create_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        self.apply(self.inner.create_token(token)).await
    }

    async fn rotate_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        self.apply(self.inner.rotate_token(token)).await
    }

    async fn revoke_token(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        self.apply(self.inner.revoke_token(id, at)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenInfo>, StoreError> {
        self.apply(self.inner.tokens()).await
    }

    async fn token_by_hash(&self, sha256: &[u8; 32]) -> Result<Option<TokenInfo>, StoreError> {
        self.inner.token_by_hash(sha256).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.apply(self.inner.cursor(name)).await
    }

    async fn set_cursor(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.apply(self.inner.set_cursor(name, value)).await
    }

    fn servers(&self) -> Vec<ServerState> {
        self.inner.servers()
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        self.apply(self.inner.probe_read()).await
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        self.apply(self.inner.probe_write()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
