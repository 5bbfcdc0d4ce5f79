"""One small type for each way to pick an endpoint."""
