"""The models that guide the search, and the search itself: tables in, numbers out."""
