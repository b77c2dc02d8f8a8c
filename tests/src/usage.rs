//! What a process holds, as Linux tells.

/// Memory and descriptors of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in memory now.
    pub resident_bytes: u64,
    /// The most that it ever had in memory, in bytes.
    pub peak_bytes: u64,
    /// Open files and connections.
    pub descriptors: usize,
}

impl Usage {
    /// Of a process; nothing where it is gone, or the system tells no such thing.
    pub fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self {
            resident_bytes: bytes("VmRSS:")?,
            peak_bytes: bytes("VmHWM:")?,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
        })
    }
}
