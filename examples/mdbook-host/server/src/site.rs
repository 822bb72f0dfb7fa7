//! A directory of files, and the way from a request's path to one of them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::http::UrlPath;

/// The directory that is served.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
}

/// An open file with what its answer's head says.
#[derive(Debug)]
pub struct Page {
    /// Open for reading.
    pub file: File,
    /// Size in bytes when it was opened.
    pub length: u64,
    /// Last change, where the file system knows it.
    pub modified: Option<SystemTime>,
    /// By the name's extension.
    pub content_type: &'static str,
}

/// What lies at a path.
#[derive(Debug)]
pub enum Found {
    /// A file, or a directory's `index.html`.
    Page(Page),
    /// A directory, asked for without the slash that its relative links need.
    NeedsSlash,
    /// Nothing that is served.
    Missing,
}

impl Site {
    /// Takes the directory as it is now called: if it is itself reached by a
    /// symlink, that is followed once, here.
    pub fn open(directory: &Path) -> io::Result<Site> {
        let root = directory.canonicalize()?;
        if !root.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(Site { root })
    }

    /// Opens what lies at `path`.
    ///
    /// What it guarantees: no file outside the directory is opened, whatever
    /// the path, also when symlinks lead there; and only regular files are.
    ///
    /// What it doesn't: whoever may write in the directory can swap a name
    /// between the check and the opening, and could have put a copy of the file
    /// there just as well.
    pub fn find(&self, path: &UrlPath) -> io::Result<Found> {
        match self.look_up(path) {
            Err(e) if is_absence(e.kind()) => Ok(Found::Missing),
            other => other,
        }
    }

    /// The site's own page for what is missing, if it has one.
    pub fn not_found_page(&self) -> Option<Page> {
        let path = UrlPath { segments: vec![b"404.html".to_vec()], slash: false };
        match self.find(&path) {
            Ok(Found::Page(page)) => Some(page),
            _ => None,
        }
    }

    fn look_up(&self, path: &UrlPath) -> io::Result<Found> {
        let mut wanted = self.root.clone();
        wanted.extend(path.segments.iter().map(|name| OsStr::from_bytes(name)));
        let Some(mut real) = self.resolve_beneath(&wanted)? else {
            return Ok(Found::Missing);
        };
        if real.is_dir() {
            if !path.slash {
                return Ok(Found::NeedsSlash);
            }
            real = match self.resolve_beneath(&real.join("index.html"))? {
                Some(index) => index,
                None => return Ok(Found::Missing),
            };
        } else if path.slash {
            return Ok(Found::Missing);
        }
        // Looked at before it is opened: opening a FIFO would wait for a writer.
        if !fs::metadata(&real)?.is_file() {
            return Ok(Found::Missing);
        }
        let file = File::open(&real)?;
        let metadata = file.metadata()?;
        Ok(Found::Page(Page {
            file,
            length: metadata.len(),
            modified: metadata.modified().ok(),
            content_type: content_type(&real),
        }))
    }

    /// `path` without symlinks, if that is still below the root.
    fn resolve_beneath(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let real = path.canonicalize()?;
        Ok(real.starts_with(&self.root).then_some(real))
    }
}

/// Errors that a path in a request can cause; all others are the server's.
fn is_absence(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
    )
}

