//! The prefixes of one side of a filter set, as a tree in preorder.
//!
//! Node 0 is the prefix of all addresses, whether a filter names it or not. The nodes below node `n` are
//! `n + 1..end(n)`, so "every prefix inside this one" is a range of numbers. Cost: one sort.

use crate::address_trie::Key;

/// A prefix: its lowest address and its length.
type Sorted<K> = (K, u8, u32);

#[derive(Debug)]
pub(super) struct PrefixTree<K> {
    /// By node: lowest and highest address.
    bounds: Vec<(K, K)>,
    /// By node: the first one behind its subtree.
    ends: Vec<u32>,
    parents: Vec<u32>,
}

impl<K: Key> PrefixTree<K> {
    /// The tree of the given prefixes (lowest address, highest address, length), and the node of each.
    pub(super) fn build(prefixes: impl Iterator<Item = (K, K, u8)>) -> (Self, Vec<u32>) {
        let mut lasts = Vec::new();
        let mut sorted: Vec<Sorted<K>> = Vec::new();
        for (at, (first, last, length)) in prefixes.enumerate() {
            sorted.push((first, length, at as u32));
            lasts.push(last);
        }
        sorted.sort_unstable();
        let mut node_of = vec![0; sorted.len()];
        let mut tree = Self { bounds: vec![(K::from_point(0), K::MAX)], ends: vec![0], parents: vec![0] };
        // The nodes that hold the present one, outermost first.
        let mut open = vec![0_u32];
        let mut length_of_last = 0;
        for (first, length, at) in sorted {
            let bounds = (first, lasts[at as usize]);
            let latest = tree.bounds.len() as u32 - 1;
            if tree.bounds[latest as usize].0 != first || length != length_of_last {
                while let Some(holder) = open.last()
                    && tree.bounds[*holder as usize].1 < first
                {
                    tree.ends[*holder as usize] = latest + 1;
                    open.pop();
                }
                tree.parents.push(open.last().copied().unwrap_or(0));
                tree.bounds.push(bounds);
                tree.ends.push(0);
                open.push(latest + 1);
                length_of_last = length;
            }
            node_of[at as usize] = tree.bounds.len() as u32 - 1;
        }
        let count = tree.bounds.len() as u32;
        open.into_iter().for_each(|node| tree.ends[node as usize] = count);
        (tree, node_of)
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The first node behind those in the subtree of `node`.
    pub(super) fn end(&self, node: u32) -> u32 {
        self.ends[node as usize]
    }

    /// How many prefixes lie in that of `node`, itself included.
    pub(super) fn subtree(&self, node: u32) -> u32 {
        self.ends[node as usize] - node
    }

    /// The innermost node that holds `node`; node 0 is its own.
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.parents[node as usize]
    }

    /// All addresses in order: where each stretch of one innermost node begins, and that node.
    pub(super) fn stretches(&self) -> Vec<(K, u32)> {
        let mut stretches: Vec<(K, u32)> = Vec::with_capacity(2 * self.len());
        let mut begin = |at: K, node: u32| match stretches.last_mut() {
            Some((start, holder)) if *start == at => *holder = node,
            _ => stretches.push((at, node)),
        };
        let mut open: Vec<u32> = Vec::new();
        let last_of = |node: u32| self.bounds[node as usize].1;
        for node in 0..self.len() as u32 {
            let first = self.bounds[node as usize].0;
            while let Some(holder) = open.last().copied()
                && last_of(holder) < first
            {
                open.pop();
                let outer = open.last().copied().unwrap_or(0);
                begin(K::from_point(last_of(holder).point() + 1), outer);
            }
            begin(first, node);
            open.push(node);
        }
        while let Some(holder) = open.pop() {
            if last_of(holder) == K::MAX {
                break;
            }
            begin(K::from_point(last_of(holder).point() + 1), open.last().copied().unwrap_or(0));
        }
        stretches
    }
}

/// A dense numbering of some of the nodes, from one; zero is "none".
#[derive(Debug)]
pub(super) struct Numbering {
    /// By node: how many of those before it are numbered.
    before: Vec<u32>,
    /// By node: the number of the innermost numbered node that holds it.
    innermost: Vec<u32>,
}

impl Numbering {
    pub(super) fn new<K: Key>(tree: &PrefixTree<K>, numbered: impl Iterator<Item = u32>) -> Self {
        let mut is_numbered = vec![false; tree.len()];
        numbered.for_each(|node| is_numbered[node as usize] = true);
        let mut before = Vec::with_capacity(tree.len() + 1);
        let mut innermost = Vec::with_capacity(tree.len());
        let mut count = 0;
        for node in 0..tree.len() {
            before.push(count);
            count += u32::from(is_numbered[node]);
            let outer = || if node == 0 { 0 } else { innermost[tree.parent(node as u32) as usize] };
            let own = if is_numbered[node] { count } else { outer() };
            innermost.push(own);
        }
        before.push(count);
        Self { before, innermost }
    }

    /// How many are numbered.
    pub(super) fn len(&self) -> u32 {
        self.before.last().copied().unwrap_or(0)
    }

    /// The numbers of all numbered nodes in the subtree of `node`.
    pub(super) fn below<K: Key>(&self, tree: &PrefixTree<K>, node: u32) -> std::ops::Range<u32> {
        self.before[node as usize] + 1..self.before[tree.end(node) as usize] + 1
    }

    /// The number of the innermost numbered node that holds `node`, or zero.
    pub(super) fn innermost(&self, node: u32) -> u32 {
        self.innermost[node as usize]
    }
}
