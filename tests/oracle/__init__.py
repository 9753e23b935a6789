"""An independent second writing of docs/semantics.md, and random worlds to compare it over."""
