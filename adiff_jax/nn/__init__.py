"""Neural blocks that know no model."""
