"""The steps of the line, composed from the other rooms; the CLI and the DAGs call only these."""
