//! A systemd of our own: the init of namespaces with a root of their own, so
//! that a shipped unit runs as it will, wherever the tests do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::proc::Proc;
use super::{SOON, eventually, output, said, work_dir};

const NEEDS: &str = "systemd and util-linux, and be root";

/// A running systemd with no unit but those that tests write.
pub(crate) struct Systemd {
    host: Proc,
    /// Its number here, outside.
    init: u32,
    cgroup: String,
    /// What is `/out` inside.
    dir: TempDir,
}

impl Systemd {
    /// Boots one, with our tandem as /usr/bin/tandem.
    pub(crate) fn boot() -> Self {
        Self::boot_with(None)
    }

    /// The same with a network of its own, in which hosts may forward.
    pub(crate) fn boot_apart() -> Self {
        Self::boot_with(Some("--net"))
    }

    fn boot_with(net: Option<&str>) -> Self {
        let dir = work_dir();
        let name = dir.path().file_name().expect("it has a name");
        let cgroup = name.to_string_lossy().into_owned();
        let log = fs::File::create(dir.path().join("boot")).expect("a directory of ours");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", include_str!("boot.sh"), "boot.sh"])
            .arg(dir.path())
            .args([super::tandem::PROGRAM, &cgroup])
            .args(net)
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let mut host = Proc::spawn(&mut command, NEEDS);
        let says = || {
            let of = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
            of("boot") + &of("systemd")
        };
        let init = eventually("systemd is up", SOON, || {
            assert!(host.is_running(), "needs {NEEDS}:\n{}", says());
            let children = format!("/proc/{0}/task/{0}/children", host.id());
            let init = fs::read_to_string(children).ok()?;
            let is_up = says().contains("Startup finished");
            init.trim().parse().ok().filter(|_| is_up)
        });
        Self {
            host,
            init,
            cgroup,
            dir,
        }
    }

    /// Where the file `path` of its root is, seen from here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Writes a file of its root that everybody may read.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("its root is ours");
        fs::write(&path, text).expect("its root is ours");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("its root is ours");
    }

    /// A command as root beside the units.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--net", "--pid", "--cgroup", "--", program]);
        command
    }

    /// A program of ours, which is in its network and nowhere else.
    pub(crate) fn in_its_network(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init));
        command.arg("--").arg(program);
        command
    }

    pub(crate) fn systemctl(&self, arguments: &[&str]) -> Output {
        output(self.command("systemctl").args(arguments), NEEDS)
    }

    /// The same for what must succeed.
    pub(crate) fn order(&self, arguments: &[&str]) {
        let done = self.systemctl(arguments);
        assert!(
            done.status.success(),
            "systemctl {arguments:?}: {}\n{}",
            said(&done),
            self.log()
        );
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        let done = self.systemctl(&["show", "--value", "-p", property, unit]);
        said(&done).trim().to_owned()
    }

    /// The main process of a unit, by its number here.
    pub(crate) fn main_process(&self, unit: &str) -> u32 {
        let inside = self.show(unit, "MainPID");
        // The last number of the line is that in the innermost namespace.
        let is_it = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let numbers = status.lines().find_map(|it| it.strip_prefix("NSpid:"))?;
            let mut numbers = numbers.split_whitespace();
            (numbers.clone().count() > 1 && numbers.next_back()? == inside).then_some(pid)
        };
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.init);
        let all = fs::read_dir("/proc")
            .expect("there are processes")
            .flatten();
        let all = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let mut all = all.filter(|pid| namespace(*pid) == own).filter_map(is_it);
        all.next().expect("the unit runs")
    }

    /// What systemd and the units have said.
    pub(crate) fn log(&self) -> String {
        let of = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        of("systemd") + &of("log")
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Its init dies with it, and all of theirs with that.
        self.host.kill();
        let script = "mount -t cgroup2 none \"$1\" && echo 1 >\"$1/$2/cgroup.kill\"; for i in $(seq 100); do \
                      find \"$1/$2\" -depth -type d -exec rmdir {} + && exit; sleep 0.1; done; exit 1";
        let folder = self.dir.path().join("root");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(Path::new(&folder)).arg(&self.cgroup);
        let done = output(&mut command, NEEDS);
        if !done.status.success() {
            eprintln!("the control group {} stays: {}", self.cgroup, said(&done));
        }
    }
}
