//! [`Machine`]: what a figure was measured on, and how fast its disk takes a fresh file.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::Result;

/// Facts without which a figure says nothing. What the system does not tell is `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Model name of the processor.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and kernel version.
    pub kernel: String,
    /// Type of the file system the stores lie on.
    pub file_system: String,
    /// Whether the kernel gives huge pages to anonymous memory.
    pub huge_pages: String,
    /// What a virtual machine does with free memory: `kept`, or `given back` to its host, which is slow to hand it out again.
    pub free_memory: String,
    /// Processes that wanted a core in the minute before the first workload: above 1 or so, figures are too slow.
    pub load_before: String,
    /// Compiler, and flags beyond the profile's.
    pub toolchain: String,
    /// Commit of this repository, with `+` if files differ from it.
    pub commit: String,
}

impl Machine {
    /// Looks around; `folder` is where the stores will lie.
    #[must_use]
    pub fn look(folder: &Path) -> Self {
        Self {
            processor: line_value("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes().unwrap_or(0),
            kernel: kernel().unwrap_or_else(unknown),
            file_system: file_system(folder).unwrap_or_else(unknown),
            huge_pages: huge_pages().unwrap_or_else(unknown),
            free_memory: free_memory().unwrap_or_else(unknown),
            load_before: load().unwrap_or_else(unknown),
            toolchain: format!("{} {}", env!("BUILT_BY"), env!("BUILT_WITH")).trim().to_owned(),
            commit: commit().unwrap_or_else(unknown),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value of the first line `name : value` of a file.
fn line_value(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let value = line_value("/proc/meminfo", "MemTotal")?;
    Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn load() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.split_whitespace().next()?.to_owned())
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(format!("{} {}", std::env::consts::OS, release.trim()))
}

fn huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

fn free_memory() -> Option<String> {
    /// The largest block of pages that the kernel has, by its order: a larger one is never free.
    const ORDER_MAX: u32 = 10;
    let reported = fs::read_to_string("/proc/interrupts").ok()?.contains("reporting_vq");
    let order = fs::read_to_string("/sys/module/page_reporting/parameters/page_reporting_order");
    let from = order.ok().and_then(|order| order.trim().parse::<u32>().ok());
    let given_back = reported && from.is_none_or(|order| order <= ORDER_MAX);
    Some(if given_back { "given back" } else { "kept" }.to_owned())
}

/// Type of the mount that holds `folder`: the longest mount point that is a prefix of it.
fn file_system(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        // 36 35 98:0 /root /mount/point rw,noatime - ext4 /dev/sda1 rw
        let (before, after) = line.split_once(" - ")?;
        let point = Path::new(before.split(' ').nth(4)?);
        let kind = after.split(' ').next()?.to_owned();
        let depth = point.components().count();
        if folder.starts_with(point) && best.as_ref().is_none_or(|(deepest, _)| depth >= *deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The records themselves change with each run.
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!*/record/*"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}+") })
}

/// Bytes a second that a fresh file in `folder` takes, durable at the end: what no store on this disk can beat.
///
/// # Errors
/// If the file cannot be written.
pub fn durable_fresh_file(folder: &Path, bytes: u64) -> Result<f64> {
    const CHUNK_BYTES: usize = 4 << 20;
    // Not zeros: some disks store those for nothing.
    let chunk: Vec<u8> = (0..CHUNK_BYTES).map(|index| (index * 31 + index / 251) as u8).collect();
    let path = folder.join("fresh-file");
    let started = Instant::now();
    let mut file = File::create_new(&path)?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK_BYTES as u64) as usize;
        file.write_all(chunk.get(..now).unwrap_or(&chunk))?;
        left -= now as u64;
    }
    file.sync_data()?;
    let elapsed = started.elapsed();
    drop(file);
    fs::remove_file(&path)?;
    Ok(bytes as f64 / elapsed.as_secs_f64())
}

/// Bytes on disk of the files in and below `folder` for which `wanted` says yes. Holes do not count.
///
/// # Errors
/// If a folder cannot be read.
pub fn disk_bytes(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder)? {
            let item = item?;
            let about = item.metadata()?;
            if about.is_dir() {
                folders.push(item.path());
            } else if wanted(&item.file_name().to_string_lossy()) {
                bytes += about.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}
