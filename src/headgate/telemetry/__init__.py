"""What Headgate tells about itself: access log, event log, metrics."""
