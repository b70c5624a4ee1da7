"""The pages, for readers and for the newsroom. Nothing imports this package; it calls the domain."""