/// The types that books are made of, by extension.
const CONTENT_TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/vnd.microsoft.icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("pdf", "application/pdf"),
    ("wasm", "application/wasm"),
];

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default();
    CONTENT_TYPES
        .iter()
        .find(|(known, _)| extension.eq_ignore_ascii_case(known))
        .map_or("application/octet-stream", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    /// A directory `book` beside a file `secret`; removed when dropped.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str) -> Fixture {
            let dir = std::env::temp_dir().join(format!("mdbook-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            let book = dir.join("book");
            fs::create_dir_all(book.join("hives/empty")).unwrap();
            fs::create_dir(dir.join("bookshelf")).unwrap();
            for (file, text) in [
                ("secret", "secret"),
                ("bookshelf/secret", "secret"),
                ("book/index.html", "start"),
                ("book/a b.html", "space"),
                ("book/..x", "dots"),
                ("book/hives/index.html", "hives"),
            ] {
                fs::write(dir.join(file), text).unwrap();
            }
            symlink("../secret", book.join("out")).unwrap();
            symlink("../bookshelf", book.join("shelf")).unwrap();
            symlink("/", book.join("all")).unwrap();
            symlink("index.html", book.join("in.html")).unwrap();
            symlink("hives", book.join("skeps")).unwrap();
            symlink("loop", book.join("loop")).unwrap();
            symlink("nowhere", book.join("dangling")).unwrap();
            fs::create_dir(book.join("trap")).unwrap();
            symlink("../../secret", book.join("trap/index.html")).unwrap();
            drop(UnixListener::bind(book.join("socket")).unwrap());
            Fixture(dir)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// The page's text, or a word for what else was found.
    fn get(site: &Site, target: &str) -> String {
        let Some(path) = UrlPath::parse(target) else {
            return "<refused>".into();
        };
        match site.find(&path) {
            Ok(Found::Page(mut page)) => {
                let mut text = String::new();
                page.file.read_to_string(&mut text).unwrap();
                assert_eq!(page.length, text.len() as u64);
                text
            }
            Ok(Found::NeedsSlash) => "<slash>".into(),
            Ok(Found::Missing) => "<missing>".into(),
            Err(_) => "<error>".into(),
        }
    }

    #[test]
    fn paths_lead_to_files_below_the_root_only() {
        let fixture = Fixture::new("paths");
        let site = Site::open(&fixture.0.join("book")).unwrap();
        let long = format!("/{}", "x".repeat(5000));
        for (target, expected) in [
            ("/", "start"),
            ("/index.html", "start"),
            ("//index.html", "start"),
            ("/a%20b.html", "space"),
            ("/..x", "dots"),
            ("/hives", "<slash>"),
            ("/hives/", "hives"),
            ("/hives/.", "hives"),
            ("/hives/empty/", "<missing>"),
            ("/index.html/", "<missing>"),
            ("/index.html/x", "<missing>"),
            ("/absent", "<missing>"),
            ("/in.html", "start"),
            ("/skeps/", "hives"),
            // Out by name ...
            ("/../secret", "<refused>"),
            ("/%2e%2e/secret", "<refused>"),
            ("/hives/..%2f../secret", "<refused>"),
            ("/index.html%00.css", "<refused>"),
            // ... and out by symlink; also to a sibling with the same prefix.
            ("/out", "<missing>"),
            ("/shelf/secret", "<missing>"),
            ("/all/etc/passwd", "<missing>"),
            ("/all", "<missing>"),
            ("/trap/", "<missing>"),
            ("/dangling", "<missing>"),
            ("/socket", "<missing>"),
            (long.as_str(), "<missing>"),
        ] {
            assert_eq!(get(&site, target), expected, "{target}");
        }
        assert!(get(&site, "/loop").starts_with('<'));
        assert!(get(&site, "/%ff%fe").starts_with('<'));
    }

    #[test]
    fn only_a_directory_is_served() {
        let fixture = Fixture::new("root");
        assert!(Site::open(&fixture.0.join("absent")).is_err());
        assert!(Site::open(&fixture.0.join("secret")).is_err());
        // The root itself may be a symlink.
        symlink("book", fixture.0.join("link")).unwrap();
        let site = Site::open(&fixture.0.join("link")).unwrap();
        assert_eq!(get(&site, "/in.html"), "start");
        assert!(site.not_found_page().is_none());
        fs::write(fixture.0.join("book/404.html"), "lost").unwrap();
        assert!(site.not_found_page().is_some());
    }

    #[test]
    fn content_types_by_extension() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("A.HTML", "text/html; charset=utf-8"),
            ("a.min.js", "text/javascript; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("html", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("a.html.exe", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }
}
