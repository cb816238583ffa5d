//! The file with the key that decrypts stored secrets. It is made once, at the first start, and never again for the
//! same database.

use crate::config::{Settings, write_private};
use anyhow::{Context, Result, bail};
use backend::{KeyCheck, check_key, db::Db};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Reads the key; `None` if the file does not exist.
fn read(path: &Path) -> Result<Option<[u8; 32]>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read secret_key_file {}", path.display()));
        }
    };
    let mut key = [0; 32];
    let read = hex::decode_to_slice(text.trim(), &mut key);
    read.with_context(|| format!("secret_key_file {} must hold 64 hexadecimal digits", path.display()))?;
    Ok(Some(key))
}

/// Reads the key that opens stored secrets; [`check`] makes it at the first start.
pub fn secret_key(settings: &Settings) -> Result<[u8; 32]> {
    let file = &settings.secret_key_file;
    read(Path::new(file))?.with_context(|| format!("there is no secret_key_file {file}"))
}

/// Checks that the store and the key file belong together. A key is generated only if nothing is encrypted yet: a new
/// key could not decrypt existing secrets, and the old key could not decrypt new ones.
pub async fn check(settings: &Settings, db: &Db) -> Result<()> {
    let path = Path::new(&settings.secret_key_file);
    let key = read(path)?;
    let shown = path.display();
    match (check_key(db, key).await.context("cannot check the key against the database")?, key) {
        (KeyCheck::NothingSealed, None) => make(path).with_context(|| format!("cannot write secret_key_file {shown}")),
        (KeyCheck::NothingSealed, Some(_)) | (KeyCheck::Opens, _) => Ok(()),
        (KeyCheck::Missing, _) => bail!(
            "the database holds encrypted secrets (of modules, of merchant accounts), and the file with their key is not \
            there: secret_key_file is {shown}. Put this file back from where you keep its copy, or set secret_key_file to \
            where it is. No new key was made: it could not open them."
        ),
        (KeyCheck::Wrong, _) => bail!(
            "the key in secret_key_file {shown} does not open the secrets in the database: it is the key of another \
            database, or this is another database than you meant. Put back the key file that was kept with this database, \
            or set secret_key_file or database_url to where the right one is. Nothing was changed."
        ),
    }
}

/// Makes a key. The file appears completely or not at all, and never replaces an existing one.
fn make(path: &Path) -> Result<()> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the operating system gives no randomness"))?;
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    write_private(&part, hex::encode(key).as_bytes())?;
    let linked = match fs::hard_link(&part, path) {
        // Another process was first: its key is used.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without hard links.
        Err(_) => fs::rename(&part, path),
        linked => linked,
    };
    let _ = fs::remove_file(&part);
    linked?;
    sync_folder(path)?;
    Ok(())
}

/// Makes sure that the file is in its folder after a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read(&path).unwrap(), None);
        make(&path).unwrap();
        let key = read(&path).unwrap().unwrap();
        make(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Some(key), "a key that is there stays");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "short").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
