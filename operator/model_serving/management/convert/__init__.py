"""Between Databricks' JSON and the resource, both ways. Pure."""
