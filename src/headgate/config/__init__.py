"""The configuration: TOML text to checked settings."""
