//! Processor time and memory of this process and of the private PostgreSQL, from `/proc`.

use std::fs;

/// Clock ticks in a second: `USER_HZ`, which Linux fixes at 100 towards programs on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Whose processor time is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Nothing when the server is not ours: its processes cannot be told from others'.
    pub(super) postmaster: Option<u32>,
}

/// Processor seconds used so far; nothing where they cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) carelog: Option<f64>,
    pub(super) postgres: Option<f64>,
}

/// The fields of `/proc/<pid>/stat` that matter here; see proc(5).
struct Stat {
    parent: u32,
    /// User and system time.
    own_ticks: u64,
    /// The same of children that have ended.
    ended_children_ticks: u64,
}

impl Meter {
    pub(super) fn read(self) -> Usage {
        Usage {
            carelog: stat("self").map(|stat| seconds(stat.own_ticks)),
            postgres: self.postmaster.and_then(tree_seconds),
        }
    }
}

impl Usage {
    /// Microseconds of both per `count`, since an earlier reading.
    pub(super) fn micros_each(self, earlier: Self, count: u64) -> [(&'static str, Option<f64>); 2] {
        let each = |now: Option<f64>, before: Option<f64>| {
            now.zip(before).filter(|_| count > 0).map(|(now, before)| (now - before) * 1e6 / count as f64)
        };
        [
            ("carelog", each(self.carelog, earlier.carelog)),
            ("postgres", each(self.postgres, earlier.postgres)),
        ]
    }
}

/// Resident memory of this process, in MiB.
pub(super) fn resident_mebibytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// The postmaster, its living children, and those that it has buried.
fn tree_seconds(postmaster: u32) -> Option<f64> {
    let root = stat(&postmaster.to_string())?;
    let mut ticks = root.own_ticks + root.ended_children_ticks;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        ticks += stat(pid).filter(|stat| stat.parent == postmaster).map_or(0, |stat| stat.own_ticks);
    }
    Some(seconds(ticks))
}

fn stat(pid: &str) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, blanks too.
    let (_, rest) = text.rsplit_once(") ")?;
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        own_ticks: field(14)? + field(15)?,
        ended_children_ticks: field(16)? + field(17)?,
    })
}
