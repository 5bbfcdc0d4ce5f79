"""The origin side: endpoints, policies, connection pools, the connector."""
