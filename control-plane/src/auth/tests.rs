//! Who is let in, and how the first token comes about.

use super::*;
use crate::store::contract::samples::at;
use crate::store::sqlite::SqliteStore;

async fn store(folder: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&folder.path().join("mercator.db"))
        .await
        .unwrap()
}

async fn role_of(store: &dyn Store, text: &str) -> Result<Role, AuthError> {
    let header = format!("Bearer {}", text.trim());
    authenticate(store, Some(&header))
        .await
        .map(|principal| principal.role)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn tokens_are_random_and_of_one_form() {
    let (one, two) = (
        TokenText::generate().unwrap(),
        TokenText::generate().unwrap(),
    );
    assert_ne!(one.expose(), two.expose());
    assert_eq!(one.expose().len(), 47);
    assert_eq!(TokenText::parse(one.expose()), Some(one.clone()));
    assert!(!format!("{one:?}").contains(one.expose()));
    let long = format!("{}x", one.expose());
    let odd = one.expose().replace("mjt_", "mjt_\u{fc}");
    for bad in ["", "mjt_", "mjt_not-a-token", long.as_str(), odd.as_str()] {
        assert_eq!(TokenText::parse(bad), None, "{bad}");
    }
}

#[tokio::test]
async fn only_a_known_live_token_in_a_bearer_header_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let system = Principal::system();
    let (info, text) = create_token(&store, &system, "ann", Role::Author, at(0))
        .await
        .unwrap();
    let text = text.expose();
    for good in [format!("Bearer {text}"), format!("bearer  {text} ")] {
        let principal = authenticate(&store, Some(&good)).await.unwrap();
        assert_eq!(
            (principal.name.as_str(), principal.role),
            ("ann", Role::Author)
        );
    }
    let stranger = TokenText::generate().unwrap();
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Basic {text}")),
        Some(text.to_owned()),
        Some(format!("Bearer {}", stranger.expose())),
        Some(format!("Bearer {text}, Bearer {text}")),
        Some(format!("Bearer {}", text.to_uppercase())),
    ];
    for header in bad {
        let refused = authenticate(&store, header.as_deref()).await;
        assert!(
            matches!(refused, Err(AuthError::Missing | AuthError::Refused)),
            "{header:?}"
        );
    }
    store.revoke_token(info.id, at(1)).await.unwrap();
    assert!(matches!(
        role_of(&store, text).await,
        Err(AuthError::Refused)
    ));
}

#[tokio::test]
async fn first_start_writes_two_files_that_later_starts_keep() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let files = bootstrap(&store, folder.path(), "one", at(0))
        .await
        .unwrap();
    for (path, role) in [(&files.admin, Role::Admin), (&files.emitter, Role::Emitter)] {
        assert_eq!(role_of(&store, &read(path)).await.unwrap(), role);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }
    let before = (read(&files.admin), read(&files.emitter));
    bootstrap(&store, folder.path(), "one", at(1))
        .await
        .unwrap();
    assert_eq!((read(&files.admin), read(&files.emitter)), before);
    assert_eq!(store.tokens().await.unwrap().len(), 2);
}

#[tokio::test]
async fn deleted_file_is_made_anew_and_its_old_token_is_void() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let files = bootstrap(&store, folder.path(), "one", at(0))
        .await
        .unwrap();
    let old = read(&files.admin);
    fs::remove_file(&files.admin).unwrap();
    bootstrap(&store, folder.path(), "one", at(1))
        .await
        .unwrap();
    assert!(matches!(
        role_of(&store, &old).await,
        Err(AuthError::Refused)
    ));
    assert_eq!(
        role_of(&store, &read(&files.admin)).await.unwrap(),
        Role::Admin
    );
    // Another instance's token is another matter.
    let elsewhere = tempfile::tempdir().unwrap();
    bootstrap(&store, elsewhere.path(), "two", at(2))
        .await
        .unwrap();
    assert_eq!(
        role_of(&store, &read(&files.admin)).await.unwrap(),
        Role::Admin
    );
}

#[tokio::test]
async fn token_in_a_file_goes_on_working_with_a_new_database() {
    let folder = tempfile::tempdir().unwrap();
    let files = bootstrap(&store(&folder).await, folder.path(), "one", at(0))
        .await
        .unwrap();
    let before = read(&files.admin);
    let elsewhere = tempfile::tempdir().unwrap();
    let fresh = store(&elsewhere).await;
    bootstrap(&fresh, folder.path(), "one", at(1))
        .await
        .unwrap();
    assert_eq!(read(&files.admin), before);
    assert_eq!(role_of(&fresh, &before).await.unwrap(), Role::Admin);
}

#[tokio::test]
async fn revoked_token_in_a_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let files = bootstrap(&store, folder.path(), "one", at(0))
        .await
        .unwrap();
    let old = read(&files.admin);
    let token = TokenText::parse(old.trim()).unwrap();
    let known = store.token_by_hash(&token.sha256()).await.unwrap().unwrap();
    store.revoke_token(known.id, at(1)).await.unwrap();
    bootstrap(&store, folder.path(), "one", at(2))
        .await
        .unwrap();
    assert_ne!(read(&files.admin), old);
    assert!(matches!(
        role_of(&store, &old).await,
        Err(AuthError::Refused)
    ));
}

#[tokio::test]
async fn file_that_is_no_token_of_its_role_is_left_alone_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let path = folder.path().join("admin.token");
    fs::write(&path, "my shopping list").unwrap();
    let error = bootstrap(&store, folder.path(), "one", at(0))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("delete it to get a new one"),
        "{error}"
    );
    assert!(!error.to_string().contains("shopping"), "{error}");
    assert_eq!(read(&path), "my shopping list");
    fs::remove_file(&path).unwrap();
    let files = bootstrap(&store, folder.path(), "one", at(1))
        .await
        .unwrap();
    fs::copy(&files.emitter, &files.admin).unwrap();
    let error = bootstrap(&store, folder.path(), "one", at(2))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        BootstrapError::WrongRole {
            role: Role::Emitter,
            ..
        }
    ));
}

#[tokio::test]
async fn file_that_others_may_read_becomes_private() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let files = bootstrap(&store, folder.path(), "one", at(0))
        .await
        .unwrap();
    fs::set_permissions(&files.admin, fs::Permissions::from_mode(0o644)).unwrap();
    bootstrap(&store, folder.path(), "one", at(1))
        .await
        .unwrap();
    let mode = fs::metadata(&files.admin).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
