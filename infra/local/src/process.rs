//! Processes that never outlive us, whatever happens to us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// A child process and all of its descendants. Killed when dropped, and also when this process is
/// killed, because then the pipe closes that a watcher in the group reads.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    _alive: Option<ChildStdin>,
}

impl Group {
    /// Starts `program`; `prepare` sets up environment, folder and output.
    pub(crate) fn spawn<'a>(
        program: impl IntoIterator<Item = &'a std::ffi::OsStr>,
        prepare: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHED, "sh"]).args(program);
        prepare(&mut command);
        let mut child = command.process_group(0).stdin(Stdio::piped()).spawn()?;
        Ok(Self {
            _alive: child.stdin.take(),
            child,
        })
    }

    /// Asks it to end, for descendants that left the group and that only it can end.
    pub(crate) fn end_within(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < grace && !self.ended().is_ok_and(|status| status.is_some()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    fn signal(&self, signal: Signal) {
        // The watcher is in the group until it is killed, so the number is still the group's.
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The watcher in the background is all that ignores SIGTERM. Its `cat` ends when the other end of
/// the pipe closes, which the kernel sees to.
const WATCHED: &str = r#"exec 3<&0
{ trap '' TERM; cat <&3 >/dev/null; kill -TERM 0; sleep 2; kill -KILL 0; } &
exec "$@" 3<&- </dev/null"#;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;

    #[test]
    fn descendants_end_with_the_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
            pid_file.display()
        );
        let group = Group::spawn(["sh", "-c", &script].map(OsStr::new), |_| {}).unwrap();
        let start = Instant::now();
        while !pid_file.exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let status = Path::new("/proc").join(pid.trim()).join("status");
        assert!(status.exists());
        drop(group);
        // Without anybody to reap it, it may stay as a zombie.
        let alive =
            || std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ"));
        while alive() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!alive());
    }
}
