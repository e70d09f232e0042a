"""Parts of scripts/compare-peers."""
