"""The resource: pydantic models that are the single source of the CRD, of validation and of the status words."""
