//! Tokens, by the hash of their text.

use jiff::Timestamp;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};
use uuid::Uuid;

use super::{to_time, to_uuid};
use crate::auth::Role;
use crate::store::{NewToken, StoreError, TokenInfo};

type Tx = Transaction<'static, Sqlite>;

pub(super) async fn insert(tx: &mut Tx, token: NewToken) -> Result<TokenInfo, StoreError> {
    sqlx::query(
        "INSERT INTO tokens (id, name, role, sha256, created_us, created_by)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(token.id.as_bytes().as_slice())
    .bind(&token.name)
    .bind(token.role.as_str())
    .bind(token.sha256.as_slice())
    .bind(token.created_at.as_microsecond())
    .bind(&token.created_by)
    .execute(&mut **tx)
    .await?;
    Ok(TokenInfo {
        id: token.id,
        name: token.name,
        role: token.role,
        created_at: token.created_at,
        created_by: token.created_by,
        revoked_at: None,
    })
}

pub(super) async fn revoke_named(tx: &mut Tx, name: &str, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE tokens SET revoked_us = ? WHERE name = ? AND revoked_us IS NULL")
        .bind(at.as_microsecond())
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn revoke(tx: &mut Tx, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
    // The time of the first revocation stays.
    let done = sqlx::query("UPDATE tokens SET revoked_us = coalesce(revoked_us, ?) WHERE id = ?")
        .bind(at.as_microsecond())
        .bind(id.as_bytes().as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<TokenInfo>, StoreError> {
    let rows = sqlx::query("SELECT * FROM tokens ORDER BY created_us, id")
        .fetch_all(pool)
        .await?;
    rows.iter().map(info).collect()
}

pub(super) async fn by_hash(
    pool: &SqlitePool,
    sha256: &[u8; 32],
) -> Result<Option<TokenInfo>, StoreError> {
    let row = sqlx::query("SELECT * FROM tokens WHERE sha256 = ?")
        .bind(sha256.as_slice())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(info).transpose()
}

fn info(row: &SqliteRow) -> Result<TokenInfo, StoreError> {
    let role: &str = row.try_get("role")?;
    let revoked_us: Option<i64> = row.try_get("revoked_us")?;
    Ok(TokenInfo {
        id: to_uuid(row.try_get("id")?)?,
        name: row.try_get("name")?,
        role: Role::parse(role).ok_or(StoreError::Corrupt("an unknown role"))?,
        created_at: to_time(row.try_get("created_us")?)?,
        created_by: row.try_get("created_by")?,
        revoked_at: revoked_us.map(to_time).transpose()?,
    })
}
