"""Python applications of ASGI 3 as upstreams: in processes of their own, or on a worker's loop."""
