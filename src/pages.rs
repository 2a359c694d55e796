//! What the system says of its pages: whether it has huge ones, and where memory really lies in them.

use std::{fs, ops::Range, path::Path};

use septet_kernels::{HUGE_PAGE, Pages};

/// What Linux says of transparent huge pages.
const SETTINGS: &str = "/sys/kernel/mm/transparent_hugepage";

/// Why memory cannot lie in such pages here, if it cannot.
pub fn infeasible(pages: Pages) -> Option<String> {
    let read = |name: &str| fs::read_to_string(Path::new(SETTINGS).join(name)).ok();
    match pages {
        Pages::System => None,
        Pages::Base | Pages::Huge if !cfg!(target_os = "linux") => {
            Some("the size of pages can be asked for on Linux alone".to_owned())
        }
        Pages::Base => None,
        Pages::Huge => refused(read("enabled").as_deref(), read("hpage_pmd_size").as_deref()),
    }
}

/// Why a system with these settings gives no huge pages of [`HUGE_PAGE`] bytes to who asks.
fn refused(enabled: Option<&str>, bytes: Option<&str>) -> Option<String> {
    let Some(enabled) = enabled else {
        return Some(format!("this system has no transparent huge pages: {SETTINGS} does not exist"));
    };
    if enabled.contains("[never]") {
        return Some(format!(
            "transparent huge pages are switched off; as root, write `madvise` to {SETTINGS}/enabled"
        ));
    }
    match bytes.and_then(|bytes| bytes.trim().parse::<usize>().ok()) {
        Some(bytes) if bytes != HUGE_PAGE => {
            Some(format!("huge pages have {bytes} bytes on this system, and are asked for in {HUGE_PAGE}"))
        }
        _ => None,
    }
}

/// The mappings of this process, with the bytes of each that lie in transparent huge pages.
pub struct Mappings(Vec<(Range<usize>, usize)>);

impl Mappings {
    /// The mappings now; nothing where the system does not tell.
    pub fn now() -> Option<Self> {
        fs::read_to_string("/proc/self/smaps").ok().map(|text| Self::parse(&text))
    }

    /// From the text of `smaps`: a line `from-to …` for each mapping, then lines `name: number kB`.
    fn parse(text: &str) -> Self {
        let mut mappings: Vec<(Range<usize>, usize)> = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let address = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = first.split_once('-').map(|(a, b)| (address(a), address(b))) {
                mappings.push((from..to, 0));
            } else if let (Some((_, huge)), "AnonHugePages:") = (mappings.last_mut(), first) {
                *huge = second.parse::<usize>().unwrap_or(0) << 10;
            }
        }
        Self(mappings)
    }

    /// How many of these bytes lie in huge pages. In a mapping that lies in them in part, the bytes are
    /// taken to do so as the whole mapping does.
    pub fn huge_bytes(&self, bytes: &Range<usize>) -> u64 {
        let part = |(mapping, huge): &(Range<usize>, usize)| {
            let common = bytes.end.min(mapping.end).saturating_sub(bytes.start.max(mapping.start));
            common as f64 * *huge as f64 / mapping.len().max(1) as f64
        };
        self.0.iter().map(part).sum::<f64>().round() as u64
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::PagedBytes;

    use super::*;

    const SMAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0 
Size:                  8 kB
AnonHugePages:         4 kB
3000-4000 r--p 00000000 fe:00 12   /lib/a-b.so
AnonHugePages:         0 kB
VmFlags: rd mr mw me
";

    #[test]
    fn bytes_lie_in_huge_pages_as_their_mapping_does() {
        let mappings = Mappings::parse(SMAPS);
        assert_eq!(mappings.0, [(0x1000..0x3000, 4096), (0x3000..0x4000, 0)]);
        assert_eq!(mappings.huge_bytes(&(0x1000..0x3000)), 4096);
        assert_eq!(mappings.huge_bytes(&(0x2000..0x4000)), 2048);
        assert_eq!(mappings.huge_bytes(&(0x5000..0x6000)), 0);
    }

    #[test]
    fn a_system_without_huge_pages_says_why() {
        let on = Some("always [madvise] never\n");
        assert_eq!(refused(on, Some("2097152\n")), None);
        assert_eq!(refused(on, None), None);
        assert!(refused(Some("always madvise [never]\n"), None).unwrap().contains("write `madvise`"));
        assert!(refused(None, None).unwrap().contains("does not exist"));
        assert!(refused(on, Some("536870912\n")).unwrap().contains("536870912 bytes"));
    }

    /// Small pages are never huge, whatever the system does by itself.
    #[test]
    #[cfg(target_os = "linux")]
    fn base_pages_are_not_huge() {
        let mut bytes = PagedBytes::zeroed(4 * HUGE_PAGE, 64, Pages::Base);
        bytes.fill(1);
        let mappings = Mappings::now().unwrap();
        assert_eq!(mappings.huge_bytes(&bytes.addresses()), 0);
        assert!(mappings.0.iter().any(|(mapping, _)| mapping.contains(&bytes.addresses().start)));
    }
}
