"""From files to a DataBundle: loading, schema, splits, tokens, batches."""
