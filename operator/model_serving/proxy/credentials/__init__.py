"""Credentials towards providers: one file per scheme, and the store that keeps their values fresh."""
