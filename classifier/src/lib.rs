//! A rule trie keyed by workload identity.
