//! The process of chromedriver.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::Error;

/// A running chromedriver. Ends when dropped, and also when this process is killed, because then the pipe closes that a watcher
/// reads. Its Chromiums end with it.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) port: u16,
    _group: Group,
}

/// chromedriver and its Chromiums, and who sees to their end.
#[derive(Debug)]
struct Group {
    driver: Child,
    watcher: Child,
    /// What they write.
    folder: PathBuf,
}

impl Driver {
    pub(crate) async fn start(chromedriver: &Path) -> Result<Self, Error> {
        let mut group = Group::start(chromedriver).map_err(Error::Start)?;
        let output = group.driver.stdout.take().ok_or(Error::NotReady)?;
        let (found, port) = oneshot::channel();
        // On to the end, because chromedriver would wait if nobody read what it says.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(port) = port_in(&line)
                    && let Some(found) = found.take()
                {
                    let _ = found.send(port);
                }
            }
        });
        match timeout(READY_WITHIN, port).await {
            Ok(Ok(port)) => Ok(Self {
                port,
                _group: group,
            }),
            Ok(Err(_)) | Err(_) => Err(Error::NotReady),
        }
    }
}

impl Group {
    fn start(chromedriver: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?.keep();
        let driver = Command::new(chromedriver)
            .arg("--port=0")
            .env("TMPDIR", &folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let watcher = Command::new("/bin/sh")
            .args(["-c", WATCHER, "sh", &driver.id().to_string()])
            .arg(&folder)
            // A ^C is for the tests; the watcher then does its work.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            driver,
            watcher,
            folder,
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
        // All done, unless somebody killed the watcher.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// chromedriver's words, as of version 60 and later.
fn port_in(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("started successfully on port ")?;
    port.trim_end().trim_end_matches('.').parse().ok()
}

/// `cat` ends when the other end of the pipe closes, which the kernel sees to. Killed, because a Chromium that ends by itself still
/// writes into the folder that is being removed. Dead ones stay in the group where nobody reaps them, so there is an end to it.
const WATCHER: &str = r#"cat
kill -s KILL -- "-$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s 0 -- "-$1" || break; sleep 0.05; done
rm -rf "$2""#;

const READY_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::Programs;

    #[tokio::test]
    async fn ends_when_dropped() {
        let Some(programs) = Programs::find() else {
            return;
        };
        let driver = Driver::start(&programs.chromedriver).await.unwrap();
        let (port, folder) = (driver.port, driver._group.folder.clone());
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(folder.exists());
        drop(driver);
        TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_not_waited_for() {
        let error = Driver::start(Path::new("/bin/false")).await.unwrap_err();
        assert!(matches!(error, Error::NotReady));
    }

    #[test]
    fn the_port_is_read() {
        let said = "ChromeDriver was started successfully on port 41233.";
        assert_eq!(port_in(said), Some(41233));
        assert_eq!(port_in("Starting ChromeDriver 156.0 on port 0"), None);
    }
}
