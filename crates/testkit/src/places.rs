//! Where tests find what was built, and where they may listen.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::wait::{OrFail, fail};

/// A port that nobody listens on, and that no other test of this process gets.
pub fn free_port() -> u16 {
    jupiter_installation::free_port().or_fail("no port")
}

/// The folder of the whole project.
pub fn project_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo's target folder: the test program runs from `<target>/debug/deps`.
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().or_fail("no path of this test program");
    program
        .ancestors()
        .find(|folder| folder.file_name() == Some(OsStr::new("deps")))
        .and_then(|deps| deps.ancestors().nth(2))
        .or_fail("this test program is not in cargo's target folder")
        .to_owned()
}

/// What `variable` names, else `otherwise`, which must exist.
pub(crate) fn built(variable: &str, otherwise: PathBuf) -> PathBuf {
    let path = std::env::var_os(variable).map_or(otherwise, PathBuf::from);
    if !path.is_file() {
        fail(&format!(
            "`{}` is missing; `./justw test` builds it, or set {variable}",
            path.display()
        ));
    }
    std::path::absolute(&path).or_fail("cannot make a path absolute")
}
