"""The cache: RFC 9111, with 9213 (targeted fields), 5861 (stale content), 8246 (immutable), 9211 (Cache-Status)."""
