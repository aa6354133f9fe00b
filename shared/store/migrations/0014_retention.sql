-- What is pruned is found without reading the rest.
CREATE INDEX lease_closed ON lease (closed_at) WHERE NOT open;
