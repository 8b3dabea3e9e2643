//! The chains and responses that were found good lately.

use std::collections::HashMap;

use openset_jose::Thumbprint;

use crate::Certificate;

/// The seconds during which a whole path is good: all validities and all CRLs on it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Window {
    /// All of time.
    pub(crate) const ALWAYS: Window = Window {
        first: i64::MIN,
        last: i64::MAX,
    };

    /// The part that this window has in common with `first` to `last`.
    pub(crate) fn and(self, first: i64, last: i64) -> Self {
        Self {
            first: self.first.max(first),
            last: self.last.min(last),
        }
    }

    /// The part that two windows have in common.
    pub(crate) fn within(self, other: Self) -> Self {
        self.and(other.first, other.last)
    }

    fn contains(self, now: i64) -> bool {
        (self.first..=self.last).contains(&now)
    }
}

/// Something by thumbprint, at most `capacity` of it.
///
/// Two generations make the bound cheap: when the young one is half of the capacity, the old one is dropped
/// and the young one takes its place; whoever is asked for again moves to the young one.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    young: HashMap<Thumbprint, T>,
    old: HashMap<Thumbprint, T>,
    capacity: usize,
}

impl<T> Recent<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    pub(crate) fn find(&mut self, thumbprint: &Thumbprint) -> Option<&T> {
        if let Some(known) = self.old.remove(thumbprint) {
            self.insert(*thumbprint, known);
        }
        self.young.get(thumbprint)
    }

    pub(crate) fn insert(&mut self, thumbprint: Thumbprint, known: T) {
        if self.young.len() >= self.capacity / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(thumbprint, known);
    }

    /// Keeps only what `keep` says.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.young.retain(|_, known| keep(known));
        self.old.retain(|_, known| keep(known));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }
}

/// A certificate on a verified path, the leaf and the root included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footing {
    pub(crate) certificate: Thumbprint,
    pub(crate) key: Thumbprint,
}

impl Footing {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self {
            certificate: certificate.thumbprint(),
            key: certificate.key_thumbprint(),
        }
    }
}

/// Leaves of verified chains.
#[derive(Debug)]
pub(crate) struct KnownLeaves(Recent<KnownLeaf>);

#[derive(Debug)]
struct KnownLeaf {
    leaf: Certificate,
    window: Window,
    path: Vec<Footing>,
}

impl KnownLeaves {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Recent::new(capacity))
    }

    /// The leaf, if its path was verified and is good now.
    pub(crate) fn find(&mut self, thumbprint: &Thumbprint, now: i64) -> Option<Certificate> {
        let known = self.0.find(thumbprint)?;
        known.window.contains(now).then(|| known.leaf.clone())
    }

    pub(crate) fn insert(&mut self, leaf: Certificate, window: Window, path: Vec<Footing>) {
        let known = KnownLeaf { leaf, window, path };
        self.0.insert(known.leaf.thumbprint(), known);
    }

    /// Keeps only the leaves, and their paths, of which `keep` says so.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Certificate, &[Footing]) -> bool) {
        self.0.retain(|known| keep(&known.leaf, &known.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pki::certificate;

    const ALWAYS: Window = Window::ALWAYS;

    #[test]
    fn no_more_leaves_are_kept_than_the_capacity() {
        let mut known = KnownLeaves::new(4);
        let leaves: Vec<_> = (0..9).map(certificate).collect();
        for leaf in &leaves {
            known.insert(leaf.clone(), ALWAYS, Vec::new());
            assert!(known.0.len() <= 4);
        }
        assert!(known.find(&leaves[0].thumbprint(), 0).is_none());
        assert!(known.find(&leaves[8].thumbprint(), 0).is_some());
    }

    #[test]
    fn a_leaf_that_is_asked_for_again_outlives_others() {
        let mut known = KnownLeaves::new(4);
        let leaves: Vec<_> = (0..9).map(certificate).collect();
        for leaf in &leaves {
            known.insert(leaf.clone(), ALWAYS, Vec::new());
            assert!(known.find(&leaves[0].thumbprint(), 0).is_some());
        }
    }

    #[test]
    fn a_leaf_is_known_in_its_window_alone() {
        let mut known = KnownLeaves::new(4);
        let leaf = certificate(0);
        known.insert(leaf.clone(), ALWAYS.and(10, 30).and(20, 40), Vec::new());
        let found: Vec<_> = (0..50)
            .filter(|&now| known.find(&leaf.thumbprint(), now).is_some())
            .collect();
        assert_eq!(found, (20..=30).collect::<Vec<_>>());
    }
}
